"""A backend is opened once, by one loop, and its closing ends what is in flight."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from asyncsd._errors import BackendError, ClosedError

__all__ = ["Lifetime"]


class Lifetime:
    """Whether a backend is open, and its calls in flight."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._in_flight: set[asyncio.Future[None]] = set()

    @property
    def is_open(self) -> bool:
        return self._loop is not None and not self._closed

    def open(self) -> None:
        """It belongs to the running loop from now on. RuntimeError where it was opened or closed before."""
        if self._closed or self._loop is not None:
            raise RuntimeError("a ZooKeeperBackend is opened once: make another one")
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """End what waits. Idempotent."""
        self._closed = True
        for waiting in self._in_flight:
            if not waiting.done():
                waiting.set_result(None)

    def check(self) -> None:
        """Raise where no call can be made: ClosedError, or RuntimeError on another loop."""
        if not self.is_open:
            raise ClosedError("this ZooKeeperBackend isn't open: use `async with`, or give it to a Discovery")
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "a ZooKeeperBackend belongs to the event loop that opened it, and this is another"
            )

    @contextmanager
    def waiting(self) -> Generator[asyncio.Future[None], None, None]:
        """A future that `close` resolves too; ClosedError at the end where it did."""
        self.check()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._in_flight.add(future)
        try:
            yield future
        except (TimeoutError, BackendError):
            if not self._closed:
                raise
        finally:
            self._in_flight.discard(future)
        if self._closed:
            raise ClosedError("the ZooKeeperBackend was closed")
