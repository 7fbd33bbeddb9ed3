"""The balancers of a Discovery: made once, fed while they are used."""

import asyncio
import logging
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary, ref

from ._clock import LoopClock
from ._models import Event, Query
from ._protocols import Clock
from ._shared import Shared, SharedWatches
from ._tasks import TaskOwner, ended
from ._watcher import Watcher
from .balance import Balancer

__all__ = ["Balancers"]

logger = logging.getLogger("asyncsd.balancers")


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

    One that sleeps is kept while it has a list to pick from, for who asks for it again. Any other is kept by
    its users alone, and so is each with a factory, as its endpoints are closed then: one made for each
    request by a mistake (a new lambda as its factory, a service that isn't there) is gone again.
    """

    __slots__ = (
        "_asleep",
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
        self._asleep: set[Balancer[Any]] = set()
        self._sweeper: asyncio.Task[None] | None = None

    def get(self, key: Hashable) -> Balancer[Any] | None:
        """The balancer of `key`, if there is one that isn't closed: by its watch's end, say, or a bug."""
        balancer = self._known.get(key)
        return None if balancer is None or balancer.closed else balancer

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
        """Close them all, side by side: picks raise ClosedError, and endpoints are closed."""
        self._open = False
        closing = [
            self._tasks.spawn(balancer.aclose(), role="close", service=query.service)
            for balancer, query in self._queries.items()
        ]
        await ended(*closing)
        for task in closing:
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.error("closing a balancer failed", exc_info=error)
        await self._tasks.cancel(*(feed.task for feed in self._feeds.values()))
        self._feeds.clear()
        self._asleep.clear()
        self._early.clear()

    def _wake(self, balancer: Balancer[Any]) -> None:
        self._asleep.discard(balancer)
        if not self._open or balancer in self._feeds:
            return
        query = self._queries[balancer]
        watch = self._hold(query)
        queue: asyncio.Queue[Event] = asyncio.Queue(self._queue)
        watch.watcher.hub.attach(queue)
        task = self._tasks.spawn(self._run(balancer, queue), role="balance", service=query.service)
        self._feeds[balancer] = _Feed(watch, queue, task, self._clock.time())
        if self._sweeper is None:
            self._sweeper = self._tasks.spawn(self._sweep(), role="idle", service="")

    async def _run(self, balancer: Balancer[Any], queue: asyncio.Queue[Event]) -> None:
        """Feed `balancer` until it is closed; a bug closes it too, and whoever picks is told."""
        with suppress(Exception):
            await balancer.run(queue)
        self._let_go(balancer)

    def _let_go(self, balancer: Balancer[Any]) -> None:
        """Feed `balancer` no more."""
        feed = self._feeds.pop(balancer, None)
        if feed is not None and self._open:
            feed.watch.watcher.hub.detach(feed.queue)
            self._watches.release(feed.watch)

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

        await self._tasks.cancel(feed.task)  # Which closes endpoints: connections aren't kept for nobody.
        self._let_go(balancer)
        if balancer.used:  # Picked from while it fell asleep.
            self._wake(balancer)
            return
        balancer.sleep(wake)
        if balancer.statistics().candidates:
            self._asleep.add(balancer)
