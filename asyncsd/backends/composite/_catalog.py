"""The names of the services of all members."""

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from asyncsd._config import Backoff, Limits
from asyncsd._errors import ClosedError, DiscoveryError, UnsupportedError
from asyncsd._models import Names
from asyncsd._names import NamesWatcher, Services
from asyncsd._protocols import CatalogBackend, Clock
from asyncsd._reachability import Reachability
from asyncsd._tasks import TaskOwner

from ._outcome import Outcome
from ._troubles import Troubles, silence

__all__ = ["Catalog", "Listing"]


@dataclass(frozen=True, slots=True)
class Listing:
    """The services of all members with all their tags; the cursor, too."""

    services: Services

    def names(self) -> Names:
        return Names(self.services, cursor=self)


class Lister:
    """One member's names. It stands before the backend, to hear of its errors too."""

    def __init__(self, name: str, backend: CatalogBackend, news: asyncio.Queue[None]) -> None:
        self.name = name
        self.trouble: DiscoveryError | None = silence()
        self.said = False
        self._backend = backend
        self._news = news

    async def fetch_names(self, cursor: Any) -> Names:
        try:
            names = await self._backend.fetch_names(cursor)
        except DiscoveryError as error:
            self.said, self.trouble = True, error
            self._news.put_nowait(None)
            raise
        self.said, self.trouble = True, None
        return names

    async def read(self, watcher: NamesWatcher) -> None:
        async for _ in watcher.subscribe():
            self._news.put_nowait(None)


class Catalog:
    """Runs a NamesWatcher a member, and puts together what they tell.

    While a member can't be heard, the services that it told last stay in the list.
    """

    def __init__(
        self,
        members: Mapping[str, tuple[CatalogBackend, Reachability]],
        *,
        patience: float,
        backoff: Backoff,
        limits: Limits,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._clock = clock
        self._patient_until = clock.time() + patience
        self._news: asyncio.Queue[None] = asyncio.Queue()
        self._troubles = Troubles()
        self._listers: list[tuple[Lister, NamesWatcher]] = []
        for name, (backend, reachability) in members.items():
            lister = Lister(name, backend, self._news)
            watcher = NamesWatcher(
                lister, backoff=backoff, limits=limits, clock=clock, rng=rng, reachability=reachability
            )
            self._listers.append((lister, watcher))
        self.outcome: Outcome[Listing] = Outcome(clock)

    async def run(self) -> None:
        """Watch until cancelled; raises only bugs, which those who wait get as well."""
        tasks = TaskOwner()
        try:
            for lister, watcher in self._listers:
                tasks.spawn(_follow(watcher), role="watch", service="*")
                tasks.spawn(lister.read(watcher), role="read", service="*")
            patient = True
            while True:
                left = self._patient_until - self._clock.time() if patient else None
                with suppress(TimeoutError):
                    async with self._clock.timeout(left):
                        await self._news.get()
                while not self._news.empty():
                    self._news.get_nowait()
                patient = self._clock.time() < self._patient_until
                self._look(patient=patient)
        except UnsupportedError as error:
            self.outcome.become(error)
        except Exception as bug:
            self.outcome.become(bug)
            raise
        finally:
            await tasks.aclose()

    def _look(self, *, patient: bool) -> None:
        for lister, watcher in self._listers:
            health = watcher.health()
            error = health.error
            if health.state == "closed" and isinstance(error, UnsupportedError):
                raise UnsupportedError(f"{lister.name}: {error}") from error
            if error is not None and not isinstance(error, DiscoveryError):
                raise error
        said = all(lister.said for lister, _ in self._listers)
        known = [watcher.services for _, watcher in self._listers if watcher.services is not None]
        if all(isinstance(lister.trouble, ClosedError) for lister, _ in self._listers):
            self.outcome.become(ClosedError("every member of this composite backend was closed"))
        elif known and (said or not patient):
            self.outcome.become(Listing(_union(known)))
        elif said:
            self.outcome.become(self.trouble())

    def trouble(self) -> DiscoveryError:
        """One error for all members that can't be heard, or aren't heard yet."""
        return self._troubles.of(lister for lister, _ in self._listers) or silence()


def _union(known: list[Services]) -> Services:
    tags: dict[str, set[str]] = {}
    for services in known:
        for service, some in services.items():
            tags.setdefault(service, set()).update(some)
    return {service: tuple(sorted(some)) for service, some in sorted(tags.items())}


async def _follow(watcher: NamesWatcher) -> None:
    with suppress(Exception):  # A bug is logged by then, and stands in the watcher's health.
        await watcher.run()
