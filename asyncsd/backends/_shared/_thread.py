"""Work that blocks, off the loop."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["in_thread"]

T = TypeVar("T")


async def in_thread(call: Callable[[], T], *, name: str) -> T:
    """What `call` returns or raises, run in a daemon thread of its own, `asyncsd-<name>`.

    Such a thread doesn't keep the program from its end, as the loop's own do while a file system hangs. When
    this is cancelled the thread goes on by itself.
    """
    ended = Future[T]()
    ended.set_running_or_notify_cancel()

    def run() -> None:
        try:
            ended.set_result(call())
        except Exception as exc:  # noqa: BLE001 - it is raised where it is awaited
            ended.set_exception(exc)

    threading.Thread(target=run, name=f"asyncsd-{name}", daemon=True).start()
    return await asyncio.wrap_future(ended)
