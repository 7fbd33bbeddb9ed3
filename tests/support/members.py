"""Members of a composite that fail when they are told to, and a watch over them on a clock of the test's."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from asyncsd import Event, Instance, Limits, Names, Query, Reply, UnreachableError, Watcher
from asyncsd.backends.composite import Failover, Merge
from asyncsd.backends.memory import MemoryBackend
from asyncsd.testing import FakeClock

__all__ = ["REFUSED", "FaultyMemory", "Watched", "instance", "watched"]

REFUSED = UnreachableError("connection refused")


def instance(id: str, **fields: Any) -> Instance:
    """An instance whose port is made of its id: another id is at another address."""
    values: dict[str, Any] = {"host": "10.0.0.1", "port": ord(id[0]), **fields}
    return Instance(**{"id": id, "service": "users", **values})


class FaultyMemory(MemoryBackend):
    """A registry in memory that can be down, silent, and back again."""

    def __init__(self, *ids: str | Instance, clock: FakeClock, wait: float = 55.0) -> None:
        self.error: BaseException | None = None
        self.silent = False
        self.cursors: list[Any] = []
        """Those of all fetches."""
        self.closes = 0
        self._calls: set[asyncio.Timeout] = set()
        super().__init__(clock=clock, wait=wait)
        self.add(*ids)

    def add(self, *ids: str | Instance) -> None:
        self.put(*(instance(each) if isinstance(each, str) else each for each in ids))

    def down(self, error: BaseException = REFUSED) -> None:
        """Fail every fetch from now on, those that wait too."""
        self.error = error
        self.cut()

    def up(self) -> None:
        self.error, self.silent = None, False

    def cut(self) -> None:
        """End what waits, by an error."""
        for call in self._calls:
            call.reschedule(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def _call(self) -> AsyncGenerator[None, None]:
        if self.error is not None:
            raise self.error
        call = asyncio.timeout(None)
        self._calls.add(call)
        try:
            async with call:
                if self.silent:
                    await asyncio.get_running_loop().create_future()
                yield
        except TimeoutError:
            raise self.error or REFUSED from None
        finally:
            self._calls.discard(call)

    async def aclose(self) -> None:
        self.closes += 1
        await super().aclose()

    async def fetch(self, query: Query, cursor: Any) -> Reply:
        self.cursors.append(cursor)
        async with self._call():
            return await super().fetch(query, cursor)

    async def fetch_names(self, cursor: Any) -> Names:
        async with self._call():
            return await super().fetch_names(cursor)


def short(event: Event) -> str:
    """The reason, each instance with its origin, and how far it is trusted: "changed:a@east b@west !"."""
    known = "-" if event.snapshot is None else " ".join(f"{each.id}@{each.origin}" for each in event.snapshot)
    trust = " ?" if event.stale else ""
    return f"{event.reason}:{known}{trust}{' !' if event.error is not None else ''}"


class Watched:
    """A Watcher over a composite, and what it told."""

    def __init__(self, clock: FakeClock, backend: Merge | Failover, query: Query | str) -> None:
        self.clock = clock
        self.watcher = Watcher(backend, query, clock=clock, rng=random.Random(1))
        self._queue = asyncio.Queue[Event](100)

    async def events(self, seconds: float = 0.0) -> list[Event]:
        """What is told within so many seconds."""
        await self.clock.advance(seconds)
        return [self._queue.get_nowait() for _ in range(self._queue.qsize())]

    async def told(self, seconds: float = 0.0) -> list[str]:
        """The same in short."""
        return [short(event) for event in await self.events(seconds)]

    @property
    def ids(self) -> list[str]:
        """What is served now."""
        snapshot = self.watcher.hub.snapshot
        return [] if snapshot is None else [f"{each.id}@{each.origin}" for each in snapshot]

    async def run(self) -> None:
        """Watch until cancelled."""
        await self.watcher.run(self._queue)


@asynccontextmanager
async def watched(
    clock: FakeClock, backend: Merge | Failover, query: Query | str = "users"
) -> AsyncGenerator[Watched, None]:
    """Opens the composite and watches until the end of the block."""
    async with backend:
        watch = Watched(clock, backend, query)
        task = asyncio.create_task(watch.run())
        await clock.settle()
        try:
            yield watch
        finally:
            task.cancel()
            await asyncio.wait([task])


LIMITS = Limits(reset_hold=10.0, linger=5.0)
