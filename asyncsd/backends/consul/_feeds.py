"""When there are more watches than an agent takes connections, and what tells them of changes then."""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from asyncsd._errors import UnreachableError
from asyncsd._models import Query
from asyncsd._protocols import Clock
from asyncsd._tasks import TaskOwner

from ._client import ConsulClient
from ._feed import Feed
from ._slots import Slots
from ._transport import Agent

__all__ = ["Feeds", "Place"]

log = logging.getLogger("asyncsd.consul")

T = TypeVar("T")

START, STARTS = 5.0, 6
"""A query takes a slot after all, as for a turn, where a feed that starts has no answer for so many seconds,
or isn't there after so many times that."""
MANY = 0.9
"""A feed starts once more than this part of the slots is wanted: the rest is for what reads meanwhile."""
LOOK, LOOKS, FEWER = 5.0, 2, 0.7
"""A feed ends after so many looks, so many seconds apart, that find this part of the slots enough."""
FIRST_REST, MOST_REST = 1.0, 60.0
"""The seconds until the next feed after one that failed: doubled, unless one lived as long as the most."""
LARGE = 4
"""A feed is for a datacenter whose queries would fill the slots' fourth part."""


class Place(NamedTuple):
    """What one feed is for: an agent, and a datacenter as its queries name it."""

    client: ConsulClient
    datacenter: str | None


@dataclass
class _Rest:
    seconds: float
    until: float


class Feeds:
    """Starts a feed where more queries want to wait than there are slots, and ends it when they are fewer.

    A query whose filter is about checks isn't told of all that matters to it, and goes on taking turns. So
    does a service of which a feed has proved blind, and everybody where there can be no feed.
    """

    def __init__(self, slots: Slots, tasks: TaskOwner, *, wait: float, clock: Clock) -> None:
        self._slots = slots
        self._tasks = tasks
        self._wait = wait
        self._clock = clock
        self._agents: Mapping[ConsulClient, Agent] = {}
        self._asking: Counter[Place] = Counter()
        self._feeds: dict[Place, Feed] = {}
        self._rests: dict[Place, _Rest] = {}
        self._blind: set[tuple[Place, str]] = set()
        self._unfed: dict[Place, set[asyncio.Timeout]] = {}

    def __repr__(self) -> str:
        return f"Feeds({list(self._feeds.values())!r})"

    def open(self, agents: Mapping[ConsulClient, Agent]) -> None:
        """Feeds go over the connections to these; for another client there is none."""
        self._agents = agents

    def enter(self, place: Place) -> None:
        """A fetch begins: it is one of those that would need a connection.

        No context manager: of thousands that wait, each would hold a generator.
        """
        self._asking[place] += 1

    def leave(self, place: Place) -> None:
        """A fetch has ended."""
        self._asking[place] -= 1
        if not self._asking[place]:
            del self._asking[place]

    def live(self, place: Place, query: Query) -> Feed | None:
        """The feed that tells of changes to `query`, if there is one by now."""
        feed = self._feeds.get(place)
        return feed if feed is not None and feed.is_live and self._suits(place, query) else None

    async def feed(self, place: Place, query: Query) -> Feed | None:
        """The feed to wait on; it is started where there are too many queries. None: take a slot.

        Raises UnreachableError where a feed couldn't start because of that.
        """
        if not self._suits(place, query):
            return None
        feed = self._feeds.get(place)
        if feed is None:
            if not self._is_crowded(place):
                return None
            feed = self._start(place)
        if not feed.settled.is_set():
            await self._see_it_start(feed)
        return feed if feed.is_live else None

    async def _see_it_start(self, feed: Feed) -> None:
        """Wait until it has settled, while it has answers: turns would only take the agent's time from it."""
        for _ in range(STARTS):
            answers = feed.answers
            try:
                async with self._clock.timeout(START):
                    await feed.settled.wait()
            except TimeoutError:
                if feed.answers == answers:
                    return
            else:
                feed.check()
                return

    async def unless_fed(self, place: Place, query: Query, ask: Callable[[], Awaitable[T]]) -> T | None:
        """`await ask()`, which is given up for None once there is a feed for this query."""
        if not self._suits(place, query):
            return await ask()
        scope = asyncio.timeout(None)
        scopes = self._unfed.setdefault(place, set())
        scopes.add(scope)
        try:
            async with scope:
                return await ask()
        except TimeoutError:
            if not scope.expired():
                raise
            return None
        finally:
            scopes.discard(scope)

    def is_blind(self, place: Place, service: str) -> None:
        """The feed doesn't know what `service` shows; the first one of a feed is a warning."""
        first = not any(known == place for known, _ in self._blind)
        log.log(
            logging.WARNING if first else logging.DEBUG,
            "the feed of changes of %s doesn't see those of %s: its watch takes turns",
            place.client.where,
            service,
        )
        self._blind.add((place, service))

    def _suits(self, place: Place, query: Query) -> bool:
        # What a filter says of passing checks, their output for one, wakes no query of the feed.
        about_checks = query.filter is not None and "Checks" in query.filter
        return place.client in self._agents and not about_checks and (place, query.service) not in self._blind

    def _wanted(self, but: Place | None = None) -> int:
        """How many connections are wanted, if there were no feed for `but`."""
        asking = sum(
            count for place, count in self._asking.items() if place == but or place not in self._feeds
        )
        return asking + sum(feed.held for place, feed in self._feeds.items() if place != but)

    def _is_crowded(self, place: Place) -> bool:
        limit = self._slots.limit
        rest = self._rests.get(place)
        return (
            self._wanted() > math.ceil(MANY * limit)
            and self._asking[place] * LARGE >= limit
            and (rest is None or self._clock.time() >= rest.until)
        )

    def _start(self, place: Place) -> Feed:
        log.info(
            "%d queries to %s and %d slots for them: a feed of changes starts",
            self._asking[place],
            place.client.where,
            self._slots.limit,
        )
        self._blind = {(known, service) for known, service in self._blind if known != place}
        feed = self._feeds[place] = Feed(
            self._agents[place.client],
            place.datacenter,
            wait=self._wait / 2,  # It speaks for all the others: what is dead is noticed the sooner.
            room=lambda: self._slots.limit // (2 * max(1, len(self._feeds))),
            clock=self._clock,
        )
        self._tasks.spawn(self._keep(place, feed), role="feed", service="consul")
        return feed

    async def _keep(self, place: Place, feed: Feed) -> None:
        """Run the feed for as long as it is needed."""
        began = self._clock.time()
        running = self._tasks.spawn(feed.run(), role="feed-run", service="consul")
        try:
            await feed.settled.wait()
            if feed.is_live:
                self._move(place)
            looks = 0
            while not feed.ended.is_set() and looks < LOOKS:
                try:
                    async with self._clock.timeout(LOOK):
                        await feed.ended.wait()
                except TimeoutError:
                    needed = self._wanted(but=place) > FEWER * self._slots.limit
                    looks = 0 if needed else looks + 1
        finally:
            del self._feeds[place]
            await self._tasks.cancel(running)
        if feed.failure is not None:
            self._rest(place, feed.failure, self._clock.time() - began)
        else:
            log.info("the feed of changes of %s ends: there are slots enough", place.client.where)

    def _move(self, place: Place) -> None:
        """Have those that hold a slot, or wait for one, wait on the feed."""
        now = asyncio.get_running_loop().time()
        for scope in self._unfed.get(place, ()):
            if scope.when() is None:
                scope.reschedule(now)

    def _rest(self, place: Place, failure: Exception, lived: float) -> None:
        before = self._rests.get(place)
        again = before is not None and lived < MOST_REST
        seconds = min(2 * before.seconds, MOST_REST) if before is not None and again else FIRST_REST
        self._rests[place] = _Rest(seconds, self._clock.time() + seconds)
        if not isinstance(failure, UnreachableError):
            level = logging.INFO if again else logging.WARNING
            log.log(level, "no feed of changes from %s, watches take turns: %s", place.client.where, failure)
