"""From an answer's bytes to instances, without work for those that didn't change."""

import logging
from collections import OrderedDict
from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

import msgspec

from asyncsd._errors import PermissionDeniedError
from asyncsd._models import Instance, Query
from asyncsd._values import as_host

from ._answers import Answer, is_filtered, shape_error
from ._items import NOTHING, Items, News, news, split
from ._wire import Entry, Self, ServiceState, Shared, instance

__all__ = ["Decoded", "Decoder", "decode_host", "decode_names", "decode_service"]

log = logging.getLogger("asyncsd.consul")

REMEMBERED = 20_000
"""How many items, of all queries together, are remembered at most beyond those of the query just asked."""
SHARED = 1_000
"""How many tags, metas and names, which instances have in common, are held to be had again."""
LONG = 65_536
"""Bytes of an answer that are kept, to compare with the next one's; of a shorter one's items, digests."""

Found: TypeAlias = tuple[Instance | None, ...]
"""What each item was decoded to, None for a malformed one."""


class Decoded(NamedTuple):
    instances: tuple[Instance, ...]
    skipped: int


class _Known(NamedTuple):
    """The last answer to a query."""

    items: Items
    digests: tuple[bytes, ...]
    found: Found
    decoded: Decoded
    filtered: bool


_NOTHING = _Known(NOTHING, (), (), Decoded((), 0), False)


class Decoder:
    """Decodes the answers of /v1/health/service, and remembers each query's last one.

    An item whose bytes are as before is the same Instance object, and of a long list only what lies between
    the first change and the last is looked at: on 5,000 instances a change costs a tenth of decoding all of
    them. An item that is malformed costs only itself.
    """

    def __init__(self) -> None:
        self._entry = msgspec.json.Decoder(Entry)
        self._known: OrderedDict[Query, _Known] = OrderedDict()
        self._remembered = 0
        self._shared = Shared()

    def decode(self, query: Query, answer: Answer) -> Decoded:
        """The instances in `answer`.

        Raises ProtocolError where it isn't a list, and PermissionDeniedError where the token may not read
        any of them, or no longer those that it had read before.
        """
        before = self._known.get(query, _NOTHING)
        is_long = len(answer.body) >= LONG
        try:
            new = news(before.items, answer.body) if is_long else News(NOTHING, 0, split(answer.body), 0)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise shape_error(answer, "a list of instances", exc) from exc
        digests = () if is_long else tuple(map(_digest, new.between))
        found, complaint = self._find(new, before, digests)
        instances = tuple(filter(None, found))
        decoded = Decoded(instances, len(found) - len(instances))
        if not decoded.skipped:
            found = instances  # One tuple is held, not two.
        filtered = is_filtered(answer)
        if filtered:
            self._look_at_rights(query, answer, before, decoded)
        if complaint is not None and not before.decoded.skipped:
            log.warning(
                "%d instances of %s are malformed and left out: %s", decoded.skipped, query.service, complaint
            )
        self._remember(query, _Known(new.items if is_long else NOTHING, digests, found, decoded, filtered))
        return decoded

    def _find(self, new: News, before: _Known, digests: tuple[bytes, ...]) -> tuple[Found, Exception | None]:
        """What the items are, and what one of the malformed among them lacks."""
        last = len(before.found) - new.rest
        gone = before.found[new.same : last]
        if not new.between and not gone:
            return before.found, None
        stood = before.digests if digests else before.items.cut(new.same, last)
        known = dict(zip(stood, gone, strict=False))
        marks: Iterable[bytes] = digests or map(bytes, new.between)
        complaint: Exception | None = None
        fresh = False
        between: list[Instance | None] = []
        if len(self._shared) > SHARED:
            self._shared.clear()
        for raw, mark in zip(new.between, marks, strict=True):
            if mark in known:
                between.append(known[mark])
                continue
            fresh = True
            try:
                between.append(instance(self._entry.decode(raw), self._shared))
            except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as exc:
                between.append(None)
                complaint = exc
        if fresh and gone:
            between = _keep_equal(gone, between)
        return (*before.found[: new.same], *between, *before.found[last:]), complaint

    @staticmethod
    def _look_at_rights(query: Query, answer: Answer, before: _Known, decoded: Decoded) -> None:
        """Refuse what the ACLs have emptied, or taken from. A list that was partial from the start is one."""
        if not decoded.instances and not decoded.skipped:
            raise _denied(answer, f"the token may read no instance of {query.service!r}")
        if before.filtered:
            return
        left = {found.key for found in decoded.instances}
        lost = [found.id for found in before.decoded.instances if found.key not in left]
        if lost:
            text = f"the token no longer reads all of {query.service!r}, {len(lost)} instances are missing"
            raise _denied(answer, text)
        log.warning("the token may not read all instances of %s: Consul leaves some out", query.service)

    def _remember(self, query: Query, known: _Known) -> None:
        before = self._known.pop(query, _NOTHING)
        self._remembered -= len(before.found)
        while self._remembered > REMEMBERED:
            self._remembered -= len(self._known.popitem(last=False)[1].found)
        self._remembered += len(known.found)
        self._known[query] = known


def _digest(raw: msgspec.Raw) -> bytes:
    return blake2b(raw, digest_size=16, usedforsecurity=False).digest()


def _keep_equal(before: Found, after: Iterable[Instance | None]) -> list[Instance | None]:
    """Where only what an Instance doesn't show has changed (a check's output, an index), keep the object."""
    gone = {found.key: found for found in before if found is not None}

    def kept(found: Instance | None) -> Instance | None:
        old = None if found is None else gone.get(found.key)
        return old if old is not None and old == found else found

    return list(map(kept, after))


def _denied(answer: Answer, text: str) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"{text}: it needs service:read and node:read", url=answer.url, status=answer.status
    )


def decode_names(answer: Answer) -> dict[str, tuple[str, ...]]:
    """The services of /v1/catalog/services with their tags.

    Raises ProtocolError for another shape, and PermissionDeniedError where the token may read none of them.
    """
    try:
        names = msgspec.json.decode(answer.body, type=dict[str, list[str] | None])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise shape_error(answer, "an object of services", exc) from exc
    if not names and is_filtered(answer):
        raise _denied(answer, "the token may read no service")
    return {name: tuple(tags or ()) for name, tags in names.items()}


def decode_service(answer: Answer) -> ServiceState:
    """What /v1/agent/service/ID says."""
    try:
        return msgspec.json.decode(answer.body, type=ServiceState)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise shape_error(answer, "a service of the agent", exc) from exc


def decode_host(answer: Answer) -> str | None:
    """The address by which others reach the agent that answered /v1/agent/self; None where it has none."""
    try:
        host = msgspec.json.decode(answer.body, type=Self).member.addr
        return as_host("the agent's address", host)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
