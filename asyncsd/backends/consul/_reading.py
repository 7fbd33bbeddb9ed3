"""Reads the instances of a query, and waits for their change: by a blocking query, or on a feed."""

import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from asyncsd._errors import BackendError
from asyncsd._models import Query, Reply
from asyncsd._protocols import Clock

from ._answers import Answer, checked, known_leader, last_contact, parse_index
from ._client import ConsulClient
from ._decode import Decoded, Decoder
from ._feed import Feed, Mark
from ._feeds import Feeds, Place

__all__ = ["Cursor", "Reader", "expected"]

GRACE = 10.0
"""Within how many seconds a feed has to know all instances that were read."""
AGAIN = 0.25
"""The seconds until what shows others is read again, doubled while it does: they may be gone by now."""
UNREAD, MOST_UNREAD = 300.0, 1800.0
"""After so many seconds a service is read though no change was told of: doubled each time, up to the most."""
LONGER = 2.0
"""A feed's word is good for up to so many times `wait`, for its own queries come back each half of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What was read while a feed was live."""

    feed: Feed
    mark: Mark
    """Changes up to this one are in it."""
    at: float
    """As of when it is known to hold."""
    unread: float
    """For how many seconds it may stand unread, once more."""
    until: float
    unknown: float | None = None
    """Since when it shows an instance that the feed hasn't heard of."""


class Cursor(NamedTuple):
    """From where to wait on. An index means something only to the agent that gave it."""

    position: int
    client: ConsulClient
    read: Decoded | None = None
    known_leader: bool = True
    heard: Heard | None = None


class Reader:
    """Fetches from one agent at a time."""

    def __init__(self, feeds: Feeds, *, wait: float, clock: Clock, rng: random.Random) -> None:
        self._feeds = feeds
        self._wait = wait
        self._clock = clock
        self._rng = rng
        self._decoder = Decoder()

    async def fetch(
        self, client: ConsulClient, query: Query, datacenter: str | None, cursor: Cursor | None
    ) -> Reply:
        """The instances of `query`, asked for in `datacenter` unless it names its own."""
        wanted = query
        if query.datacenter is None and datacenter is not None:
            wanted = replace(query, datacenter=datacenter)
        place = Place(client, wanted.datacenter)
        self._feeds.enter(place)
        try:
            if cursor is None or cursor.client is not client:
                # Another server may be behind what the feed has told of already.
                feed = None if wanted.consistency == "stale" else self._feeds.live(place, wanted)
                return await self._read(place, query, wanted, feed, None)
            while True:
                feed = await self._feeds.feed(place, wanted)
                if feed is not None:
                    reply = await self._wait_on(feed, place, query, wanted, cursor)
                else:
                    reply = await self._feeds.unless_fed(
                        place, wanted, self._blocking(place, query, wanted, cursor)
                    )
                if reply is not None:
                    return reply
        finally:
            self._feeds.leave(place)

    def _blocking(
        self, place: Place, query: Query, wanted: Query, cursor: Cursor
    ) -> Callable[[], Awaitable[Reply]]:
        async def ask() -> Reply:
            answer = await self._ask(place.client, wanted, cursor.position)
            return self._reply(place, query, answer)

        return ask

    async def _wait_on(
        self, feed: Feed, place: Place, query: Query, wanted: Query, cursor: Cursor
    ) -> Reply | None:
        """What there is once the feed has told of a change; None where it can't be waited on any more."""
        if wanted.consistency == "stale":
            # The server that answers may be behind the one that has told of a change, or of several.
            wanted = replace(wanted, consistency="default", max_stale=None)
        heard = cursor.heard
        if heard is None or heard.feed is not feed:
            heard = self._as_heard(feed, query, cursor)
        if heard is None:
            async with feed.reads:
                return await self._read(place, query, wanted, feed, None)
        if heard.unknown is None:
            # Many started together, and shouldn't end so; but to wake for a few at a time costs less.
            end = self._clock.time() + self._wait * self._rng.uniform(1.0, LONGER)
            seconds = math.ceil(end) - self._clock.time()
        else:
            seconds = max(AGAIN, heard.at - heard.unknown)
        told = await feed.changed(query.service, heard.mark, seconds)
        if feed.ended.is_set():
            return None
        now = self._clock.time()
        if not told and heard.unknown is not None and now - heard.unknown > GRACE + feed.lag:
            self._feeds.is_blind(place, query.service)
            return None
        if not told and heard.unknown is None and now < heard.until and feed.heard_at >= heard.at:
            return _again(cursor, replace(heard, at=now))
        async with feed.reads:
            return await self._read(place, query, wanted, feed, cursor, told=told)

    async def _read(
        self,
        place: Place,
        query: Query,
        wanted: Query,
        feed: Feed | None,
        cursor: Cursor | None,
        *,
        told: bool = True,
    ) -> Reply:
        """What there is now. `cursor` is what was known before; `told`, whether the feed says it changed."""
        if feed is None:
            return self._reply(place, query, await self._ask(place.client, wanted, None))
        mark, now = feed.mark(), self._clock.time()
        reply = self._reply(place, query, await self._ask(place.client, wanted, None))
        if reply.cursor is None:
            return reply
        read: Cursor = reply.cursor
        if cursor is None or cursor.position != read.position:
            feed.has_read(query.service, mark, read.position)
        before = None if cursor is None else cursor.heard
        unread = UNREAD if before is None else before.unread
        heard = self._heard(feed, mark, now, unread if told else min(2 * unread, MOST_UNREAD))
        if not feed.known.has(reply.instances):
            since = now if before is None or before.unknown is None else before.unknown
            heard = replace(heard, unknown=since)
        return replace(reply, cursor=read._replace(heard=heard))

    def _as_heard(self, feed: Feed, query: Query, cursor: Cursor) -> Heard | None:
        """What was read before the feed was live, if the feed knows it to hold: it needn't be read again."""
        read = cursor.read
        if read is None or not feed.known.shows(query.service, read.instances, cursor.position):
            return None
        return self._heard(feed, feed.mark(), feed.heard_at, UNREAD)

    def _heard(self, feed: Feed, mark: Mark, at: float, unread: float) -> Heard:
        until = self._clock.time() + unread * self._rng.uniform(1.0, 1.5)
        return Heard(feed, mark, at, unread, until)

    async def _ask(self, client: ConsulClient, wanted: Query, index: int | None) -> Answer:
        answer = await client.health(wanted, index=index, wait=None if index is None else self._wait)
        if wanted.max_stale is not None and last_contact(answer) > wanted.max_stale:
            answer = await client.health(replace(wanted, consistency="default", max_stale=None))
        return expected(checked(answer))

    def _reply(self, place: Place, query: Query, answer: Answer) -> Reply:
        decoded = self._decoder.decode(query, answer)
        index, leader = parse_index(answer), known_leader(answer)
        cursor = None if index is None else Cursor(index, place.client, decoded, leader)
        return Reply(decoded.instances, cursor, index, leader, decoded.skipped)


def _again(cursor: Cursor, heard: Heard) -> Reply | None:
    """What was read before, for the feed has told of no change since."""
    if (read := cursor.read) is None:
        return None
    known = cursor._replace(heard=heard)
    return Reply(read.instances, known, known.position, known.known_leader, read.skipped)


def expected(answer: Answer) -> Answer:
    """Refuse a 404 where a Consul agent never gives one."""
    if answer.status == 404:
        raise BackendError(f"404: {answer.text()}: is it a Consul agent?", url=answer.url, status=404)
    return answer
