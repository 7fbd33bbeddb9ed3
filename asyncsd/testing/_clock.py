"""A clock that a test moves."""

import asyncio
import heapq
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

__all__ = ["FakeClock"]


class FakeClock:
    """Time that stands still until `await clock.advance(seconds)`.

    Pass it as `clock=` to any part of asyncsd. `advance` wakes the sleepers and ends the timeouts that fall
    due, one moment after the other, and lets what they set off run before it goes on.
    """

    def __init__(self, start: float = 1_000.0) -> None:
        self._now = start
        self._count = 0
        self._due: list[tuple[float, int, asyncio.Future[None]]] = []

    def __repr__(self) -> str:
        return f"FakeClock({self._now}, {self.sleepers} sleeping)"

    def time(self) -> float:
        return self._now

    @property
    def sleepers(self) -> int:
        """How many sleeps and timeouts are running."""
        return sum(not woken.done() for _, _, woken in self._due)

    @property
    def next_due(self) -> float | None:
        """When the next sleep or timeout ends, None when there is none."""
        return min((when for when, _, woken in self._due if not woken.done()), default=None)

    def _at(self, when: float) -> asyncio.Future[None]:
        woken = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._due, (when, self._count, woken))
        return woken

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        await self._at(self._now + seconds)

    @asynccontextmanager
    async def timeout(self, seconds: float | None) -> AsyncGenerator[asyncio.Timeout, None]:
        async with asyncio.timeout(None) as scope:
            if seconds is None:
                yield scope
                return
            woken = self._at(self._now + seconds)
            woken.add_done_callback(
                lambda done: None if done.cancelled() else scope.reschedule(asyncio.get_running_loop().time())
            )
            try:
                yield scope
            finally:
                woken.cancel()

    async def settle(self) -> None:
        """Let everything that can run now run, without moving time."""
        for _ in range(50):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        """Move time forward, waking on the way all that falls due."""
        end = self._now + seconds
        await self.settle()
        while self._due and self._due[0][0] <= end:
            when, _, woken = heapq.heappop(self._due)
            if woken.done():
                continue
            self._now = max(self._now, when)
            woken.set_result(None)
            await self.settle()
        self._now = end
        await self.settle()
