"""A clock that a test moves."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

__all__ = ["FakeClock"]

IDLE_TURNS, MOST_TURNS = 5, 1_000
"""The loop has settled after so many turns in a row with nothing to run; it is given up on after so many."""


class FakeClock:
    """Time that stands still until `await clock.advance(seconds)`.

    Pass it as `clock=` to any part of asyncsd. `advance` wakes the sleepers and ends the timeouts that fall
    due, one moment after the other, and lets what they set off run before it goes on.

    >>> clock = FakeClock()
    >>> clock.time()
    1000.0
    """

    def __init__(self, start: float = 1_000.0) -> None:
        """Begin at `start` seconds."""
        self._now = start
        self._due: dict[object, tuple[float, Callable[[], None]]] = {}

    def __repr__(self) -> str:
        return f"FakeClock({self._now}, {self.sleepers} sleeping)"

    def time(self) -> float:
        """The seconds that it stands at."""
        return self._now

    @property
    def sleepers(self) -> int:
        """How many sleeps and timeouts are running."""
        return len(self._due)

    @property
    def next_due(self) -> float | None:
        """When the next sleep or timeout ends, None when there is none."""
        return min((when for when, _ in self._due.values()), default=None)

    async def sleep(self, seconds: float) -> None:
        """Return when the clock was moved so far; a cancellation ends it at once."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        self._due[woken] = (self._now + seconds, lambda: None if woken.done() else woken.set_result(None))
        try:
            await woken
        finally:
            self._due.pop(woken, None)

    def timeout(self, seconds: float | None) -> "_Timeout":
        """A context that raises TimeoutError when the clock is moved past its end; None never does."""
        return _Timeout(self._due, None if seconds is None else self._now + seconds, self._now)

    async def settle(self) -> None:
        """Let everything that can run now run, without moving time."""
        ready = getattr(asyncio.get_running_loop(), "_ready", None)
        idle = 0
        for _ in range(MOST_TURNS if ready is not None else 50):
            await asyncio.sleep(0)
            # More than one idle turn: the loop looks for what sockets have to say at the end of each.
            idle = 0 if ready else idle + 1
            if ready is not None and idle == IDLE_TURNS:
                break

    def skip(self) -> bool:
        """Move time to what is due next and wake it, but let nothing run yet; False when nothing is due."""
        when = self.next_due
        if when is None:
            return False
        self._now = max(self._now, when)
        for key, (moment, wake) in list(self._due.items()):
            if moment <= self._now:
                del self._due[key]
                wake()
        return True

    async def advance(self, seconds: float) -> None:
        """Move time forward, waking on the way all that falls due."""
        end = self._now + seconds
        await self.settle()
        while (when := self.next_due) is not None and when <= end:
            self.skip()
            await self.settle()
        self._now = end
        await self.settle()


class _Timeout:
    """asyncio's own timeout, set off by the fake clock."""

    __slots__ = ("_due", "_now", "_scope", "_when")

    def __init__(
        self, due: dict[object, tuple[float, Callable[[], None]]], when: float | None, now: float
    ) -> None:
        self._due = due
        self._when = when
        self._now = now
        self._scope = asyncio.timeout(None)

    async def __aenter__(self) -> Self:
        await self._scope.__aenter__()
        if self._when is not None:
            if self._when <= self._now:
                self._expire()
            else:
                self._due[self] = (self._when, self._expire)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._due.pop(self, None)
        await self._scope.__aexit__(kind, exc, trace)

    def _expire(self) -> None:
        self._scope.reschedule(asyncio.get_running_loop().time())
