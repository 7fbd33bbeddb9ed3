"""What the registry's page is told: the instances, and what became of them since it last heard."""

from typing import Any, NamedTuple, Self
from uuid import uuid4

import msgspec

from asyncsd._protocols import Clock
from asyncsd.agent._state._catalog import CHECKS, NODES, SERVICES, Catalog
from asyncsd.agent._state._structs import HealthCheck, HealthEntry, Node, Service

from ._timeline import Change, Timeline

__all__ = ["Cursor", "Feed", "Frame"]

MOST_GONE = 1_000
"""Removals that are remembered. A reader that missed more hears the whole state again."""


class Cursor(NamedTuple):
    """How much a reader has heard; of another feed than this one it says nothing."""

    feed: str = ""
    version: int = -1
    changes: int = 0

    def __str__(self) -> str:
        return f"{self.feed}.{self.version}.{self.changes}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The cursor that `str` wrote; for anything else one that has heard nothing."""
        feed, *numbers = text.split(".")
        if len(numbers) == 2 and all(number.isdecimal() and len(number) < 19 for number in numbers):
            return cls(feed, int(numbers[0]), int(numbers[1]))
        return cls()


class Frame(NamedTuple):
    """An update: the cursor of who has heard it, and its JSON."""

    cursor: Cursor
    data: bytes


class _Instance(NamedTuple):
    version: int
    parts: tuple[Node, Service, list[HealthCheck]]
    data: msgspec.Raw


class Feed:
    """The catalog's instances in the order of their last change, each once.

    A reader asks for what is new `since` its cursor. However long it was away, it is told the newest state
    of each instance once, so nothing is kept for a slow reader, and many changes are one update. (CouchDB's
    `_changes` works so.) The catalog is read when somebody asks, only the services that changed, and once for
    all readers.
    """

    def __init__(self, catalog: Catalog, timeline: Timeline, clock: Clock) -> None:
        self.id = uuid4().hex
        self.version = 0
        self._catalog = catalog
        self._timeline = timeline
        self._clock = clock
        self._seen = 0  # The catalog's index as of the last look.
        self._indexes: dict[str, int] = {}  # By service.
        self._instances: dict[str, dict[str, _Instance]] = {}  # By service, then key; see `_key`.
        self._order: dict[str, str] = {}  # From key to service, the one that changed last at the end.
        self._gone: dict[str, int] = {}  # From key to the version without it, the newest at the end.
        self._horizon = 0  # Removals up to this version are forgotten.

    def __repr__(self) -> str:
        return f"Feed(version {self.version}, {len(self._order)} instances)"

    async def changed(self) -> None:
        """Return at the catalog's next change. On cancellation nothing stays behind."""
        await self._catalog.waiters.changed((NODES, SERVICES, CHECKS))

    def since(self, cursor: Cursor) -> Frame | None:
        """What is new to a reader; None when nothing is."""
        self._look()
        whole = cursor.feed != self.id or not self._horizon <= cursor.version <= self.version
        heard = Cursor() if whole else cursor
        changes = self._timeline.since(heard.changes)
        if not whole and heard.version == self.version and not changes:
            return None
        put: list[msgspec.Raw] = []
        for key in reversed(self._order):
            instance = self._instances[self._order[key]][key]
            if instance.version <= heard.version:
                break
            put.append(instance.data)
        drop: list[str] = []
        if not whole:
            for key in reversed(self._gone):
                if self._gone[key] <= heard.version:
                    break
                drop.append(key)
        now = self._clock.time()
        data = msgspec.json.encode(
            {
                "whole": whole,
                "put": put,
                "drop": drop,
                "changes": [_told(change, now) for change in changes],
            }
        )
        return Frame(Cursor(self.id, self.version, self._timeline.count), data)

    def _look(self) -> None:
        """Take over what the catalog has that wasn't there at the last look."""
        if self._seen == self._catalog.index:
            return
        self._seen = self._catalog.index
        self.version += 1
        names = self._catalog.names().value
        for name in [name for name in self._instances if name not in names]:
            self._take(name, [])
            del self._instances[name], self._indexes[name]
        for name in names:
            index = self._catalog.index_of(("service", name))
            if self._indexes.get(name) != index:
                self._indexes[name] = index
                self._take(name, self._catalog.health(name).value)
        while len(self._gone) > MOST_GONE:
            self._horizon = self._gone.pop(next(iter(self._gone)))

    def _take(self, name: str, entries: list[HealthEntry]) -> None:
        """Take over the instances of one service."""
        held = self._instances.setdefault(name, {})
        unseen = set(held)
        for entry in entries:
            key = _key(entry.node.node, entry.service.id)
            unseen.discard(key)
            parts = (entry.node, entry.service, entry.checks)
            if (old := held.get(key)) is not None and old.parts == parts:
                continue
            held[key] = _Instance(self.version, parts, _encoded(key, entry))
            self._order.pop(key, None)
            self._order[key] = name
            self._gone.pop(key, None)
        for key in unseen:
            del held[key]
            # Under another name it may be there already.
            if self._order.get(key) == name:
                del self._order[key]
                self._gone.pop(key, None)
                self._gone[key] = self.version


def _key(node: str, service_id: str) -> str:
    """One string for the place of an instance, which two places can't share."""
    return f"{len(node)}:{node}/{service_id}"


def _encoded(key: str, entry: HealthEntry) -> msgspec.Raw:
    service = entry.service
    weights = service.weights
    data: dict[str, Any] = {
        "key": key,
        "service": service.service,
        "id": service.id,
        "node": entry.node.node,
        "address": service.address or entry.node.address,
        "port": service.port,
        "tags": service.tags,
        "meta": service.meta or {},
        "weights": [weights.passing, weights.warning],
        "checks": [
            {
                "id": check.check_id,
                "name": check.name,
                "status": check.status,
                "type": check.type,
                "output": check.output,
                "notes": check.notes,
                "node": not check.service_id,
            }
            for check in entry.checks
        ],
    }
    return msgspec.Raw(msgspec.json.encode(data))


def _told(change: Change, now: float) -> dict[str, object]:
    """A change as the page gets it: with its age, for the page goes by a clock of its own."""
    told = msgspec.structs.asdict(change)
    told["age"] = round(now - told.pop("at"), 3)
    return told
