"""A backend is opened once, by one loop, and its closing ends what is in flight."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp

from asyncsd._errors import BackendError, ClosedError

__all__ = ["Lifetime"]


class Lifetime:
    """Whether a backend is open, and its calls in flight. `name` is the backend's, for errors."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._in_flight: set[asyncio.Timeout] = set()

    @property
    def is_open(self) -> bool:
        return self._loop is not None and not self._closed

    def refuse_second(self) -> None:
        """Raise RuntimeError where it was opened or closed before."""
        if self._closed or self._loop is not None:
            raise RuntimeError(f"this {self._name} was opened before: a backend is opened once, make another")

    def open(self) -> None:
        """It belongs to the running loop from now on."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """End what is in flight. Idempotent."""
        self._closed = True
        if self._loop is not None:
            for scope in self._in_flight:
                if scope.when() is None:
                    scope.reschedule(self._loop.time())

    def check(self) -> None:
        """Raise where no call can be made: ClosedError, or RuntimeError on another loop."""
        if not self.is_open:
            raise ClosedError(f"this {self._name} isn't open: use `async with`, or give it to a Discovery")
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                f"this {self._name} belongs to the event loop that opened it, and this is another"
            )

    @asynccontextmanager
    async def call(self) -> AsyncGenerator[None, None]:
        """Around a call's body: it ends with ClosedError when the backend is closed meanwhile."""
        self.check()
        scope = asyncio.timeout(None)
        self._in_flight.add(scope)
        try:
            async with scope:
                yield
        except (OSError, aiohttp.ClientError, BackendError) as exc:  # TimeoutError is an OSError.
            if self._closed:
                raise ClosedError(f"the {self._name} was closed") from exc
            raise
        finally:
            self._in_flight.discard(scope)
