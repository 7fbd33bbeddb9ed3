"""A clock that a test needn't move."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from asyncsd.testing import FakeClock

__all__ = ["hurried"]


@asynccontextmanager
async def hurried() -> AsyncGenerator[FakeClock, None]:
    """About ten seconds a second, none of them while this process is stopped.

    So deadlines come sooner, and none comes before what was on its way was read.
    """
    clock = FakeClock()

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.01)
            await clock.advance(0.1)

    ticking = asyncio.create_task(tick())
    try:
        yield clock
    finally:
        ticking.cancel()
        await asyncio.wait([ticking])
