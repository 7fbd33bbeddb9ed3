"""A registry inside the program: for tests, and for parts of one program that find each other."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from asyncsd._checks import Health, TTLCheck
from asyncsd._clock import LoopClock
from asyncsd._errors import ClosedError, NotRegisteredError, UnsupportedError
from asyncsd._models import Instance, Names, Query, Reply, Status
from asyncsd._protocols import Clock, Lease
from asyncsd._registration import Record

__all__ = ["MemoryBackend", "from_url"]

WAIT = 55.0

_FORGOTTEN = "forgotten"
"""What stands under the id of no registration; unlike None, it is no cursor to begin with."""


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


class MemoryBackend:
    """A whole registry in memory, with TTLs, that several parts of one program may share.

    It belongs to the loop that opened it. What is registered stays over a close and is gone with the object;
    after a close it may be opened again, on another loop too. A TTLCheck that isn't renewed in time turns its
    instance critical, and `deregister_after` removes it; that is looked at whenever somebody asks or waits.
    `put`, `remove` and `clear` change what is known by hand, on the loop or before it was opened.
    """

    def __init__(self, *instances: Instance, wait: float = WAIT, clock: Clock | None = None) -> None:
        """Know `instances` from the start; a fetch waits at most `wait` seconds for a change."""
        self._clock: Clock = clock or LoopClock()
        self._wait = wait
        self._loop: asyncio.AbstractEventLoop | None = None
        self._services: dict[str, dict[str, Instance]] = {}
        self._entries: dict[str, _Entry] = {}
        self._index = 1
        self._changed_at: dict[str, int] = {}
        # Grows with each `clear`: an index that has come back to its old number is still another one.
        self._epoch = 0
        self._waiting: set[asyncio.Future[None]] = set()
        self.put(*instances)

    def __repr__(self) -> str:
        count = sum(len(known) for known in self._services.values())
        return f"MemoryBackend({count} instances of {len(self._services)} services)"

    @property
    def is_open(self) -> bool:
        """Whether it was opened, and not closed since."""
        return self._loop is not None

    async def __aenter__(self) -> Self:
        if self._loop is not None:
            raise RuntimeError("this MemoryBackend is open already: share it instead of opening it twice")
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End every wait with ClosedError. Idempotent; what is registered stays."""
        self._loop = None
        self._wake()

    def instances(self, service: str) -> tuple[Instance, ...]:
        """What the registry holds of a service now, open or not."""
        return tuple(self._services.get(service, {}).values())

    def put(self, *instances: Instance) -> None:
        """Add instances, or replace those of the same id."""
        for instance in instances:
            self._services.setdefault(instance.service, {})[instance.id] = instance
        self._touch(*{instance.service for instance in instances})

    def remove(self, *ids: str) -> None:
        """Remove the instances and registrations with these ids; unknown ones are no error."""
        for id in ids:
            self._entries.pop(id, None)
        touched: list[str] = []
        for service, known in list(self._services.items()):
            if gone := known.keys() & set(ids):
                touched.append(service)
                for id in gone:
                    del known[id]
                if not known:
                    del self._services[service]
        self._touch(*touched)

    def clear(self) -> None:
        """Forget everything, as a server does that restarts without its data: the index starts anew."""
        self._services.clear()
        self._entries.clear()
        self._changed_at.clear()
        self._index = 1
        self._epoch += 1
        self._wake()

    def _touch(self, *services: str) -> None:
        if services:
            self._index += 1
            self._changed_at.update(dict.fromkeys(services, self._index))
            self._wake()

    def _wake(self) -> None:
        for woken in self._waiting:
            if not woken.done():
                woken.set_result(None)

    def _check(self) -> None:
        if self._loop is None:
            raise ClosedError("this MemoryBackend isn't open: use `async with`, or give it to a Discovery")
        if self._loop is not asyncio.get_running_loop():
            raise RuntimeError("this MemoryBackend belongs to another event loop, which opened it")

    def _expire(self) -> float | None:
        """Turn overdue instances critical, remove ghosts; the seconds until the next one is due."""
        now = self._clock.time()
        due: list[float] = []
        for id, entry in list(self._entries.items()):
            if (ttl := entry.record.ttl) is None:
                continue
            overdue = entry.heard + ttl
            if now < overdue:
                due.append(overdue - now)
                continue
            self._show(entry, "critical")
            if (after := _deregister_after(entry.record)) is None:
                continue
            if now < overdue + after:
                due.append(overdue + after - now)
            else:
                self.remove(id)
        return min(due, default=None)

    def _show(self, entry: _Entry, status: Status) -> None:
        """Give the registered instance a status, and let it be seen if that changes anything."""
        entry.status = status
        instance = entry.instance()
        if self._services.get(instance.service, {}).get(instance.id) != instance:
            self.put(instance)

    def _entry(self, lease: Lease) -> _Entry:
        self._expire()
        entry = self._entries.get(lease.record.id)
        if entry is None:
            raise NotRegisteredError(f"{lease.record.id!r} isn't registered in memory")
        return entry

    async def _differing(self, cursor: object, state: Callable[[], object]) -> object:
        """Wait until `state()` isn't `cursor`, at most for the backend's wait; the state then."""
        self._check()
        end = self._clock.time() + self._wait
        due = self._expire()
        while state() == cursor and (left := end - self._clock.time()) > 0:
            woken = asyncio.get_running_loop().create_future()
            self._waiting.add(woken)
            try:
                async with self._clock.timeout(left if due is None else min(left, due)):
                    await woken
            except TimeoutError:
                pass
            finally:
                self._waiting.discard(woken)
            self._check()
            due = self._expire()
        return state()

    async def fetch(self, query: Query, cursor: Any) -> Reply:
        """The instances of a service; waits for a change of it, and at most for the backend's `wait`."""
        service = query.service
        cursor = await self._differing(cursor, lambda: (self._epoch, self._changed_at.get(service, 0)))
        known = self._services.get(service, {}).values()
        instances = tuple(i for i in known if not query.server_filter or query.matches(i))
        return Reply(instances, cursor=cursor, index=self._index)

    async def fetch_names(self, cursor: Any) -> Names:
        """All services and their tags; waits for a change of these."""
        cursor = await self._differing(cursor, lambda: (self._epoch, self._names()))
        return Names(self._names(), cursor=cursor, index=self._index)

    def _names(self) -> dict[str, tuple[str, ...]]:
        return {
            service: tuple(sorted({tag for instance in known.values() for tag in instance.tags}))
            for service, known in self._services.items()
        }

    async def local_host(self) -> str:
        """127.0.0.1: whoever can ask is in this process."""
        return "127.0.0.1"

    async def register(self, record: Record, previous: Lease | None = None) -> Lease:
        """Take `record`; a check other than TTLCheck is an UnsupportedError.

        What stands under its id is replaced in place and keeps its status.
        """
        self._check()
        for check in record.checks:
            if not isinstance(check, TTLCheck):
                raise UnsupportedError(
                    f"MemoryBackend runs no checks, and {type(check).__name__} needs a registry that does: "
                    "use TTLCheck, or run_checks=True"
                )
        self._expire()
        entry = self._entries.get(record.id)
        if entry is not None and entry.record.service != record.service:
            self.remove(record.id)
            entry = None
        if entry is None:
            first: Status = record.checks[0].initial_status if record.checks else "passing"
            entry = self._entries[record.id] = _Entry(record, self._clock.time(), first)
        entry.record = record
        self._show(entry, entry.status)
        return Lease(record, where="memory")

    async def renew(self, lease: Lease, health: Health) -> None:
        """Renew the TTL; the status is `health`'s. Without a TTLCheck: see that the record is there."""
        self._check()
        entry = self._entry(lease)
        entry.heard = self._clock.time()
        if entry.record.ttl is not None:
            self._show(entry, health.status)

    async def observe(self, lease: Lease, cursor: Any) -> Any:
        """Wait for a change of the record, and raise NotRegisteredError once it is gone."""
        id = lease.record.id
        cursor = await self._differing(
            cursor, lambda: entry.instance() if (entry := self._entries.get(id)) else _FORGOTTEN
        )
        self._entry(lease)
        return cursor

    async def drain(self, lease: Lease, on: bool) -> None:
        """Show the instance as critical while drained, and as what it is after that."""
        self._check()
        entry = self._entry(lease)
        entry.drained = on
        self._show(entry, entry.status)

    async def deregister(self, lease: Lease) -> None:
        """Remove the registration; one that isn't there is no error."""
        self._check()
        self.remove(lease.record.id)


def _deregister_after(record: Record) -> float | None:
    """The shortest `deregister_after` among the checks."""
    return min((after for check in record.checks if (after := check.deregister_after)), default=None)


def from_url(url: str) -> MemoryBackend:
    """The backend of `memory://`: a new, empty registry."""
    if url != "memory://":
        raise ValueError(f"a registry in memory is memory://, without a host or parameters; got {url!r}")
    return MemoryBackend()
