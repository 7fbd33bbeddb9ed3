"""The threads between kazoo and the loop."""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress

__all__ = ["Submitter", "tell"]


def tell(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: object) -> None:
    """Run `call` on the loop, from any thread; nothing where the loop has ended meanwhile."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *args)


class Submitter:
    """A thread that hands requests to kazoo, in order.

    kazoo wakes its own thread by a byte into a socket, which blocks once a frozen server has left some 280
    of them unread: that mustn't be the loop.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="asyncsd-zookeeper", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], None]) -> None:
        """Call `work`, which raises nothing, in the thread."""
        self._work.put(work)

    def stop(self) -> None:
        """End the thread after what was submitted."""
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
