"""Waiting for what becomes true without telling."""

import asyncio
from collections.abc import Callable

__all__ = ["until"]


async def until(holds: Callable[[], object]) -> None:
    """Return once `holds()` does, looked at on each turn or so."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
