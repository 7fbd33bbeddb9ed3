"""How many blocking queries an agent holds for us, and how more than that take turns."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from asyncsd._clock import LoopClock
from asyncsd._protocols import Clock

__all__ = ["Slots"]

T = TypeVar("T")

CYCLE = 5.0
"""Within how many seconds everybody gets a turn, when there are more queries than slots."""
LEAST = 0.1
"""The shortest turn, in seconds."""
RECOVERY = 5.0
"""Every so many seconds the limit grows by one again, after the agent had refused a connection."""
ONCE = 1.0
"""Refusals within so many seconds are one: they were all on their way when the first came."""


@dataclass(eq=False, slots=True)
class _Hold:
    wait: float
    scope: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))


class Slots:
    """At most `limit` blocking queries at a time.

    An agent takes 200 connections of one address (`http_max_conns_per_client`), and refuses every program
    there once they are used up. While more queries than `limit` want to wait, the waits are shortened so
    that each has its turn within CYCLE seconds, and one that was given a long wait before is cut short.

    Other processes of this machine have their part of those 200. When the agent refuses a connection, the
    limit becomes half of what is held, and grows slowly again: each finds its share, as in TCP.
    """

    def __init__(self, limit: int, *, clock: Clock | None = None) -> None:
        self._most = limit
        self._clock: Clock = clock or LoopClock()
        self._reduced: tuple[int, float] | None = None
        self._lent = 0
        self._used = 0
        self._held: dict[_Hold, None] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __repr__(self) -> str:
        return f"Slots({self._used} of {self._most} used, {len(self._waiting)} waiting)"

    @property
    def limit(self) -> int:
        """How many may be held now."""
        if self._reduced is None:
            return self._most
        least, since = self._reduced
        return min(self._most, least + int((self._clock.time() - since) / RECOVERY))

    @property
    def _limit(self) -> int:
        return self.limit - self._lent

    def refused(self) -> None:
        """The agent has refused a connection: hold half as many as now."""
        now = self._clock.time()
        if self._reduced is None or now - self._reduced[1] >= ONCE:
            self._reduced = (max(1, min(self._limit, self._used) // 2), now)
            self._cut()

    @asynccontextmanager
    async def one_less(self) -> AsyncGenerator[None, None]:
        """Leave one connection to something else meanwhile: a hold ends if need be."""
        self._lent += 1
        self._cut()
        try:
            yield
        finally:
            self._lent -= 1
            self._admit()

    async def run(self, wait: float, ask: Callable[[float], Awaitable[T]]) -> T:
        """`await ask(wait)` in a slot, with a shorter wait where there aren't enough.

        It is asked again when its slot was taken back meanwhile. A cancellation gives the slot back.
        """
        while True:
            await self._enter()
            hold = _Hold(self._turn(wait))
            self._held[hold] = None
            try:
                async with hold.scope:
                    return await ask(hold.wait)
            except TimeoutError:
                if not hold.scope.expired():
                    raise
            finally:
                del self._held[hold]
                self._leave()

    def _turn(self, wait: float) -> float:
        wanted = self._used + len(self._waiting)
        limit = self._limit
        if wanted <= limit:
            return wait
        return min(wait, max(LEAST, round(CYCLE * limit / wanted, 3)))

    async def _enter(self) -> None:
        self._admit()
        if self._used < self._limit:
            self._used += 1
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(woken)
        self._take_back()
        try:
            await woken
        except asyncio.CancelledError:
            if woken.done() and not woken.cancelled():
                self._leave()
            elif woken in self._waiting:
                self._waiting.remove(woken)
            raise

    def _take_back(self) -> None:
        """End the longest hold that is longer than a turn now is."""
        now = asyncio.get_running_loop().time()
        for hold in self._held:
            if hold.wait > self._turn(hold.wait) and hold.scope.when() is None:
                hold.scope.reschedule(now)
                return

    def _cut(self) -> None:
        """End holds, the oldest first, until no more than the limit are left."""
        now = asyncio.get_running_loop().time()
        going = sum(hold.scope.when() is not None for hold in self._held)
        for hold in self._held:
            if self._used - going <= self._limit:
                return
            if hold.scope.when() is None:
                hold.scope.reschedule(now)
                going += 1

    def _leave(self) -> None:
        self._used -= 1
        self._admit()

    def _admit(self) -> None:
        """Give what is free to those that waited longest."""
        while self._waiting and self._used < self._limit:
            woken = self._waiting.popleft()
            if not woken.done():
                self._used += 1
                woken.set_result(None)
