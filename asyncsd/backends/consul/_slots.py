"""How many blocking queries an agent holds for us, and how more than that take turns."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

__all__ = ["Slots"]

T = TypeVar("T")

CYCLE = 5.0
"""Within how many seconds everybody gets a turn, when there are more queries than slots."""
LEAST = 0.1
"""The shortest turn, in seconds."""


@dataclass(eq=False, slots=True)
class _Hold:
    wait: float
    scope: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))


class Slots:
    """At most `limit` blocking queries at a time.

    An agent takes 200 connections of one address (`http_max_conns_per_client`), and refuses every program
    there once they are used up. While more queries than `limit` want to wait, the waits are shortened so
    that each has its turn within CYCLE seconds, and one that was given a long wait before is cut short.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._held: dict[_Hold, None] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __repr__(self) -> str:
        return f"Slots({self._used} of {self._limit} used, {len(self._waiting)} waiting)"

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
        if wanted <= self._limit:
            return wait
        return min(wait, max(LEAST, round(CYCLE * self._limit / wanted, 3)))

    async def _enter(self) -> None:
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

    def _leave(self) -> None:
        while self._waiting:
            woken = self._waiting.popleft()
            if not woken.done():
                woken.set_result(None)  # The slot goes over to the one that waited longest.
                return
        self._used -= 1
