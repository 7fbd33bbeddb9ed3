"""What a user reads a watch with."""

import asyncio
from typing import TYPE_CHECKING

from ._errors import ClosedError
from ._models import Event, Snapshot

if TYPE_CHECKING:
    from ._poll import WatchHealth
    from ._watcher import Watcher

__all__ = ["Subscription"]


class Subscription:
    """The Events of one watch, on a queue of its own or the user's.

    `async for` gives every Event and ends when the watch is closed. Several tasks may read it; each Event
    goes to one of them.
    """

    __slots__ = ("_queue", "_watcher")

    def __init__(self, watcher: "Watcher", queue: asyncio.Queue[Event] | None = None) -> None:
        self._watcher = watcher
        self._queue: asyncio.Queue[Event] = asyncio.Queue(watcher.limits.queue) if queue is None else queue
        watcher.hub.attach(self._queue)

    def __repr__(self) -> str:
        return f"Subscription({self._watcher!r}, {self._queue.qsize()} unread)"

    @property
    def snapshot(self) -> Snapshot | None:
        """What the watch knows now, whatever was read of it; None while nothing was heard."""
        return self._watcher.hub.snapshot

    def health(self) -> "WatchHealth":
        """How the watch is doing."""
        return self._watcher.health()

    async def get(self) -> Event:
        """The next Event; waits for one.

        Raises ClosedError once the watch is closed and what came before was read, and the error of a watch
        that died of a bug. Cancelling it loses no Event.
        """
        event = await self._queue.get()
        if event.closed:
            # There is one such Event, and whoever else is waiting has to learn of it too.
            self._queue.put_nowait(event)
            self._queue.task_done()
            raise self._watcher.hub.failure()
        return event

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Event:
        try:
            return await self.get()
        except ClosedError:
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Leave the watch: every reader learns that it is closed. Idempotent."""
        self._watcher.hub.detach(self._queue, close=True)
