"""One latest value, given to any number of asyncio queues without ever waiting for a reader."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

from ._errors import ClosedError
from ._models import Diff, Event, Query, Reason, Snapshot, diff
from ._protocols import Clock

if sys.version_info >= (3, 13):
    from asyncio import QueueShutDown
else:

    class QueueShutDown(Exception):
        """Not raised before Python 3.13."""


__all__ = ["Hub"]

MOST_UNREAD = 128
"""How many Events a queue holds unread, even an unbounded one, before they are made into one."""

Since: TypeAlias = Callable[[Snapshot | None], Event]
"""Gives the Event of one publication with the diff that leads to it from a snapshot."""


class _Outlet:
    """One queue, and what of this hub's may still be in it."""

    __slots__ = ("base", "queue", "unread")

    def __init__(self, queue: asyncio.Queue[Event]) -> None:
        self.queue = queue
        self.base: Snapshot | None = None
        """The snapshot of the last Event that was put."""
        self.unread: list[tuple[Event, Snapshot | None]] = []
        """Each Event that wasn't read yet (or was, since the last look), and the base of its diff."""

    def put(self, since: Since) -> None:
        """Put an Event that leads on from `base`, or one in place of it and all that is unread."""
        read = max(0, len(self.unread) - self.queue.qsize())
        del self.unread[:read]  # First in, first out: the oldest have been read.
        try:
            self.queue.put_nowait(event := since(self.base))
        except asyncio.QueueFull:
            self._merge(since)
        else:
            self._keep(event, self.base)
            if len(self.unread) > MOST_UNREAD:
                self._merge(since)

    def _keep(self, event: Event, base: Snapshot | None) -> None:
        self.unread.append((event, base))
        self.base = event.snapshot

    def _merge(self, since: Since) -> None:
        queue = self.queue
        bases = {id(known): base for known, base in self.unread}
        items = [queue.get_nowait() for _ in range(queue.qsize())]
        oldest = next((item for item in items if id(item) in bases), None)
        for item in items:
            if id(item) not in bases:
                queue.put_nowait(item)
        self.unread.clear()
        if oldest is not None:
            base = bases[id(oldest)]
            merged = since(base)
            queue.put_nowait(merged)
            self._keep(merged, base)
        # Only now, lest join() sees an empty queue meanwhile.
        for _ in items:
            queue.task_done()


class Hub:
    """The latest Event of a watch, and the queues that get it.

    All but `ready` is synchronous, and atomic for every task of the loop. A queue that is full is not waited
    for: what this hub had put there comes out, and one Event goes in whose diff starts where the oldest of
    those began, so a slow reader misses steps and never the outcome. At 128 unread Events that happens to
    any queue, an unbounded one too. What others put into a queue stays, in its order; one that is full of
    that alone gets its Event with the next publication that finds room, and after the last gets none.
    """

    __slots__ = ("_clock", "_heard", "_outlets", "closed", "error", "latest", "query")

    def __init__(self, query: Query, *, clock: Clock) -> None:
        self.query: Query = query
        self.latest: Event | None = None
        """What was published last, None before."""
        self.closed: bool = False
        self.error: Exception | None = None
        """What the hub was closed with."""
        self._clock = clock
        self._outlets: dict[int, _Outlet] = {}
        self._heard: asyncio.Event | None = None
        """Set once there is a snapshot, or the hub is closed; made for the first who waits for that."""

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self.subscribers} subscribers"
        return f"Hub({self.query.service!r}, {state})"

    @property
    def subscribers(self) -> int:
        """How many queues are attached."""
        return len(self._outlets)

    @property
    def snapshot(self) -> Snapshot | None:
        """The latest snapshot, None while nothing was heard."""
        return None if self.latest is None else self.latest.snapshot

    async def ready(self) -> Snapshot:
        """Wait until there is a snapshot, through any errors of the registry, and return the latest.

        Raises what the hub was closed with, else ClosedError, once it is closed. Cancelling it changes
        nothing.
        """
        if self._heard is None:
            self._heard = asyncio.Event()
            if self.closed or self.snapshot is not None:
                self._heard.set()
        await self._heard.wait()
        if self.closed or self.snapshot is None:
            raise self.failure()
        return self.snapshot

    def failure(self) -> Exception:
        """What to raise for a hub that is closed."""
        return self.error or ClosedError(f"the watch of {self.query.service!r} is closed")

    def publish(
        self,
        snapshot: Snapshot | None,
        *,
        stale: bool = False,
        error: Exception | None = None,
        reason: Reason = "changed",
        heard_at: float | None = None,
    ) -> None:
        """Give all queues an Event that leads from the last one to this."""
        if self.closed:
            raise self.failure()
        if snapshot is not None and self._heard is not None:
            self._heard.set()
        self._deliver(self._telling(snapshot, stale, error, reason, heard_at))

    def close(self, error: Exception | None = None) -> None:
        """Give all queues a last Event, which says closed and why, and let go of them. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self.error = error
        if self._heard is not None:
            self._heard.set()
        self._deliver(self._last(error))
        self._outlets.clear()

    def attach(self, queue: asyncio.Queue[Event]) -> None:
        """Give `queue` the latest Event at once, if there is one, and all that follow.

        The diff of that first Event starts from nothing. Raises ValueError for a queue that is attached.
        """
        if id(queue) in self._outlets:
            raise ValueError(f"this queue already gets the events of {self.query.service!r}: use one a watch")
        outlet = _Outlet(queue)
        if self.latest is not None:
            # "recovered" is no news to a reader who has missed the outage.
            latest = self.latest
            reason: Reason = latest.reason if latest.stale or self.closed else "changed"
            outlet.put(
                self._telling(
                    latest.snapshot, latest.stale, latest.error, reason, latest.heard_at, latest.closed
                )
            )
        if not self.closed:
            self._outlets[id(queue)] = outlet

    def detach(self, queue: asyncio.Queue[Event], *, close: bool = False) -> None:
        """Give `queue` nothing more; with `close`, after a last Event that says closed.

        What is in it stays. A queue that isn't attached is left alone.
        """
        outlet = self._outlets.pop(id(queue), None)
        if outlet is not None and close:
            with suppress(QueueShutDown):
                outlet.put(self._last(None))

    def _last(self, error: Exception | None) -> Since:
        latest = self.latest or Event(self.query, None)
        return self._telling(latest.snapshot, latest.stale, error, "closed", latest.heard_at, closed=True)

    def _deliver(self, since: Since) -> None:
        """Put an Event, with the diff that leads to it, into all queues."""
        self.latest = since(self.snapshot)
        for outlet in list(self._outlets.values()):
            try:
                outlet.put(since)
            except QueueShutDown:  # Its reader wants no more.
                del self._outlets[id(outlet.queue)]

    def _telling(
        self,
        after: Snapshot | None,
        stale: bool,
        error: Exception | None,
        reason: Reason,
        heard_at: float | None,
        closed: bool = False,
    ) -> Since:
        """What makes the Event, and only once for all readers that stand at the same snapshot."""
        instances = () if after is None else after.instances
        age = None if heard_at is None else self._clock.time() - heard_at
        made: dict[int, tuple[Snapshot | None, Event]] = {}

        def since(base: Snapshot | None) -> Event:
            if id(base) not in made:
                if base is after:
                    way = Diff()
                elif base is None:
                    way = Diff(instances)
                else:
                    way = diff(base.instances, instances)
                event = Event(self.query, after, stale, error, reason, closed, heard_at, age, *way)
                made[id(base)] = (base, event)
            return made[id(base)][1]

        return since
