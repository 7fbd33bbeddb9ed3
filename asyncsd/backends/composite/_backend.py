"""What every composite does: open and close its members, and answer from watches of them."""

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

from asyncsd._clock import LoopClock
from asyncsd._config import Backoff, Limits
from asyncsd._errors import ClosedError, UnsupportedError
from asyncsd._models import Names, Query, Reply
from asyncsd._protocols import Backend, CatalogBackend, Clock
from asyncsd._reachability import Reachability
from asyncsd._shared import Shared, SharedWatches
from asyncsd._tasks import TaskOwner, finish
from asyncsd._values import duration
from asyncsd.backends._shared._lifetime import Lifetime

from ._catalog import Catalog
from ._members import Given, Members
from ._watch import Composer, Member, Watch

__all__ = ["Composite"]

CLOSE = 10.0
"""Members close within 5 seconds each, all at once."""


class Composite(ABC):
    """Backends behind one Backend, to read from.

    It is no adapter of a registry, but stands on the core: each query has a Watcher a member, with all that
    a Watcher does about errors, pace, lost data and probing, and the composite puts together what they
    tell. So an index means something to the member alone, and a reply has none; it carries its `trust`
    instead, and its cursor is what it said. The watches go on between two fetches, so that no change of one
    member begins the queries of the others anew; they end `limits.linger` seconds after the last fetch.

    Members that aren't open are opened with the composite, and closed with it; an open one is borrowed. A
    member that is closed meanwhile counts as one that can't be heard, and once all are, a fetch raises
    ClosedError. While no member was ever heard, a fetch raises an error that names them all.

    To register, use the member itself: it may be open in a Discovery of its own.

    `wait` is how long, in seconds, a fetch waits for a change. `patience` is how long the first answer waits
    for members that say nothing, once another one has answered. `backoff` and `limits` are for the watches
    of the members, and `clock` and `rng` for tests.
    """

    def __init__(
        self,
        *members: Given,
        wait: float = 55.0,
        patience: float = 2.0,
        backoff: Backoff = Backoff(),
        limits: Limits = Limits(),
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        name = type(self).__name__
        duration(f"{name}.wait", wait)
        duration(f"{name}.patience", patience, zero=True)
        self._name = name
        self._wait = wait
        self._patience = patience
        self._backoff = backoff
        self._limits = limits
        self._clock: Clock = clock or LoopClock()
        self._own_rng = rng is None
        self._rng = rng or random.Random()
        self._members = Members(members, name)
        self._watched = {
            name: Member(backend, Reachability(clock=self._clock, rng=self._rng))
            for name, backend in self._members.backends.items()
        }
        self._tasks = TaskOwner()
        self._watches = SharedWatches(self._tasks, self._clock, limits.linger)
        self._lifetime = Lifetime(name)

    def __repr__(self) -> str:
        return f"{self._name}({self._members!r}{self._shown()})"

    def _shown(self) -> str:
        """More for the repr."""
        return ""

    @abstractmethod
    def _composer(self, service: str) -> Composer:
        """A new composer, for one query."""

    @property
    def members(self) -> Mapping[str, Backend]:
        """The backends by their names, in order: to register with, say."""
        return self._members.backends

    @property
    def is_open(self) -> bool:
        """Whether it was opened, and not closed since."""
        return self._lifetime.is_open

    async def __aenter__(self) -> Self:
        """Open the members that aren't open; what one of them raises is raised, and the others closed."""
        self._lifetime.refuse_second()
        if self._own_rng:
            self._rng.seed()  # Workers that were forked from one process share no chance.
        await self._members.open()
        self._lifetime.open()
        if not self.is_open:  # It was closed by another task, while the members opened.
            await self._members.close()
            raise ClosedError(f"this {self._name} was closed while it opened")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End what is in flight with ClosedError, and close the members that were opened here. Idempotent."""
        self._lifetime.close()
        await finish(self._aclose(), CLOSE, role="close", service="composite")

    async def _aclose(self) -> None:
        try:
            await self._tasks.aclose()
            self._watches.clear()
        finally:
            await self._members.close()

    async def fetch(self, query: Query, cursor: Any) -> Reply:
        """The instances of `query`, as the members' watches know them; with a cursor, once that changed.

        Without one it waits only for first answers. Raises the members' errors, as one that names them,
        while none was ever heard.
        """
        async with self._lifetime.call():
            shared = self._watches.hold(query, query.service, lambda: self._watch(query))
            try:
                view = await shared.watcher.outcome.next(
                    cursor, wait=self._wait, silent=shared.watcher.trouble
                )
            finally:
                self._release(shared)
            return view.reply()

    async def fetch_names(self, cursor: Any) -> Names:
        """The services of all members; waits as `fetch` does.

        Raises UnsupportedError, and names the member, where one can't list its services.
        """
        async with self._lifetime.call():
            shared = self._watches.hold(None, "*", self._catalog)
            try:
                listing = await shared.watcher.outcome.next(
                    cursor, wait=self._wait, silent=shared.watcher.trouble
                )
            finally:
                self._release(shared)
            return listing.names()

    def _release(self, shared: Shared[Any]) -> None:
        if self.is_open:
            self._watches.release(shared)

    def _watch(self, query: Query) -> Watch:
        return Watch(
            self._watched,
            query,
            self._composer(query.service),
            patience=self._patience,
            backoff=self._backoff,
            limits=self._limits,
            clock=self._clock,
            rng=self._rng,
        )

    def _catalog(self) -> Catalog:
        able: dict[str, tuple[CatalogBackend, Reachability]] = {}
        for name, (backend, reachability) in self._watched.items():
            given: object = backend
            if not isinstance(given, CatalogBackend):
                raise UnsupportedError(
                    f"{name}: {type(backend).__name__} can't list the names of its services"
                )
            able[name] = (given, reachability)
        return Catalog(
            able,
            patience=self._patience,
            backoff=self._backoff,
            limits=self._limits,
            clock=self._clock,
            rng=self._rng,
        )
