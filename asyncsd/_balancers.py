"""The balancers of a Discovery: made once, fed while they are used."""

import asyncio
from collections.abc import Callable, Hashable
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary, ref

from ._clock import LoopClock
from ._models import Event, Query
from ._protocols import Clock
from ._shared import Shared, SharedWatches
from ._tasks import TaskOwner
from ._watcher import Watcher
from .balance import Balancer

__all__ = ["Balancers"]


class _Feed:
    """What supplies a balancer that is awake."""

    __slots__ = ("queue", "task", "used_at", "watch")

    def __init__(
        self, watch: Shared[Watcher], queue: asyncio.Queue[Event], task: asyncio.Task[None], used_at: float
    ) -> None:
        self.watch = watch
        self.queue = queue
        self.task = task
        self.used_at = used_at


class Balancers:
    """Keeps one balancer a key; one that is unused for `idle` seconds lets its watch go until its next use.

    A balancer that sleeps is kept by its users alone: one that was made for each request by a mistake (a new
    lambda as its factory) is gone again then.
    """

    __slots__ = (
        "_clock",
        "_early",
        "_feeds",
        "_hold",
        "_idle",
        "_known",
        "_open",
        "_queries",
        "_queue",
        "_sweeper",
        "_tasks",
        "_watches",
    )

    def __init__(
        self,
        tasks: TaskOwner,
        watches: SharedWatches,
        hold: Callable[[Query], Shared[Watcher]],
        *,
        clock: Clock | None = None,
        idle: float,
        queue: int,
    ) -> None:
        self._tasks = tasks
        self._watches = watches
        self._hold = hold
        self._clock: Clock = clock or LoopClock()
        self._idle = idle
        self._queue = queue
        self._open = False
        self._early: list[Balancer[Any]] = []
        self._known: WeakValueDictionary[Hashable, Balancer[Any]] = WeakValueDictionary()
        self._queries: WeakKeyDictionary[Balancer[Any], Query] = WeakKeyDictionary()
        self._feeds: dict[Balancer[Any], _Feed] = {}
        self._sweeper: asyncio.Task[None] | None = None

    def get(self, key: Hashable) -> Balancer[Any] | None:
        """The balancer of `key`, if there is one."""
        return self._known.get(key)

    def add(self, key: Hashable, query: Query, balancer: Balancer[Any]) -> None:
        """Keep `balancer` under `key` too, and feed it once this is open."""
        self._known[key] = balancer
        if balancer not in self._queries:
            self._queries[balancer] = query
            if self._open:
                self._wake(balancer)
            else:
                self._early.append(balancer)

    def open(self) -> None:
        """Feed those that were made before, and from now on."""
        self._open = True
        early, self._early = self._early, []
        for balancer in early:
            self._wake(balancer)

    async def aclose(self) -> None:
        """Close them all: picks raise ClosedError, and endpoints are closed."""
        self._open = False
        for balancer in [*self._early, *list(self._queries)]:
            await balancer.aclose()
        await self._tasks.cancel(*(feed.task for feed in self._feeds.values()))
        self._feeds.clear()
        self._early.clear()

    def runs(self, task: asyncio.Task[Any] | None) -> bool:
        """Whether `task` is one that feeds a balancer."""
        return any(feed.task is task for feed in self._feeds.values())

    def _wake(self, balancer: Balancer[Any]) -> None:
        if not self._open or balancer in self._feeds:
            return
        query = self._queries[balancer]
        watch = self._hold(query)
        queue: asyncio.Queue[Event] = asyncio.Queue(self._queue)
        watch.watcher.hub.attach(queue)
        task = self._tasks.spawn(balancer.run(queue), role="balance", service=query.service)
        self._feeds[balancer] = _Feed(watch, queue, task, self._clock.time())
        if self._sweeper is None:
            self._sweeper = self._tasks.spawn(self._sweep(), role="idle", service="")

    async def _sweep(self) -> None:
        """Put those to sleep that nobody uses, until none is awake."""
        while self._feeds:
            await self._clock.sleep(self._idle / 4)
            now = self._clock.time()
            for balancer, feed in list(self._feeds.items()):
                doing = balancer.statistics()
                if balancer.used or doing.in_flight or doing.waiting:
                    balancer.used = False
                    feed.used_at = now
                elif now - feed.used_at >= self._idle:
                    await self._put_to_sleep(balancer, feed)
        self._sweeper = None

    async def _put_to_sleep(self, balancer: Balancer[Any], feed: _Feed) -> None:
        weak = ref(balancer)

        def wake() -> None:
            if (awake := weak()) is not None:
                self._wake(awake)

        balancer.used = False
        await self._tasks.cancel(feed.task)  # Which closes endpoints: connections aren't kept for nobody.
        balancer.sleep(wake)
        del self._feeds[balancer]
        feed.watch.watcher.hub.detach(feed.queue)
        self._watches.release(feed.watch)
        if balancer.used:  # Picked from while it fell asleep.
            self._wake(balancer)
