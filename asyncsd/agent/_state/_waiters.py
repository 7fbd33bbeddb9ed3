"""Those who wait for a change of one of several things."""

import asyncio
from collections.abc import Sequence
from typing import TypeAlias

__all__ = ["Key", "Waiters"]

Key: TypeAlias = tuple[str, ...]
"""What may change, and what a query may wait on: ("service", "web"), ("nodes",)."""


AT_ONCE = 50
"""How many are let go in one turn of the loop: thousands in one would hold up all else for their sum."""


class Waiters:
    """Who waits on which keys."""

    def __init__(self) -> None:
        self._waiting: dict[Key, set[asyncio.Future[None]]] = {}

    def __repr__(self) -> str:
        return f"Waiters({len(self)})"

    def __len__(self) -> int:
        """How many wait; one that waits on several keys counts once."""
        return len(set[object]().union(*self._waiting.values()))

    def wake(self, *keys: Key) -> None:
        """Let those who wait on any of `keys` look again, so many in each of the loop's next turns."""
        self._let_go([waiter for key in keys for waiter in self._waiting.get(key, ())])

    def wake_all(self) -> None:
        """Let all who wait look again."""
        self.wake(*self._waiting)

    def _let_go(self, waiters: list[asyncio.Future[None]]) -> None:
        for waiter in waiters[:AT_ONCE]:
            if not waiter.done():
                waiter.set_result(None)
        if later := waiters[AT_ONCE:]:
            later[0].get_loop().call_soon(self._let_go, later)

    async def changed(self, keys: Sequence[Key]) -> None:
        """Return once one of `keys` was woken. On cancellation nothing stays behind."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for key in keys:
            self._waiting.setdefault(key, set()).add(waiter)
        try:
            await waiter
        finally:
            for key in keys:
                waiting = self._waiting[key]
                waiting.discard(waiter)
                if not waiting:
                    del self._waiting[key]
