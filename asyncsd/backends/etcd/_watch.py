"""Waiting for a change of some keys."""

import logging
from contextlib import suppress

from asyncsd._errors import PermissionDeniedError
from asyncsd._protocols import Clock
from asyncsd.backends._shared._spread import FEW, Spread

from ._feed import Feed
from ._keys import Keys, Span
from ._messages import Event, Watched
from ._streams import Streams
from ._transport import Transport

__all__ = ["Watch"]

log = logging.getLogger("asyncsd.etcd")

DENIED = 600.0
"""Seconds until a prefix that may not be watched as a whole is tried again."""


class Watch:
    """Waits on the server until something happened.

    It tells what has changed since a revision, all of it and in order, since a watch is begun from there. An
    end of the stream, a compaction and a store that lost its data look like a change that isn't known, and
    the reading that follows tells.

    Over the gateway a watch is a connection, and none can be added to one that stands. So that many waits
    aren't as many connections, past eight they share one watch of the whole prefix, where the user may do
    that. The others have a watch each, and hear of nothing but their keys.
    """

    def __init__(self, transport: Transport, clock: Clock, keys: Keys) -> None:
        self._clock = clock
        self._keys = keys
        self._streams = Streams(transport, clock)
        self._feeds = {leader: Feed(self._streams, clock, keys, leader=leader) for leader in (True, False)}
        self._waiting = 0
        self._spread = Spread()
        self._denied_until = float("-inf")

    async def changed(
        self, span: Span, revision: int, wait: float, *, leader: bool = True
    ) -> list[Event] | None:
        """Return once something in `span` may be newer than `revision`, and after `wait` seconds at most.

        Returns what has changed since `revision`, which is nothing at the wait's end, or None where it has to
        be read again. Where many wait it may be up to a quarter less. `leader`: a server without a leader,
        which would hear of nothing, is left. Raises PermissionDeniedError, and what else no other reading
        would tell.
        """
        self._waiting += 1
        shared = False
        if self._waiting > FEW:
            wait = self._spread.shortened(wait)
        try:
            with suppress(TimeoutError):
                async with self._clock.timeout(wait):
                    if self._may_share():
                        shared = True
                        try:
                            return await self._feeds[leader].changed(span, revision)
                        except PermissionDeniedError as exc:
                            self._deny(exc)
                            shared = False
                    return await self._alone(span, revision, leader=leader)
        finally:
            self._waiting -= 1
        return [] if shared and self._feeds[leader].hears else None

    def seen(self, revision: int) -> None:
        """Somebody has read this revision: tell this of every reading whose revision is a cursor."""
        for feed in self._feeds.values():
            feed.seen(revision)

    async def aclose(self) -> None:
        """End what is shared."""
        for feed in self._feeds.values():
            await feed.aclose()

    def _may_share(self) -> bool:
        return self._waiting > FEW and self._clock.time() >= self._denied_until

    def _deny(self, error: PermissionDeniedError) -> None:
        if self._clock.time() >= self._denied_until:
            self._denied_until = self._clock.time() + DENIED
            log.info("all of %s can't be watched at once, and each service is alone: %s", self._keys, error)

    async def _alone(self, span: Span, revision: int, *, leader: bool) -> list[Event] | None:
        changes: list[Event] = []

        def take(told: Watched) -> bool:
            changes.extend(told.events)
            # A store whose revision is lower than what was read from it has lost its data. Its watch would
            # be silent until it has caught up.
            return bool(changes) or (told.created and told.header.revision < revision)

        await self._streams.follow(span, revision, take, leader=leader)
        return changes or None
