"""Calls at a steady rate, or at one that changes steadily."""

import asyncio
import time
from collections.abc import Callable, Coroutine


class Traffic:
    """Makes calls by the clock, whether those before have ended or not: so does a crowd of users."""

    def __init__(self, call: Callable[[], Coroutine[None, None, None]]) -> None:
        self._call = call
        self._from = self._to = 0.0
        self._began, self._over = 0.0, 0.0

    @property
    def rate(self) -> float:
        """Calls a second, just now."""
        if self._over <= 0.0:
            return self._to
        done = min(1.0, (time.monotonic() - self._began) / self._over)
        return self._from + (self._to - self._from) * done

    def change(self, rate: float, *, over: float = 0.0) -> None:
        """Go to so many calls a second, over so many seconds."""
        self._from, self._to = self.rate, rate
        self._began, self._over = time.monotonic(), over

    async def run(self) -> None:
        """Make calls until it is cancelled."""
        async with asyncio.TaskGroup() as calls:
            due = time.monotonic()
            while True:
                if not self.rate:
                    await asyncio.sleep(0.02)
                    due = time.monotonic()
                    continue
                due = max(due + 1 / self.rate, time.monotonic() - 1.0)  # A laptop that slept owes nothing.
                await asyncio.sleep(due - time.monotonic())
                calls.create_task(self._call())
