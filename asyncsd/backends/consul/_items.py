"""Cuts the JSON of a list into items, but for those at either end that the list before had there too."""

from array import array
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import msgspec

__all__ = ["NOTHING", "Items", "News", "news", "split"]

split = msgspec.json.Decoder(list[msgspec.Raw]).decode
"""The JSON of each item of a list."""

_BETWEEN = b" ,\t\r\n"
"""What may stand between two items."""


@dataclass(frozen=True, slots=True)
class Items:
    """A list's JSON, and where it opens and each of its items ends there."""

    body: bytes
    ends: "array[int]"

    def __len__(self) -> int:
        return len(self.ends) - 1

    def cut(self, first: int, last: int) -> list[bytes]:
        """The JSON of the items from `first` up to `last`."""
        ends = self.ends[first : last + 1]
        return [self.body[start:end].lstrip(_BETWEEN) for start, end in pairwise(ends)]


NOTHING = Items(b"", array("Q", [0]))


class News(NamedTuple):
    """A list beside the one before: the same items at its start and its end, and others in between."""

    items: Items
    same: int
    """How many items at the start are the first ones of the list before."""
    between: list[msgspec.Raw]
    """Those that follow."""
    rest: int
    """How many items at the end are the last ones of the list before."""


def news(before: Items, body: bytes) -> News:
    """What of `body` is new. Raises as msgspec does where it isn't the JSON of a list."""
    try:
        return _between(before, body)
    except msgspec.DecodeError:
        if not before.body:
            raise
    # A number may go on where it had ended, 1 as 12: such a list is read as if it were the first.
    return _between(NOTHING, body)


def _between(before: Items, body: bytes) -> News:
    """`news` of a list in which no item is the beginning of another.

    Bytes are compared from both ends, as fast as memory is read; what lies between is parsed, from the end of
    an item to the end of another. An empty object stands there for what was left out at each end: what parses
    with that parses with the items themselves.
    """
    same = _same(before, body)
    rest = _rest(before, body, same)
    last = len(before) - rest
    shift = len(body) - len(before.body)
    start = before.ends[same] if same else 0
    end = before.ends[last] + shift if rest else len(body)
    text = body[start:end]
    if same:
        text = b"[{}" + text
    if rest:
        text += b",{}]"
    between = split(text)
    if same:
        del between[0]
    if rest:
        del between[-1]
    ends = before.ends[: same + 1]
    if not same:
        ends = array("Q", [body.index(b"[") + 1])
    for raw in between:
        view = memoryview(raw)
        ends.append(body.index(view[:1], ends[-1]) + len(view))
    if rest:
        kept = before.ends[last + 1 :]
        ends.extend(array("Q", [end + shift for end in kept]) if shift else kept)
    return News(Items(body, ends), same, between, rest)


def _same(before: Items, body: bytes) -> int:
    """How many items, with all before them, `body` begins with."""
    view = memoryview(before.body)
    least, most, done = 0, len(before), 0
    while least < most:
        middle = (least + most + 1) // 2
        end = before.ends[middle]
        if body.startswith(view[done:end], done):
            least, done = middle, end
        else:
            most = middle - 1
    return least


def _rest(before: Items, body: bytes, same: int) -> int:
    """How many items, with all after them, `body` ends with: none that is the first, or of the `same`."""
    view = memoryview(before.body)
    shift = len(body) - len(before.body)
    count = len(before)
    least, most, done = 0, max(0, count - max(same, 1)), len(before.body)
    while least < most:
        middle = (least + most + 1) // 2
        start = before.ends[count - middle]
        fits = start + shift >= before.ends[same]
        if fits and body.startswith(view[start:done], start + shift):
            least, done = middle, start
        else:
            most = middle - 1
    return least
