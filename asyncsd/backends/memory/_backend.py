"""The backend: what the core asks, of a registry in the program."""

import asyncio
from collections.abc import Callable
from typing import Any, Self, TypeVar

from asyncsd._checks import Health
from asyncsd._errors import ClosedError, NotRegisteredError
from asyncsd._models import Instance, Names, Query, Reply
from asyncsd._protocols import Clock, Lease
from asyncsd._registration import Record
from asyncsd.backends._shared._refusals import refuse_checks

from ._registry import MemoryRegistry
from ._waiters import NAMES, Topic, Waiter, observation

__all__ = ["MemoryBackend"]

T = TypeVar("T")

WAIT = 55.0

_FORGOTTEN = "forgotten"
"""What stands under the id of no registration; unlike None, it is no cursor to begin with."""


class MemoryBackend:
    """A whole registry in memory, with TTLs: one of its own, or `registry`, which others have too.

    It belongs to the loop that opened it; after a close it may be opened again, on another loop too. What is
    registered is the registry's: it stays over a close, and is gone with the registry. Several Discoveries
    may borrow one open backend of their loop; those of several loops need one each, over one MemoryRegistry.

    `put`, `remove` and `clear` change what is known by hand, from any thread. `wait` is how long, in seconds,
    a fetch waits for a change; `clock` is the registry's unless given.
    """

    def __init__(
        self,
        *instances: Instance,
        registry: MemoryRegistry | None = None,
        wait: float = WAIT,
        clock: Clock | None = None,
    ) -> None:
        """Put `instances` there from the start."""
        self._registry = MemoryRegistry(clock=clock) if registry is None else registry
        self._clock: Clock = clock or self._registry.clock
        self._wait = wait
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[Waiter] = set()
        self.put(*instances)

    def __repr__(self) -> str:
        return f"MemoryBackend({self._registry.count()})"

    @property
    def registry(self) -> MemoryRegistry:
        """What it reads and writes."""
        return self._registry

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
        for waiter in self._waiting:
            waiter.wake()

    def instances(self, service: str) -> tuple[Instance, ...]:
        """What the registry holds of a service now, open or not."""
        return self._registry.instances(service)

    def put(self, *instances: Instance) -> None:
        """Add instances, or replace those of the same id."""
        self._registry.put(*instances)

    def remove(self, *ids: str) -> None:
        """Remove the instances and registrations with these ids; unknown ones are no error."""
        self._registry.remove(*ids)

    def clear(self) -> None:
        """Forget everything, as a server does that restarts without its data: the index starts anew."""
        self._registry.clear()

    def _check(self) -> None:
        if self._loop is None:
            raise ClosedError("this MemoryBackend isn't open: use `async with`, or give it to a Discovery")
        if self._loop is not asyncio.get_running_loop():
            raise RuntimeError(
                "this MemoryBackend belongs to another event loop, which opened it: give each loop a backend "
                "of its own, MemoryBackend(registry=...), over one MemoryRegistry"
            )

    async def _differing(
        self, topic: Topic, cursor: object, state: Callable[[], object], read: Callable[[object], T]
    ) -> T:
        """Wait until `state()` isn't `cursor`, at most for the backend's wait; what is `read` of it then."""
        self._check()
        registry = self._registry
        end = self._clock.time() + self._wait
        while True:
            with registry.lock:
                now = state()
                left = end - self._clock.time()
                if now != cursor or left <= 0:
                    return read(now)
                due = registry.due - registry.clock.time()
                waiter = registry.waiters.add(topic)
            self._waiting.add(waiter)
            try:
                async with self._clock.timeout(min(left, due)):
                    await waiter.wait()
            except TimeoutError:
                pass
            finally:
                self._waiting.discard(waiter)
                with registry.lock:
                    registry.waiters.discard(topic, waiter)
            self._check()

    async def fetch(self, query: Query, cursor: Any) -> Reply:
        """The instances of a service; waits for a change of it, and at most for the backend's `wait`."""

        def read(state: object) -> Reply:
            known = self._registry.instances(query.service)
            instances = tuple(i for i in known if query.matches(i)) if query.server_filter else known
            return Reply(instances, cursor=state, index=self._registry.index)

        service = query.service
        return await self._differing((service,), cursor, lambda: self._registry.version(service), read)

    async def fetch_names(self, cursor: Any) -> Names:
        """All services and their tags; waits for a change of these."""

        def read(state: object) -> Names:
            return Names(self._registry.services(), cursor=state, index=self._registry.index)

        return await self._differing(
            NAMES, cursor, lambda: (self._registry.epoch, self._registry.services()), read
        )

    async def local_host(self) -> str:
        """127.0.0.1: whoever can ask is in this process."""
        return "127.0.0.1"

    async def register(self, record: Record, previous: Lease | None = None) -> Lease:
        """Take `record`; a check other than TTLCheck is an UnsupportedError.

        What stands under its id is replaced in place and keeps its status.
        """
        self._check()
        refuse_checks(record, "MemoryBackend")
        self._registry.register(record)
        return Lease(record, where="memory")

    async def renew(self, lease: Lease, health: Health) -> None:
        """Renew the TTL; the status is `health`'s. Without a TTLCheck: see that the record is there."""
        self._check()
        self._registry.renew(lease.record.id, health)

    async def observe(self, lease: Lease, cursor: Any) -> Any:
        """Wait for a change of the record, and raise NotRegisteredError once it is gone."""
        id = lease.record.id

        def read(state: object) -> object:
            if state == _FORGOTTEN:
                raise NotRegisteredError(f"{id!r} isn't registered in memory")
            return state

        return await self._differing(
            observation(id), cursor, lambda: self._registry.registered(id) or _FORGOTTEN, read
        )

    async def drain(self, lease: Lease, on: bool) -> None:
        """Show the instance as critical while drained, and as what it is after that."""
        self._check()
        self._registry.drain(lease.record.id, on)

    async def deregister(self, lease: Lease) -> None:
        """Remove the registration; one that isn't there is no error."""
        self._check()
        self._registry.remove(lease.record.id)
