"""Keeps the list of a watch in a store, and has it served while the registry has told nothing yet."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from ._hub import Hub
from ._models import Event, Snapshot
from ._protocols import Clock, SnapshotStore, StoredSnapshot
from ._tasks import TaskOwner, finish, strays_are_errors

__all__ = ["Good", "Keeper", "as_store"]

logger = logging.getLogger("asyncsd.store")

PATIENCE = 1.0
"""Seconds that the first fetch has before the stored list is served: a registry that is well needs less."""
REFRESH = 60.0
"""Seconds between two saves of a list that only was confirmed: so much too old it may look after a crash."""
CLOSING = 2.0
"""Seconds that the last save has."""


def as_store(store: SnapshotStore | None) -> SnapshotStore | None:
    """`store`, or an error that says what would do."""
    given: object = store
    if given is not None and (isinstance(given, type) or not hasattr(given, "load")):
        raise TypeError(f"store= takes a store, such as FileStore('/var/cache/me/lists'); got {given!r}")
    return store


@dataclass(frozen=True, slots=True)
class Good:
    """A list that the registry told, and that is believed."""

    snapshot: Snapshot
    heard_at: float
    index: int | None


class Keeper:
    """Stands between one watch and a store.

    The stored list is loaded only when the first fetch has failed, takes longer than a second, or lacks a
    composite's member: while the registry is well nobody is given an old address. What `good` gives is saved:
    at once, then at most each `store.every` seconds while it changes, each minute while it doesn't, and at
    the end.
    """

    def __init__(
        self,
        store: SnapshotStore,
        hub: Hub,
        clock: Clock,
        *,
        good: Callable[[], Good | None],
        restore: Callable[[StoredSnapshot], None],
    ) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self._good = good
        self._restore = restore
        self._service = hub.query.service
        self._inbox: asyncio.Queue[Event] = asyncio.Queue(1)
        self._tasks = TaskOwner()
        self._saved_at: float | None = None
        """When the list that was saved last was heard."""
        self._failing = False

    def start(self) -> None:
        """Begin, as a task of its own."""
        self._hub.attach(self._inbox)
        self._tasks.spawn(self._run(), role="keep", service=self._service)

    async def aclose(self) -> None:
        """Once the hub is closed: save what isn't saved, within 2 seconds. A cancellation is raised then."""
        try:
            await finish(self._end(), CLOSING, role="keep", service=self._service)
        except TimeoutError:
            logger.warning("the list of %r couldn't be saved within %g s at its end", self._service, CLOSING)

    async def _end(self) -> None:
        try:
            if running := self._tasks.tasks:
                await asyncio.wait(running)
        finally:
            await self._tasks.aclose()

    async def _run(self) -> None:
        event = await self._next(PATIENCE)
        # An error beside a list: some of a composite's members weren't heard.
        if event is None or (not event.closed and (event.snapshot is None or event.error is not None)):
            await self._load()
        closed = event is not None and event.closed
        changed, due = True, self._clock.time()
        while True:
            if changed and (closed or self._clock.time() >= due):
                await self._save()
                changed, due = False, self._clock.time() + self._store.every
            if closed:
                return
            event = await self._next(due - self._clock.time() if changed else REFRESH)
            changed = True
            closed = event is not None and event.closed

    async def _next(self, seconds: float) -> Event | None:
        """What the watch tells next, None when that takes longer."""
        try:
            async with self._clock.timeout(seconds):
                return await self._inbox.get()
        except TimeoutError:
            return None

    async def _load(self) -> None:
        try:
            with strays_are_errors("a store's load"):
                stored = await self._store.load(self._hub.query)
            # An empty list has nothing to serve, and "not heard yet" is the truth.
            if stored is not None and stored.instances and not self._hub.closed:
                self._restore(stored)
        except Exception as exc:  # noqa: BLE001 - whatever is wrong with a store, the watch goes on
            self._failed("loaded", exc)
        else:
            self._failing = False

    async def _save(self) -> None:
        good = self._good()
        if good is None or good.heard_at == self._saved_at:
            return
        age = max(0.0, self._clock.time() - good.heard_at)
        instances = (*good.snapshot.instances, *good.snapshot.unfit)
        try:
            with strays_are_errors("a store's save"):
                await self._store.save(self._hub.query, StoredSnapshot(instances, age, good.index))
        except Exception as exc:  # noqa: BLE001 - as above
            self._failed("saved", exc)
        else:
            self._failing = False
            self._saved_at = good.heard_at

    def _failed(self, what: str, exc: Exception) -> None:
        if not self._failing:
            self._failing = True
            logger.warning("the list of %r couldn't be %s: %r", self._service, what, exc, exc_info=exc)
