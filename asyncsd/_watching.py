"""The block in which a service is watched."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import NamedTuple

from ._models import Event, Query
from ._shared import Shared
from ._subscription import Subscription
from ._watcher import Watcher

__all__ = ["Owner", "Watching"]


class Owner(NamedTuple):
    """Whose watches they are."""

    check_open: Callable[[str], None]
    hold: Callable[[Query], Shared[Watcher]]
    release: Callable[[Shared[Watcher]], None]
    queues: dict[int, asyncio.Queue[Event]]
    """Those that serve a watch, by their id."""


class Watching(AbstractAsyncContextManager[Subscription]):
    """Holds a watch while it is entered, and gives the Subscription to it.

    It is no generator: of thousands that wait, each would keep a frame.
    """

    __slots__ = ("_owner", "_query", "_queue", "_subscription", "_watch")

    _watch: Shared[Watcher]
    _subscription: Subscription

    def __init__(
        self,
        query: Query,
        queue: asyncio.Queue[Event],
        owner: Owner,
    ) -> None:
        self._query = query
        self._queue = queue
        self._owner = owner

    async def __aenter__(self) -> Subscription:
        # Here: its owner may be opened, or closed, after it was made.
        self._owner.check_open("watch")
        if id(self._queue) in self._owner.queues:
            raise ValueError(
                f"this queue serves another watch already: the watch of {self._query.service!r} needs its own"
            )
        self._watch = self._owner.hold(self._query)
        self._owner.queues[id(self._queue)] = self._queue
        self._subscription = Subscription(self._watch.watcher, self._queue)
        return self._subscription

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._subscription.close()
        del self._owner.queues[id(self._queue)]
        self._owner.release(self._watch)
