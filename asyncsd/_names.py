"""The watch of the names of all services."""

import asyncio
import logging
import random
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from ._clock import LoopClock
from ._config import Backoff, Limits
from ._errors import ClosedError, DiscoveryError, UnsupportedError
from ._models import Names
from ._poll import Poll, WatchHealth
from ._protocols import CatalogBackend, Clock
from ._reachability import Reachability

__all__ = ["NamesSubscription", "NamesWatcher", "Services"]

logger = logging.getLogger("asyncsd.names")

Services: TypeAlias = Mapping[str, tuple[str, ...]]
"""Each service's tags, by its name; can't be changed."""


class NamesWatcher:
    """Keeps the names of all services and their tags current.

    >>> watcher = NamesWatcher(backend)
    >>> task_group.start_soon(watcher.run)
    >>> async for services in watcher.subscribe():
    ...     print(sorted(services))

    While the registry fails `services` stays as it was last heard. A catalogue that has become empty right
    after an error, without a known leader, or with an index that went back, is believed once it has been so
    for `limits.reset_hold` seconds, or the answer's `hold` where that is longer.
    """

    def __init__(
        self,
        backend: CatalogBackend,
        *,
        backoff: Backoff = Backoff(),
        limits: Limits = Limits(),
        clock: Clock | None = None,
        rng: random.Random | None = None,
        reachability: Reachability | None = None,
    ) -> None:
        self._backend = backend
        self._clock: Clock = clock or LoopClock()
        self._catalogue = _Catalogue(self._clock, limits)
        self._poll: Poll[Names] = Poll(
            self._fetch,
            self._catalogue,
            backoff=backoff,
            limits=limits,
            clock=self._clock,
            rng=rng,
            reachability=reachability,
        )
        self._ran = False

    def __repr__(self) -> str:
        health, services = self.health(), self.services
        known = "nothing heard" if services is None else f"{len(services)} services"
        return f"NamesWatcher({health.state}, {known}, {health.fetches} fetches)"

    @property
    def services(self) -> Services | None:
        """What was heard last, None before."""
        return self._catalogue.services

    async def run(self) -> None:
        """Watch until cancelled or the backend is closed; raises only bugs. Can be run once.

        An UnsupportedError ends it too: a registry that can't list its services never will.
        """
        if self._ran:
            raise RuntimeError("this watch of all services has been run: make another NamesWatcher")
        self._ran = True
        try:
            await self._poll.run()
        except ClosedError as closed:
            self.close(closed)
        except _NoListError as never:
            self.close(never.error)
        except Exception as bug:
            logger.exception("the watch of all services died of a bug")
            self.close(bug)
            raise
        finally:
            self.close()

    async def _fetch(self, cursor: Any) -> Names:
        try:
            return await self._backend.fetch_names(cursor)
        except UnsupportedError as error:
            if self.services is not None:  # It could before: whatever that is, it may pass.
                raise
            raise _NoListError(error) from error

    def subscribe(self) -> "NamesSubscription":
        """What is known, at once, and then each change, the latest where several came meanwhile."""
        return NamesSubscription(self._catalogue)

    def close(self, error: Exception | None = None) -> None:
        """Let every subscriber know that nothing more comes, and why. Idempotent."""
        self._catalogue.close(error)

    def health(self) -> WatchHealth:
        """How the watch is doing, as of now."""
        known = self._catalogue
        return self._poll.health(
            closed=known.closed, bug=known.error, heard_at=known.heard_at, resets=known.resets
        )


class NamesSubscription:
    """Reads a NamesWatcher; each reader wants one of its own. `async for` ends when the watch is closed."""

    def __init__(self, catalogue: "_Catalogue") -> None:
        self._catalogue = catalogue
        self._seen: Services | None = None
        self._closed = False

    def close(self) -> None:
        """Leave the watch: a reader that waits learns that it is closed. Idempotent."""
        self._closed = True
        self._catalogue.wake()

    async def get(self) -> Services:
        """The services, once they are others than those of the last call. Cancelling it loses nothing.

        Raises ClosedError once the watch is closed or left, UnsupportedError where the registry can't list
        its services, and the error of a watch that died of a bug.
        """
        known = self._catalogue
        while self._closed or known.services is None or known.services is self._seen:
            if self._closed or known.closed:
                raise known.error or ClosedError("the watch of all services is closed")
            await known.changed.wait()
        self._seen = known.services
        return known.services

    def __aiter__(self) -> "NamesSubscription":
        return self

    async def __anext__(self) -> Services:
        try:
            return await self.get()
        except ClosedError:
            raise StopAsyncIteration from None


class _NoListError(Exception):
    """The registry can't list its services: no further fetch would do."""

    def __init__(self, error: UnsupportedError) -> None:
        super().__init__(str(error))
        self.error = error


class _Catalogue:
    """Takes a poll's answers and errors, and keeps what is true of them."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._clock = clock
        self._limits = limits
        self.services: Services | None = None
        self.changed: asyncio.Event = asyncio.Event()
        """Set at the next change, and another one from then on."""
        self.closed: bool = False
        self.error: Exception | None = None
        self.heard_at: float | None = None
        self.resets: int = 0
        self.deadline: float | None = None
        """Until when an empty catalogue isn't believed."""
        self._failing = False

    def heard(self, answer: Names, *, doubtful: bool, went_back: bool) -> bool:
        if self._failing:
            self._failing = False
            logger.info("the watch of all services has recovered")
        if self.services and not answer.services and (doubtful or self.deadline is not None):
            if self.deadline is None and self._limits.reset_hold > 0:
                self.resets += 1
                seconds = max(self._limits.reset_hold, answer.hold)
                self.deadline = self._clock.time() + seconds
                logger.warning(
                    "the registry seems to have lost its data: %d services are kept for %g s",
                    len(self.services),
                    seconds,
                )
            if self.deadline is not None:
                return False
        self.deadline = None
        self.heard_at = self._clock.time()
        if self.services == answer.services:
            return False
        self._set(MappingProxyType(dict(answer.services)))
        return True

    def failed(self, error: DiscoveryError) -> None:
        if not self._failing:
            self._failing = True
            logger.warning("the watch of all services fails: %s", error)

    def expire(self) -> None:
        self.deadline = None
        if not self._failing:
            self.heard_at = self._clock.time()
            self._set(MappingProxyType({}))

    def close(self, error: Exception | None) -> None:
        if not self.closed:
            self.closed = True
            self.error = error
            self.changed.set()

    def _set(self, services: Services) -> None:
        self.services = services
        self.wake()

    def wake(self) -> None:
        """Let every reader look again."""
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()
