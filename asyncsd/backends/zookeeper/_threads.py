"""The threads between kazoo and the loop."""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

__all__ = ["Submitter", "in_thread", "tell"]

T = TypeVar("T")


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


async def in_thread(call: Callable[[], T]) -> T:
    """What `call` returns, run in a thread of its own, which doesn't keep the program from its end.

    When this is cancelled the thread goes on by itself.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()

    def end(result: T) -> None:
        if not ended.done():
            ended.set_result(result)

    def fail(error: Exception) -> None:
        if not ended.done():
            ended.set_exception(error)

    def run() -> None:
        try:
            result = call()
        except Exception as exc:  # noqa: BLE001 - it is raised where it is awaited
            tell(loop, fail, exc)
        else:
            tell(loop, end, result)

    threading.Thread(target=run, name="asyncsd-zookeeper-control", daemon=True).start()
    return await ended
