"""One running watch a query, however many hold it."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, Protocol, TypeVar

from ._protocols import Clock
from ._tasks import TaskOwner

__all__ = ["Shared", "SharedWatches"]


class Runs(Protocol):
    """A Watcher or a NamesWatcher."""

    def run(self) -> Coroutine[Any, Any, None]: ...


W = TypeVar("W", bound=Runs)


class Shared(Generic[W]):
    """A running watcher, and how many hold it."""

    __slots__ = ("holders", "key", "lingering", "service", "task", "watcher")

    def __init__(self, key: Hashable, service: str, watcher: W, task: asyncio.Task[None]) -> None:
        self.key = key
        self.service = service
        self.watcher = watcher
        self.task = task
        self.holders = 0
        self.lingering: asyncio.Task[None] | None = None


class SharedWatches:
    """Starts a watcher for who holds it first, and ends it once nobody has held it for `linger` seconds."""

    __slots__ = ("_clock", "_linger", "_tasks", "_watches")

    def __init__(self, tasks: TaskOwner, clock: Clock, linger: float) -> None:
        self._tasks = tasks
        self._clock = clock
        self._linger = linger
        self._watches: dict[Hashable, Shared[Any]] = {}

    def __len__(self) -> int:
        return len(self._watches)

    def running(self) -> list[Shared[Any]]:
        """The watches there are, those that linger too."""
        return list(self._watches.values())

    def hold(self, key: Hashable, service: str, make: Callable[[], W]) -> Shared[W]:
        """The watch of `key`, running, with a holder more; `release` it once."""
        watch: Shared[W] | None = self._watches.get(key)
        if watch is None or watch.task.done():
            watcher = make()
            task = self._tasks.spawn(watcher.run(), role="watch", service=service)
            task.add_done_callback(_seen)
            watch = Shared(key, service, watcher, task)
            self._watches[key] = watch
        watch.holders += 1
        if watch.lingering is not None:
            watch.lingering.cancel()
            watch.lingering = None
        return watch

    def release(self, watch: Shared[Any]) -> None:
        """A holder less."""
        watch.holders -= 1
        if watch.holders == 0 and not watch.task.done():
            watch.lingering = self._tasks.spawn(self._end(watch), role="linger", service=watch.service)

    async def _end(self, watch: Shared[Any]) -> None:
        await self._clock.sleep(self._linger)
        if self._watches.get(watch.key) is watch:
            del self._watches[watch.key]
        watch.lingering = None  # From here on nobody can take it up again: the next one makes another.
        await self._tasks.cancel(watch.task)

    def clear(self) -> None:
        """Forget them all: their tasks have ended."""
        self._watches.clear()


def _seen(task: asyncio.Task[None]) -> None:
    """A watch that died of a bug has logged it, and told its readers."""
    if not task.cancelled():
        task.exception()
