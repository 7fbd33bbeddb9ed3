"""A backend is opened once, by one loop, and its closing ends what is in flight."""

import asyncio
from types import TracebackType

import aiohttp

from asyncsd._errors import BackendError, ClosedError

__all__ = ["Call", "Lifetime"]


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

    def call(self) -> "Call":
        """Around a call's body: it ends with ClosedError when the backend is closed meanwhile."""
        return Call(self)

    def enter(self, scope: asyncio.Timeout) -> None:
        """A call begins."""
        self.check()
        self._in_flight.add(scope)

    def leave(self, scope: asyncio.Timeout, exc: BaseException | None) -> None:
        """A call has ended, with `exc`; ClosedError in place of what the closing has caused."""
        self._in_flight.discard(scope)
        # TimeoutError is an OSError.
        if self._closed and isinstance(exc, OSError | aiohttp.ClientError | BackendError):
            raise ClosedError(f"the {self._name} was closed") from exc


class Call:
    """A call in flight. No generator: of a thousand that wait, each would hold its frame."""

    __slots__ = ("_lifetime", "_scope")

    def __init__(self, lifetime: Lifetime) -> None:
        self._lifetime = lifetime
        self._scope = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        self._lifetime.enter(self._scope)
        await self._scope.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        raised = exc
        try:
            await self._scope.__aexit__(kind, exc, trace)
        except TimeoutError as late:
            raised = late
            raise
        finally:
            self._lifetime.leave(self._scope, raised)
