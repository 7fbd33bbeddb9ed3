"""What is to be told, and those who wait for it to change."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from asyncsd._errors import DiscoveryError
from asyncsd._protocols import Clock

__all__ = ["Outcome"]

V = TypeVar("V")


class Outcome(Generic[V]):
    """A value, or an error in the place of the first one; nothing before."""

    __slots__ = ("_changed", "_clock", "_latest")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latest: V | Exception | None = None
        self._changed = asyncio.Event()

    def become(self, latest: V | Exception) -> None:
        """Wake those who wait, if that is news."""
        if latest != self._latest:
            self._latest = latest
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    async def next(self, cursor: object, *, wait: float, silent: Callable[[], DiscoveryError]) -> V:
        """The value, once it isn't `cursor`, or as it is after `wait` seconds; raises what stands instead.

        If nothing has come by then, the error that `silent` makes. Cancelling it changes nothing.
        """
        end = self._clock.time() + wait
        while True:
            latest, changed = self._latest, self._changed
            if isinstance(latest, Exception):
                raise latest.with_traceback(None)  # It may be raised often, and would grow each time.
            if latest is not None and latest != cursor:
                return latest
            try:
                async with self._clock.timeout(end - self._clock.time()):
                    await changed.wait()
            except TimeoutError:
                if latest is None:
                    raise silent() from None
                return latest
