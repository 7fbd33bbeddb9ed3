"""What is registered in the program."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from asyncsd._checks import Health
from asyncsd._clock import LoopClock
from asyncsd._errors import NotRegisteredError
from asyncsd._models import Instance, Status
from asyncsd._protocols import Clock
from asyncsd._registration import Record

from ._waiters import NAMES, Waiters, observation

__all__ = ["MemoryRegistry", "Version"]

Version: TypeAlias = tuple[int, int]

NEVER = float("inf")


@dataclass(slots=True)
class _Entry:
    """What stands registered under an id."""

    record: Record
    heard: float
    status: Status
    drained: bool = False

    def instance(self) -> Instance:
        record = self.record
        return Instance(
            id=record.id,
            service=record.service,
            host=record.host,
            port=record.port,
            tags=record.tags,
            meta=record.meta,
            weight=record.weight,
            zone=record.meta.get("zone"),
            status="critical" if self.drained else self.status,
            scheme=record.scheme,
        )

    def due(self, now: float) -> float:
        """When something becomes of it unless it is renewed: it turns critical, or is removed."""
        ttl = self.record.ttl
        if ttl is None:
            return NEVER
        after = _deregister_after(self.record)
        overdue = self.heard + ttl
        return overdue if now < overdue else NEVER if after is None else overdue + after


class MemoryRegistry:
    """The instances of a program, that several MemoryBackends read and write.

    >>> registry = MemoryRegistry()
    >>> web, worker = Discovery(MemoryBackend(registry=registry)), Discovery(MemoryBackend(registry=registry))

    It belongs to no loop: its backends may be on several, each in a thread of its own, and all of its methods
    may be called from any thread. Several calls are one step to others while its `lock` is held, which must
    not be for long. It isn't shared between processes, and is gone with the object.

    A TTLCheck that isn't renewed in time, by `clock`, turns its instance critical, and `deregister_after`
    removes it. No task does this: it is done when somebody asks, and whoever waits wakes for it.
    """

    def __init__(self, *instances: Instance, clock: Clock | None = None) -> None:
        """Know `instances` from the start."""
        self.clock: Clock = clock or LoopClock()
        self.lock: threading.RLock = threading.RLock()
        self.waiters: Waiters = Waiters()
        self._services: dict[str, dict[str, Instance]] = {}
        self._entries: dict[str, _Entry] = {}
        self._due = NEVER
        """When the next TTL may run out: then, or later."""
        self._index = 1
        self._changed_at: dict[str, int] = {}
        # Grows with each `clear`: an index that has come back to its old number is still another one.
        self._epoch = 0
        self.put(*instances)

    def __repr__(self) -> str:
        return f"MemoryRegistry({self.count()})"

    def count(self) -> str:
        """How much there is, for people."""
        with self.lock:
            self._expire()
            count = sum(map(len, self._services.values()))
            return f"{count} instances of {len(self._services)} services"

    # -- what is known

    def instances(self, service: str) -> tuple[Instance, ...]:
        """The instances of a service, of every status."""
        with self.lock:
            self._expire()
            return tuple(self._services.get(service, {}).values())

    def services(self) -> dict[str, tuple[str, ...]]:
        """All services that have instances, with their tags."""
        with self.lock:
            self._expire()
            return {
                service: tuple(sorted({tag for instance in known.values() for tag in instance.tags}))
                for service, known in self._services.items()
            }

    def registered(self, id: str) -> Instance | None:
        """What stands registered under an id; None where it isn't."""
        with self.lock:
            self._expire()
            entry = self._entries.get(id)
            return None if entry is None else entry.instance()

    def version(self, service: str) -> Version:
        """A number of the state of a service: another one after each change."""
        with self.lock:
            self._expire()
            return (self._epoch, self._changed_at.get(service, 0))

    @property
    def epoch(self) -> int:
        """How often all was forgotten."""
        return self._epoch

    @property
    def index(self) -> int:
        """Grows with every change; starts anew with `clear`."""
        return self._index

    @property
    def due(self) -> float:
        """The clock's time at which something may change by itself."""
        return self._due

    # -- by hand

    def put(self, *instances: Instance) -> None:
        """Add instances, or replace those of the same id."""
        with self.lock:
            for instance in instances:
                self._services.setdefault(instance.service, {})[instance.id] = instance
            self._touch({instance.service: {instance.id} for instance in instances})

    def remove(self, *ids: str) -> None:
        """Remove the instances and registrations with these ids; unknown ones are no error."""
        with self.lock:
            for id in ids:
                self._entries.pop(id, None)
            touched: dict[str, set[str]] = {}
            for service, known in list(self._services.items()):
                if gone := known.keys() & set(ids):
                    touched[service] = gone
                    for id in gone:
                        del known[id]
                    if not known:
                        del self._services[service]
            self._touch(touched)

    def clear(self) -> None:
        """Forget everything, as a server does that restarts without its data: the index starts anew."""
        with self.lock:
            self._services.clear()
            self._entries.clear()
            self._changed_at.clear()
            self._due = NEVER
            self._index = 1
            self._epoch += 1
            self.waiters.wake_all()

    # -- registrations

    def register(self, record: Record) -> None:
        """Take `record`. What stands under its id is replaced in place and keeps its status."""
        with self.lock:
            self._expire()
            entry = self._entries.get(record.id)
            if entry is not None and entry.record.service != record.service:
                self.remove(record.id)
                entry = None
            if entry is None:
                first: Status = record.checks[0].initial_status if record.checks else "passing"
                entry = self._entries[record.id] = _Entry(record, self.clock.time(), first)
            entry.record = record
            self._watch_for(entry)
            self._show(entry, entry.status)

    def renew(self, id: str, health: Health) -> None:
        """Renew the TTL; the status is `health`'s. Without a TTLCheck: see that the record is there."""
        with self.lock:
            entry = self._entry(id)
            entry.heard = self.clock.time()
            if entry.record.ttl is not None:
                self._watch_for(entry)
                self._show(entry, health.status)

    def drain(self, id: str, on: bool) -> None:
        """Show the instance as critical while drained, and as what it is after that."""
        with self.lock:
            entry = self._entry(id)
            entry.drained = on
            self._show(entry, entry.status)

    def _entry(self, id: str) -> _Entry:
        self._expire()
        entry = self._entries.get(id)
        if entry is None:
            raise NotRegisteredError(f"{id!r} isn't registered in memory")
        return entry

    def _expire(self) -> None:
        """Turn overdue instances critical, and remove ghosts."""
        now = self.clock.time()
        if now < self._due:
            return
        for id, entry in list(self._entries.items()):
            ttl = entry.record.ttl
            if ttl is None or now < entry.heard + ttl:
                continue
            if now >= entry.due(now):
                self.remove(id)
            else:
                self._show(entry, "critical")
        self._due = min((entry.due(now) for entry in self._entries.values()), default=NEVER)

    def _watch_for(self, entry: _Entry) -> None:
        """Let whoever waits know when the TTL of an entry runs out, where that is before all others."""
        due = entry.due(self.clock.time())
        if due < self._due:
            self._due = due
            self.waiters.wake_all()

    def _show(self, entry: _Entry, status: Status) -> None:
        """Give the registered instance a status, and let it be seen if that changes anything."""
        entry.status = status
        instance = entry.instance()
        if self._services.get(instance.service, {}).get(instance.id) != instance:
            self.put(instance)

    def _touch(self, changed: Mapping[str, set[str]]) -> None:
        """Let it be seen that services changed, and which instances of them."""
        if changed:
            self._index += 1
            self._changed_at.update(dict.fromkeys(changed, self._index))
            ids = {id for touched in changed.values() for id in touched}
            self.waiters.wake(NAMES, *((service,) for service in changed), *map(observation, ids))


def _deregister_after(record: Record) -> float | None:
    """The shortest `deregister_after` among the checks."""
    return min((after for check in record.checks if (after := check.deregister_after)), default=None)
