"""Those who wait for a change."""

import asyncio

from asyncsd._protocols import Clock

__all__ = ["Waiters"]


class Waiters:
    """Wakes all who wait, at once, in the order of their coming."""

    __slots__ = ("_clock", "_waiting")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[asyncio.Future[None], None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, seconds: float) -> None:
        """Return at the next `wake`, or after so many seconds."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[woken] = None
        try:
            async with self._clock.timeout(seconds):
                await woken
        except TimeoutError:
            pass
        finally:
            del self._waiting[woken]

    def wake(self) -> None:
        for woken in self._waiting:
            if not woken.done():
                woken.set_result(None)
