"""One watch of a whole prefix, for all who wait for some of its keys."""

import asyncio
from collections import defaultdict, deque
from typing import TypeAlias

from asyncsd._protocols import Clock
from asyncsd._tasks import TaskOwner

from ._keys import Keys, Span
from ._messages import Event, Watched
from ._streams import Streams

__all__ = ["Feed"]

KEPT = 1024
"""So many changes are remembered for those who come late, having read their keys before."""
IDLE = 10.0
"""Seconds without anybody waiting after which the watch is given up."""
SILENT = 30.0
"""Seconds without a line after which the watch is begun anew: that the server lives doesn't tell that the
connection does, and one that a router on the way has forgotten would be silent for ever."""
BRIEF = 1.0
"""Seconds that a watch must have stood to be followed by another without a reading between."""

Told: TypeAlias = asyncio.Future[list[Event] | Exception | None]


class Feed:
    """A watch that begins with the first who waits, and goes on between their waits.

    Nobody misses a change between a reading and a wait: the cursor is the revision of the reading, and the
    feed knows the changes since its own begin. Of a cursor from before that, or from a store that has lost
    its data since, it says at once that something may have changed.

    When its server is lost it goes on at the next one, from the revision where it was, and nobody has to
    read anything again.
    """

    def __init__(self, streams: Streams, clock: Clock, keys: Keys, *, leader: bool) -> None:
        self._streams = streams
        self._clock = clock
        self._keys = keys
        self._leader = leader
        self._owner = TaskOwner()
        self._runs = False
        self._waiting: dict[bytes, dict[Told, int]] = {}
        self._left = 0.0
        self._opened: float | None = None
        self._heard = 0.0
        self._is_silent = False
        # All changes after `floor` and up to `reached` have passed; `passed` are those.
        self._floor = self._reached = 0
        self._passed: deque[tuple[int, bytes]] = deque()
        # The highest revision that the store is known to have.
        self._newest = 0

    def __repr__(self) -> str:
        return f"Feed({'running' if self._runs else 'idle'}, {sum(map(len, self._waiting.values()))} waiting)"

    @property
    def hears(self) -> bool:
        """Whether it would have told of each change: its watch stands, and the server was heard lately."""
        return self._runs and self._opened is not None and not self._is_silent

    async def changed(self, span: Span, revision: int) -> list[Event] | None:
        """Return once something in `span` may be newer than `revision`.

        Returns what has changed since then, None where it has to be read again. Raises
        PermissionDeniedError where the whole prefix may not be watched.
        """
        if not self._runs:
            self._begin(revision)
        elif self._may_have_passed(span, revision):
            return None
        future: Told = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(span.key, {})
        waiting[future] = revision
        try:
            told = await future
        finally:
            del waiting[future]
            if not waiting:
                del self._waiting[span.key]
            self._left = self._clock.time()
        if isinstance(told, Exception):
            raise told
        return told

    def seen(self, revision: int) -> None:
        """Somebody has read this revision."""
        self._newest = max(self._newest, revision)

    async def aclose(self) -> None:
        """End the watch. Those who wait are left to whoever closes."""
        await self._owner.aclose()

    def _begin(self, revision: int) -> None:
        self._runs = True
        self._floor = self._reached = self._newest = revision
        self._passed.clear()
        self._owner.spawn(self._run(), role="watch", service=str(self._keys))

    def _may_have_passed(self, span: Span, revision: int) -> bool:
        if not self._floor <= revision <= self._newest:
            return True
        for changed, key in reversed(self._passed):
            if changed <= revision:
                break
            if span.covers(key):
                return True
        return False

    async def _run(self) -> None:
        error: Exception | None = None
        try:
            while await self._follow():
                pass
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is raised where somebody waits
            error = exc
        finally:
            self._runs = False
            self._opened = None
        for waiting in self._waiting.values():
            for future in waiting:
                _wake(future, error)

    async def _follow(self) -> bool:
        """Watch until the watch ends; whether to go on with another, at the next server if it was cut off."""
        self._opened, self._heard, self._is_silent = None, self._clock.time(), False
        cut = await self._streams.follow(self._keys.all, self._reached, self._take, leader=self._leader)
        # One that ends at once would be opened again and again.
        stood = self._opened is not None and self._clock.time() - self._opened > BRIEF
        if not (self._waiting and stood and (cut or self._is_silent)):
            return False
        # What those who wait have read needn't be told: it may be compacted by now.
        known = min(min(waiting.values()) for waiting in self._waiting.values())
        if known > self._reached:
            self._floor = self._reached = known
            self._passed.clear()
        return True

    def _take(self, told: Watched) -> bool:
        """Wake those whom a line of the watch concerns; whether to end."""
        now = self._clock.time()
        if told.created:
            if told.header.revision < self._newest:
                return True  # The store has lost its data, or this server lags: all have to read.
            self._opened = now
        if told.header.revision:
            self._heard = now
            self.seen(told.header.revision)
        self._pass(told.events)
        self._is_silent = now - self._heard > SILENT
        return self._is_silent or (not self._waiting and now - self._left > IDLE)

    def _pass(self, events: list[Event]) -> None:
        """Take the changes of a line: whoever waits for several of them has to get them all."""
        changes: defaultdict[Told, list[Event]] = defaultdict(list)
        for event in events:
            key, revision = event.kv.key, event.kv.mod_revision
            self._reached = revision
            self._passed.append((revision, key))
            if len(self._passed) > KEPT:
                self._floor, _ = self._passed.popleft()
            for start in self._keys.starts(key):
                for future, known in self._waiting.get(start, {}).items():
                    if known < revision:
                        changes[future].append(event)
        for future, told in changes.items():
            _wake(future, told)


def _wake(future: Told, told: list[Event] | Exception | None) -> None:
    if not future.done():
        future.set_result(told)
