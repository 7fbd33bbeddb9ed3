"""One call for many who want the same at once."""

import asyncio
from collections.abc import Awaitable, Callable
from copy import copy
from typing import Generic, TypeVar

from asyncsd._errors import BackendError

__all__ = ["SingleFlight"]

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Whoever asks while a call is on waits for it, and has its result or its BackendError.

    So of many who ask a server that hangs, none waits longer than the first. Where the one who makes the
    call is cancelled, the next makes another. (The name is of Go's golang.org/x/sync/singleflight.)
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._ended = 0
        self._outcome: T | BackendError

    async def do(self, call: Callable[[], Awaitable[T]]) -> T:
        """What `call()` returns, or that of somebody else's which was on."""
        before = self._ended
        async with self._lock:
            if self._ended == before:
                return await self._call(call)
            if isinstance(self._outcome, BackendError):
                raise copy(self._outcome) from self._outcome.__cause__
            return self._outcome

    async def _call(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            result = self._outcome = await call()
        except BackendError as exc:
            self._outcome = exc
            self._ended += 1
            raise
        self._ended += 1
        return result
