"""From an answer's bytes to instances, without work for those that didn't change."""

import logging
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

import msgspec

from asyncsd._errors import PermissionDeniedError
from asyncsd._models import Instance, Query
from asyncsd._values import as_host

from ._answers import Answer, is_filtered, shape_error
from ._items import NOTHING, Items, News, news
from ._wire import Entry, Self, ServiceState, Shared, instance

__all__ = ["Decoder", "decode_host", "decode_names", "decode_service"]

log = logging.getLogger("asyncsd.consul")

REMEMBERED = 20_000
"""How many items, of all queries together, are remembered at most beyond those of the query just asked."""
LONG = 65_536
"""Bytes. A shorter answer is decoded anew: that takes less than 0.2 ms, and its bytes needn't be kept."""

Found: TypeAlias = tuple[Instance | None, ...]
"""What each item was decoded to, None for a malformed one."""


class Decoded(NamedTuple):
    instances: tuple[Instance, ...]
    skipped: int


class _Known(NamedTuple):
    """The last answer to a query."""

    items: Items
    found: Found
    decoded: Decoded
    filtered: bool


_NOTHING = _Known(NOTHING, (), Decoded((), 0), False)


class Decoder:
    """Decodes the answers of /v1/health/service, and remembers each query's last one.

    An item whose bytes are as before is the same Instance object, and of a long list only what lies between
    the first change and the last is looked at: on 5,000 instances a change costs a tenth of decoding all of
    them. An item that is malformed costs only itself.
    """

    def __init__(self) -> None:
        self._entry = msgspec.json.Decoder(Entry)
        self._known: OrderedDict[Query, _Known] = OrderedDict()

    def decode(self, query: Query, answer: Answer) -> Decoded:
        """The instances in `answer`.

        Raises ProtocolError where it isn't a list, and PermissionDeniedError where the token may not read
        any of them, or no longer those that it had read before.
        """
        before = self._known.get(query, _NOTHING)
        try:
            new = news(before.items, answer.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise shape_error(answer, "a list of instances", exc) from exc
        found, complaint = self._find(new, before)
        instances = tuple(filter(None, found))
        decoded = Decoded(instances, len(found) - len(instances))
        filtered = is_filtered(answer)
        if filtered:
            self._look_at_rights(query, answer, before, decoded)
        if complaint is not None and not before.decoded.skipped:
            log.warning(
                "%d instances of %s are malformed and left out: %s", decoded.skipped, query.service, complaint
            )
        items = new.items if len(answer.body) >= LONG else NOTHING
        self._remember(query, _Known(items, found, decoded, filtered))
        return decoded

    def _find(self, new: News, before: _Known) -> tuple[Found, Exception | None]:
        """What the items are, and what one of the malformed among them lacks."""
        last = len(before.found) - new.rest
        gone = before.found[new.same : last]
        known: dict[bytes, Instance | None] = {}
        if new.between and len(before.items):
            known = dict(zip(before.items.cut(new.same, last), gone, strict=True))
        complaint: Exception | None = None
        between: list[Instance | None] = []
        shared = Shared()
        for raw in new.between:
            if known and (item := bytes(raw)) in known:
                between.append(known[item])
                continue
            try:
                between.append(instance(self._entry.decode(raw), shared))
            except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as exc:
                between.append(None)
                complaint = exc
        if not between and not gone:
            return before.found, None
        return (*before.found[: new.same], *_keep_equal(gone, between), *before.found[last:]), complaint

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
        self._known.pop(query, None)
        room = REMEMBERED - sum(len(other.found) for other in self._known.values())
        while room < 0:
            room += len(self._known.popitem(last=False)[1].found)
        self._known[query] = known


def _keep_equal(before: Found, after: Iterable[Instance | None]) -> Found:
    """Where only what an Instance doesn't show has changed (a check's output, an index), keep the object."""
    gone = {found.key: found for found in before if found is not None}

    def kept(found: Instance | None) -> Instance | None:
        old = None if found is None else gone.get(found.key)
        return old if old is not None and old == found else found

    return tuple(map(kept, after)) if gone else tuple(after)


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
