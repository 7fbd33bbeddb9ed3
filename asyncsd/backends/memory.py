"""A registry inside the program: for tests, and for parts of one program that find each other."""

import asyncio
from typing import Any, Self

from asyncsd._clock import LoopClock
from asyncsd._errors import ClosedError, NotRegisteredError, UnsupportedError
from asyncsd._models import Instance, Names, Query, Reply, Status
from asyncsd._protocols import Clock, Lease
from asyncsd._registration import Health, Record, TTLCheck

__all__ = ["MemoryBackend"]

WAIT = 55.0


class MemoryBackend:
    """A whole registry in memory, with TTLs, that several parts of one program may share.

    It belongs to the loop that opened it. What is registered stays over a close and is gone with the object.
    A TTLCheck that isn't renewed in time turns its instance critical, and `deregister_after` removes it; that
    is looked at whenever somebody asks or waits. `put` and `remove` change the list by hand.
    """

    def __init__(self, *instances: Instance, wait: float = WAIT, clock: Clock | None = None) -> None:
        self._clock: Clock = clock or LoopClock()
        self._wait = wait
        self._open = False
        self._index = 1
        self._services: dict[str, dict[str, Instance]] = {}
        self._records: dict[str, Record] = {}
        self._drained: set[str] = set()
        self._heard: dict[str, float] = {}
        self._changed = asyncio.Event()
        self.put(*instances)

    def __repr__(self) -> str:
        count = sum(len(known) for known in self._services.values())
        return f"MemoryBackend({count} instances of {len(self._services)} services)"

    @property
    def is_open(self) -> bool:
        return self._open

    async def __aenter__(self) -> Self:
        self._open = True
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        self._open = False
        self._bump()

    def put(self, *instances: Instance) -> None:
        """Add instances, or replace those of the same id."""
        for instance in instances:
            self._services.setdefault(instance.service, {})[instance.id] = instance
        self._bump()

    def remove(self, *ids: str) -> None:
        """Remove the instances and registrations with these ids."""
        for id in ids:
            self._records.pop(id, None)
            self._heard.pop(id, None)
            self._drained.discard(id)
            for name, known in list(self._services.items()):
                if known.pop(id, None) is not None and not known:
                    del self._services[name]
        self._bump()

    def clear(self) -> None:
        """Forget everything, as a restarted server without data does; the index starts anew."""
        self._services.clear()
        self._records.clear()
        self._heard.clear()
        self._drained.clear()
        self._bump()
        self._index = 1

    def _bump(self) -> None:
        self._index += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _check(self) -> None:
        if not self._open:
            raise ClosedError("this MemoryBackend isn't open: use `async with`, or give it to a Discovery")

    def _expire(self) -> float | None:
        """Turn overdue instances critical, remove ghosts; the seconds until the next one is due."""
        now = self._clock.time()
        due: list[float] = []
        for id, heard in list(self._heard.items()):
            record = self._records[id]
            ttl = record.ttl
            if ttl is None:
                continue
            instance = self._services[record.service][id]
            after = min(
                (c.deregister_after for c in record.checks if isinstance(c, TTLCheck) and c.deregister_after),
                default=None,
            )
            if now >= heard + ttl:
                if instance.status != "critical":
                    self._set(record, "critical")
                if after is not None and now >= heard + ttl + after:
                    self.remove(id)
                elif after is not None:
                    due.append(heard + ttl + after - now)
            else:
                due.append(heard + ttl - now)
        return min(due, default=None)

    def _set(self, record: Record, status: Status) -> None:
        instance = Instance(
            id=record.id,
            service=record.service,
            host=record.host,
            port=record.port,
            tags=record.tags,
            meta=record.meta,
            weight=record.weight,
            zone=record.meta.get("zone"),
            status="critical" if record.id in self._drained else status,
            scheme=record.scheme,
        )
        if self._services.get(record.service, {}).get(record.id) != instance:
            self.put(instance)

    async def _changes(self, cursor: object) -> None:
        """Wait until the index isn't `cursor` any more, at most for the backend's wait."""
        self._check()
        end = self._clock.time() + self._wait
        due = self._expire()
        while cursor == self._index:
            left = end - self._clock.time()
            if left <= 0:
                break
            changed = self._changed
            try:
                async with self._clock.timeout(left if due is None else min(left, due)):
                    await changed.wait()
            except TimeoutError:
                pass
            self._check()
            due = self._expire()

    async def fetch(self, query: Query, cursor: Any) -> Reply:
        """The instances of a service; waits for a change of anything in this registry."""
        await self._changes(cursor)
        known = self._services.get(query.service, {}).values()
        instances = tuple(i for i in known if not query.server_filter or query.matches(i))
        return Reply(instances, cursor=self._index, index=self._index)

    async def fetch_names(self, cursor: Any) -> Names:
        """All services and their tags."""
        await self._changes(cursor)
        services = {
            name: tuple(sorted({tag for instance in known.values() for tag in instance.tags}))
            for name, known in self._services.items()
        }
        return Names(services, cursor=self._index, index=self._index)

    async def local_host(self) -> str:
        return "127.0.0.1"

    async def register(self, record: Record, previous: Lease | None = None) -> Lease:
        """Take `record`; a check other than TTLCheck is an UnsupportedError."""
        self._check()
        for check in record.checks:
            if not isinstance(check, TTLCheck):
                raise UnsupportedError(
                    f"MemoryBackend runs no checks, and {type(check).__name__} needs a registry that does: "
                    "use TTLCheck"
                )
        known = self._services.get(record.service, {}).get(record.id)
        self._records[record.id] = record
        first = record.checks[0].initial_status if record.checks else "passing"
        if record.id not in self._heard or known is None:
            self._heard[record.id] = self._clock.time()
        self._set(record, known.status if known is not None else first)
        return Lease(record, where="memory")

    async def renew(self, lease: Lease, health: Health) -> None:
        """Renew the TTL; the status is `health`'s."""
        self._check()
        self._expire()
        if lease.record.id not in self._records:
            raise NotRegisteredError(f"{lease.record.id!r} isn't registered in memory")
        self._heard[lease.record.id] = self._clock.time()
        if lease.record.ttl is not None:
            self._set(self._records[lease.record.id], health.status)

    async def observe(self, lease: Lease, cursor: Any) -> Any:
        """Wait for a change, and raise NotRegisteredError once the record is gone."""
        await self._changes(cursor)
        if lease.record.id not in self._records:
            raise NotRegisteredError(f"{lease.record.id!r} isn't registered in memory")
        return self._index

    async def drain(self, lease: Lease, on: bool) -> None:
        """Show the instance as critical while drained."""
        self._check()
        record = self._records.get(lease.record.id)
        if record is None:
            raise NotRegisteredError(f"{lease.record.id!r} isn't registered in memory")
        (self._drained.add if on else self._drained.discard)(record.id)
        self._set(record, "critical" if on else "passing")

    async def deregister(self, lease: Lease) -> None:
        self._check()
        self.remove(lease.record.id)
