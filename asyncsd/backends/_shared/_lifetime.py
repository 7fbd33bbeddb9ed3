"""A backend is opened once, by one loop, and its closing ends what is in flight."""

import asyncio
from types import TracebackType

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

    def call(self) -> "_Call":
        """Around a call's body: it ends with ClosedError when the backend is closed meanwhile."""
        return _Call(self, self._in_flight)

    def closed(self, exc: BaseException | None) -> ClosedError | None:
        """The error in place of one that a call failed with because the backend was closed meanwhile."""
        if self._closed and isinstance(exc, OSError | aiohttp.ClientError | BackendError):
            return ClosedError(f"the {self._name} was closed")
        return None


class _Call:
    """What `Lifetime.call` gives: a class, since a generator costs each request twice as much."""

    __slots__ = ("_in_flight", "_lifetime", "_scope")

    def __init__(self, lifetime: Lifetime, in_flight: set[asyncio.Timeout]) -> None:
        self._lifetime = lifetime
        self._in_flight = in_flight
        self._scope = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        self._lifetime.check()
        await self._scope.__aenter__()
        self._in_flight.add(self._scope)

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._in_flight.discard(self._scope)
        try:
            await self._scope.__aexit__(kind, exc, trace)
        except TimeoutError as late:  # The scope was ended by `close`.
            raise self._lifetime.closed(late) or late from exc
        if (closed := self._lifetime.closed(exc)) is not None:
            raise closed from exc
