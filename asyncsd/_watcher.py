"""The watch of one service: it keeps a list of its instances, and tells of its changes."""

import asyncio
import logging
import random
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

from ._belief import Belief
from ._clock import LoopClock
from ._config import Backoff, Limits
from ._errors import ClosedError
from ._hub import Hub
from ._keeping import Good, Keeper, as_store
from ._models import Event, Query, Reply
from ._poll import Poll, WatchHealth
from ._protocols import Backend, Clock, SnapshotStore, StoredSnapshot
from ._reachability import Reachability

__all__ = ["Watcher"]

logger = logging.getLogger("asyncsd.watcher")


class Watcher:
    """Keeps the list of a service's instances current, and tells of its changes on queues.

    >>> watcher = Watcher(backend, "users")
    >>> task_group.start_soon(watcher.run, queue)

    While the registry fails the last good list serves on, marked stale. An answer that lacks known instances
    is taken for a loss of the registry's data if its index went back, it follows an error, or it comes
    without a known leader: then for `limits.reset_hold` seconds, or the answer's `hold` where that is longer,
    the instances it lacks serve on, unless they are heard of again; and where the index went back, until
    their checks, which start anew, have passed. A list that otherwise becomes empty is read once more,
    consistently, before it is believed. An answer that brings its `trust` is taken as it stands: a composite
    backend has watched its members for it.

    With a `store` the list outlives the program: at the next start it serves, stale, while the registry has
    told nothing yet, and the first answer replaces it. One that may come from a registry without its data
    (empty right after an error, a lower index than the stored one, no known leader) is held as above. Of a
    composite's members each replaces what is its own.

    The backend is the caller's to open and close. Watchers of one backend share a `reachability`, so that
    one of them at a time probes it while it is down. `hub` gives the Events to further queues.
    """

    def __init__(
        self,
        backend: Backend,
        query: Query | str,
        *,
        backoff: Backoff = Backoff(),
        limits: Limits = Limits(),
        clock: Clock | None = None,
        rng: random.Random | None = None,
        reachability: Reachability | None = None,
        store: SnapshotStore | None = None,
    ) -> None:
        self.query: Query = Query.of(query)
        self.limits: Limits = limits
        self._backend = backend
        self._clock: Clock = clock or LoopClock()
        self.hub: Hub = Hub(self.query, clock=self._clock)
        self._belief = Belief(self.hub, self.limits, self._clock)
        self._poll: Poll[Reply] = Poll(
            self._fetch,
            self._belief,
            backoff=backoff,
            limits=self.limits,
            clock=self._clock,
            rng=rng,
            reachability=reachability,
        )
        self._keeper: Keeper | None = None
        if (store := as_store(store)) is not None:
            self._keeper = Keeper(store, self.hub, self._clock, good=self._good, restore=self._restore)
        self._ran = False

    def __repr__(self) -> str:
        health, snapshot = self.health(), self.hub.snapshot
        known = "nothing heard" if snapshot is None else f"{len(snapshot)} instances"
        return f"Watcher({self.query.service!r}, {health.state}, {known}, {health.fetches} fetches)"

    async def run(self, queue: asyncio.Queue[Event] | None = None) -> None:
        """Watch until cancelled or the backend is closed; `queue` gets the Events.

        At the end, on cancellation too, every queue gets a last Event that says closed. Raises only bugs: an
        exception that isn't a DiscoveryError is logged, told to whoever waits, and raised. Can be run once.
        """
        if self._ran:
            raise RuntimeError(f"this watch of {self.query.service!r} has been run: make another Watcher")
        self._ran = True
        if queue is not None:
            self.hub.attach(queue)
        if self._keeper is not None:
            self._keeper.start()
        try:
            await self._poll.run()
        except ClosedError as closed:
            self.hub.close(closed)
        except Exception as bug:
            logger.exception("the watch of %r died of a bug", self.query.service)
            self.hub.close(bug)
            raise
        finally:
            self.hub.close()
            if self._keeper is not None:
                await self._keeper.aclose()

    def _fetch(self, cursor: Any) -> Awaitable[Reply]:
        if self._belief.confirming:
            return self._backend.fetch(self._belief.consistent, None)
        return self._backend.fetch(self.query, cursor)

    def _good(self) -> Good | None:
        """What is worth keeping; None while the list that serves is a stored or a doubtful one."""
        belief = self._belief
        doubted = belief.restored or belief.stored or belief.trust.stale or belief.deadline is not None
        if belief.served is None or doubted:
            return None
        return Good(belief.served, belief.heard_at or 0.0, self._poll.index)

    def _restore(self, stored: StoredSnapshot) -> None:
        if self._belief.restore(stored) and self._poll.index is None:
            self._poll.index = stored.index  # One that is lower tells of a loss of data over a restart too.

    @property
    def unheard(self) -> tuple[str, ...]:
        """The members of a composite that have told nothing yet, though the list is for what they tell."""
        return self._belief.trust.unheard

    def health(self) -> WatchHealth:
        """How the watch is doing, as of now."""
        health = self._poll.health(
            closed=self.hub.closed,
            bug=self.hub.error,
            heard_at=self._belief.heard_at,
            resets=self._belief.resets,
            skipped=self._belief.skipped,
            restored=self._belief.restored,
        )
        trust = self._belief.trust
        if health.error is not None or trust.error is None:
            return health
        return replace(health, error=trust.error, state="failing" if trust.stale else health.state)
