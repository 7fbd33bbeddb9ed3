"""The clock of the running program. The fake one for tests is `asyncsd.testing.FakeClock`."""

import asyncio
import time

__all__ = ["LoopClock"]


class LoopClock:
    """Monotonic time, and asyncio's own sleep and timeout."""

    __slots__ = ()

    time = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        return asyncio.timeout(seconds)

    def __repr__(self) -> str:
        return "LoopClock()"
