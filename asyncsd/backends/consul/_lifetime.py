"""A backend is opened once, by one loop, and its closing ends what is in flight."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

import aiohttp

from asyncsd._errors import BackendError, ClosedError, UnreachableError

__all__ = ["Lifetime"]

P = ParamSpec("P")
T = TypeVar("T")


class Lifetime:
    """Whether a backend is open, and its calls in flight."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._in_flight: set[asyncio.Timeout] = set()

    @property
    def is_open(self) -> bool:
        return self._loop is not None and not self._closed

    def refuse_second(self) -> None:
        """Raise RuntimeError where it was opened or closed before."""
        if self._closed or self._loop is not None:
            raise RuntimeError("a ConsulBackend is opened once: make another one")

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
            raise ClosedError("this ConsulBackend isn't open: use `async with`, or give it to a Discovery")
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "a ConsulBackend belongs to the event loop that opened it, and this is another"
            )

    async def call(self, ask: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """`await ask(…)`, which ends with ClosedError when this is closed."""
        self.check()
        scope = asyncio.timeout(None)
        self._in_flight.add(scope)
        try:
            async with scope:
                return await ask(*args, **kwargs)
        except (OSError, aiohttp.ClientError, BackendError) as exc:
            if self._closed:
                raise ClosedError("the ConsulBackend was closed") from exc
            if isinstance(exc, BackendError):
                raise
            # A client of the user's own let it through. asyncio's TimeoutError is an OSError.
            raise UnreachableError(f"{type(exc).__name__}: {exc}") from exc
        finally:
            self._in_flight.discard(scope)
