"""Endpoints of a user's own (a channel, a pool): made when an instance appears, closed when it goes."""

import asyncio
import inspect
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeAlias, TypeVar, cast

from ._config import Backoff
from ._models import Instance, identity
from ._protocols import Clock
from ._tasks import TaskOwner, finish

__all__ = ["Close", "Endpoint", "Endpoints", "Opens"]

T = TypeVar("T")

Close: TypeAlias = Callable[[T], object]
Opens: TypeAlias = AbstractAsyncContextManager[T] | Awaitable[AbstractAsyncContextManager[T]]
"""What a factory gives that is entered for its endpoint, and left."""

BACKOFF = Backoff(initial=0.1, maximum=10.0)
"""Between two tries of a factory."""

logger = logging.getLogger("asyncsd.endpoints")


class Endpoint(Generic[T]):
    """The endpoint of one instance, and how many calls use it."""

    __slots__ = ("error", "gone", "idle", "instance", "ready", "task", "uses", "value")

    value: T
    task: asyncio.Task[None]

    def __init__(self, instance: Instance) -> None:
        self.instance: Instance = instance
        self.ready: bool = False
        self.gone: bool = False
        self.uses: int = 0
        self.error: Exception | None = None
        self.idle: asyncio.Event = asyncio.Event()
        """Set once the instance is gone and no call uses the endpoint: it can be closed."""

    def give_back(self) -> None:
        self.uses -= 1
        if self.gone and not self.uses:
            self.idle.set()

    def leave(self) -> None:
        self.gone = True
        if not self.ready:
            self.task.cancel()
        elif not self.uses:
            self.idle.set()


class Endpoints(Generic[T]):
    """Keeps one endpoint for each instance of a list.

    Each lives in a task of its own, which makes it, waits until it isn't wanted, and closes it: so an async
    context manager is entered and left in one task, as those with a task group inside need. A factory that
    fails costs only its instance: it is logged once, stands in `errors`, and is tried again with backoff.
    """

    __slots__ = ("_backoff", "_clock", "_close", "_current", "_factory", "_notify", "_owner", "_rng")

    def __init__(
        self,
        factory: Callable[[Instance], Any],
        close: Close[T] | None,
        notify: Callable[[], None],
        *,
        clock: Clock,
        rng: random.Random,
        backoff: Backoff = BACKOFF,
    ) -> None:
        self._factory = factory
        self._close = close
        self._notify = notify
        self._clock = clock
        self._rng = rng
        self._backoff = backoff
        self._owner = TaskOwner()
        self._current: dict[tuple[str, str, int], Endpoint[T]] = {}

    def __repr__(self) -> str:
        ready = sum(endpoint.ready for endpoint in self._current.values())
        return f"<Endpoints {ready} ready of {len(self._current)}, {len(self._owner)} tasks>"

    def update(self, instances: Iterable[Instance]) -> None:
        """Make endpoints for those that came, and let go of those that went."""
        before, self._current = self._current, {}
        for instance in instances:
            key = identity(instance)
            endpoint = before.pop(key, None) or self._current.get(key)
            if endpoint is None:
                endpoint = Endpoint[T](instance)
                endpoint.task = self._owner.spawn(
                    self._live(endpoint), role="endpoint", service=instance.service
                )
            else:
                endpoint.instance = instance
            self._current[key] = endpoint
        for endpoint in before.values():
            endpoint.leave()

    def ready(self) -> list[Instance]:
        """The instances whose endpoint can be used, in the order of the list."""
        return [endpoint.instance for endpoint in self._current.values() if endpoint.ready]

    def take(self, instance: Instance) -> Endpoint[T]:
        """The endpoint of a ready `instance`, in use until it is given back."""
        endpoint = self._current[identity(instance)]
        endpoint.uses += 1
        return endpoint

    def values(self) -> dict[Instance, T]:
        """All endpoints that can be used."""
        return {endpoint.instance: endpoint.value for endpoint in self._current.values() if endpoint.ready}

    def errors(self) -> dict[Instance, Exception]:
        """What the factory last raised, by the instance that has no endpoint for it."""
        return {
            endpoint.instance: endpoint.error
            for endpoint in self._current.values()
            if endpoint.error is not None
        }

    def pause(self) -> None:
        """Stop trying for those that aren't ready, until the next update."""
        for key, endpoint in list(self._current.items()):
            if not endpoint.ready:
                endpoint.leave()
                del self._current[key]

    async def aclose(self, linger: float) -> None:
        """Close all, each once no call uses it, within `linger` seconds. `update` may begin anew.

        Those still in use after half of the time are closed all the same. A cancellation is raised when all
        that is done.
        """
        self.update(())
        if len(self._owner):
            await finish(self._drain(linger), 2 * linger, role="endpoints")

    async def _drain(self, linger: float) -> None:
        for patience in (linger / 2, linger / 4, linger / 4):
            try:
                async with self._clock.timeout(patience):
                    while self._owner.tasks:
                        await asyncio.wait(self._owner.tasks)
                    return
            except TimeoutError:
                logger.warning("%d endpoints in use or closing are cut short", len(self._owner))
                for task in self._owner.tasks:
                    task.cancel()

    async def _live(self, endpoint: Endpoint[T]) -> None:
        failures = 0
        while not endpoint.gone:
            began = self._clock.time()
            error = await self._until_it_ends(endpoint)
            if endpoint.gone:
                if error is not None:
                    logger.warning("closing the endpoint of %s failed", _name(endpoint), exc_info=error)
                return
            error = error or RuntimeError("the endpoint ended by itself")
            if endpoint.error is None:
                logger.warning("no endpoint for %s, trying again: %r", _name(endpoint), error)
            endpoint.error = error
            if endpoint.ready:
                endpoint.ready = False
                self._notify()
            if self._clock.time() - began > self._backoff.maximum:
                failures = 0
            await self._clock.sleep(self._backoff.delay(failures, self._rng))
            failures += 1

    async def _until_it_ends(self, endpoint: Endpoint[T]) -> Exception | None:
        """What went wrong with an endpoint: a factory's failure costs only its own instance."""
        try:
            await self._make_and_serve(endpoint)
        except asyncio.CancelledError:
            if endpoint.task.cancelling():
                raise
            return RuntimeError("the factory was cancelled by something of its own")
        except Exception as exc:  # noqa: BLE001 - whatever the caller's own factory raises
            return exc
        return None

    async def _make_and_serve(self, endpoint: Endpoint[T]) -> None:
        made: Any = self._factory(endpoint.instance)
        if inspect.isawaitable(made):
            made = await made
        if isinstance(made, AbstractAsyncContextManager):
            async with cast("AbstractAsyncContextManager[T]", made) as value:
                await self._serve(endpoint, value, self._close)
        else:
            await self._serve(endpoint, made, self._close or _own_close)

    async def _serve(self, endpoint: Endpoint[T], value: T, close: Close[T] | None) -> None:
        endpoint.value = value
        endpoint.ready = True
        if endpoint.gone:  # while the factory held off its cancellation
            endpoint.idle.set()
        if endpoint.error is not None:
            endpoint.error = None
            logger.info("there is an endpoint for %s now", _name(endpoint))
        self._notify()
        try:
            await endpoint.idle.wait()
        finally:
            if close is not None:
                closing = close(value)
                if inspect.isawaitable(closing):
                    await closing


def _own_close(value: Any) -> object:
    close = getattr(value, "aclose", None) or getattr(value, "close", None)
    return None if close is None else close()


def _name(endpoint: Endpoint[Any]) -> str:
    instance = endpoint.instance
    return f"{instance.service} {instance.id} at {instance.address}"
