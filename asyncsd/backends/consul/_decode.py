"""From an answer's bytes to instances, without work for those that didn't change."""

import logging
from collections import OrderedDict
from typing import NamedTuple

import msgspec

from asyncsd._errors import PermissionDeniedError
from asyncsd._models import Instance, Query
from asyncsd._values import as_host

from ._answers import Answer, is_filtered, shape_error
from ._wire import Entry, Self, ServiceState, instance

__all__ = ["Decoder", "decode_host", "decode_names", "decode_service"]

log = logging.getLogger("asyncsd.consul")

REMEMBERED = 20_000
"""How many items, of all queries together, are remembered at most beyond those of the query just asked."""


class Decoded(NamedTuple):
    instances: tuple[Instance, ...]
    skipped: int


class _Known(NamedTuple):
    """The last answer to a query: what each item's bytes were decoded to, None for a malformed one."""

    items: dict[bytes, Instance | None]
    skipped: int
    filtered: bool


_NOTHING = _Known({}, 0, False)


class Decoder:
    """Decodes the answers of /v1/health/service, and remembers the items of each query's last one.

    An item whose bytes are as before is the same Instance object, and costs a look-up: on 5,000 instances
    that takes less than decoding all of them. An item that is malformed costs only itself.
    """

    def __init__(self) -> None:
        self._split = msgspec.json.Decoder(list[msgspec.Raw])
        self._entry = msgspec.json.Decoder(Entry)
        self._known: OrderedDict[Query, _Known] = OrderedDict()
        self._remembered = 0

    def decode(self, query: Query, answer: Answer) -> Decoded:
        """The instances in `answer`.

        Raises ProtocolError where it isn't a list, and PermissionDeniedError where the token may not read
        any of them, or no longer those that it had read before.
        """
        try:
            raws = [bytes(raw) for raw in self._split.decode(answer.body)]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise shape_error(answer, "a list of instances", exc) from exc
        before = self._known.get(query, _NOTHING)
        items: dict[bytes, Instance | None] = {}
        complaint: Exception | None = None
        changed = False
        for raw in raws:
            if raw in before.items:
                items[raw] = before.items[raw]
                continue
            changed = True
            try:
                items[raw] = instance(self._entry.decode(raw))
            except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as exc:
                items[raw] = None
                complaint = exc
        if changed and before.items:
            _keep_equal(before.items, items)
        filtered = is_filtered(answer)
        if filtered:
            self._look_at_rights(query, answer, before, items)
        instances = tuple(found for raw in raws if (found := items[raw]) is not None)
        skipped = len(raws) - len(instances)
        if complaint is not None and not before.skipped:
            log.warning(
                "%d instances of %s are malformed and left out: %s", skipped, query.service, complaint
            )
        self._remember(query, _Known(items, skipped, filtered))
        return Decoded(instances, skipped)

    @staticmethod
    def _look_at_rights(
        query: Query, answer: Answer, before: _Known, items: dict[bytes, Instance | None]
    ) -> None:
        """Refuse what the ACLs have emptied, or taken from. A list that was partial from the start is one."""
        if not items:
            raise _denied(answer, f"the token may read no instance of {query.service!r}")
        if before.filtered:
            return
        left = {found.key for found in items.values() if found is not None}
        lost = [found.id for found in before.items.values() if found is not None and found.key not in left]
        if lost:
            text = f"the token no longer reads all of {query.service!r}, {len(lost)} instances are missing"
            raise _denied(answer, text)
        log.warning("the token may not read all instances of %s: Consul leaves some out", query.service)

    def _remember(self, query: Query, known: _Known) -> None:
        # The sum is kept: to add up thousands of queries at each answer would take longer than to decode it.
        self._remembered -= len(self._known.pop(query, _NOTHING).items)
        while self._remembered > REMEMBERED:
            self._remembered -= len(self._known.popitem(last=False)[1].items)
        self._known[query] = known
        self._remembered += len(known.items)


def _keep_equal(before: dict[bytes, Instance | None], known: dict[bytes, Instance | None]) -> None:
    """Where only what an Instance doesn't show has changed (a check's output, an index), keep the object."""
    gone = {found.key: found for raw, found in before.items() if found is not None and raw not in known}
    for raw, found in known.items():
        if found is not None and raw not in before:
            old = gone.get(found.key)
            if old == found:
                known[raw] = old


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
