"""What changes in a folder or of a key, heard by one long poll for all who wait."""

import asyncio
import logging
from collections import deque
from copy import copy
from dataclasses import dataclass
from typing import NamedTuple

from asyncsd._errors import BackendError, UnreachableError
from asyncsd._protocols import Clock
from asyncsd._tasks import TaskOwner
from asyncsd.backends._shared._http import Body

from ._answers import Answer, ClearedError, UnavailableError
from ._transport import Listening, Transport

__all__ = ["Stream"]

log = logging.getLogger("asyncsd.etcd2")

KEPT = 1_000
"""Changes that are remembered for those who come to wait a little later: as many as etcd itself keeps."""
SILENCE = 5.0
"""Seconds after which a silent server is asked whether it lives, and has a leader."""
LINGER = 10.0
"""Seconds that it listens on when nobody waits: between two fetches of a watch there is a pause."""
ELECTION = 3.0
"""Seconds for which no server need know a leader: electing another takes a second or two."""
LEAST_PAUSE, MOST_PAUSE = 0.1, 5.0
"""Seconds between two long polls where the one before told nothing new in no time."""
SOON = 1.0
REMOVALS = ("delete", "expire", "compareAndDelete")


@dataclass(frozen=True, slots=True)
class Change:
    """A key or a folder that was written, removed or has expired, and the store's index then.

    `value` is a key's new one, None for a removal; of a folder it isn't told what was in it.
    """

    index: int
    key: str
    value: bytes | None = None
    is_folder: bool = False

    @classmethod
    def of(cls, told: Answer) -> "Change":
        """What a long poll has told."""
        node = told.node
        value = None if told.action in REMOVALS else node.value.encode()
        return cls(node.modified_index, node.key, value, node.dir)

    def touches(self, path: str) -> bool:
        """Whether it is at, under or above `path`, a key's or a folder's."""
        folder = path if path.endswith("/") else f"{path}/"
        return f"{self.key}/".startswith(folder) or folder.startswith(f"{self.key}/")


class Heard(NamedTuple):
    """What has changed since the index somebody waited from.

    `least` is the index that a reading which follows has to have reached. `changes` are all of that path's
    since then, none where the wait is over; None where they aren't known.
    """

    least: int
    changes: tuple[Change, ...] | None = None


@dataclass(slots=True, eq=False)
class Waiter:
    """Who waits for a change of `path` newer than the index `after`."""

    path: str
    after: int
    told: asyncio.Future[Heard | Exception]

    def tell(self, what: Heard | Exception) -> None:
        if not self.told.done():
            self.told.set_result(what)


class Stream:
    """Hears of the changes of `scope`, a folder or a key, as long as somebody waits for one.

    etcd tells one change for each request, the first after a given index, so that none is missed while no
    request stands. (Its `stream=true` tells one of those that came before, and then falls silent.) Where
    changes may have gone by unheard, all who wait read again.
    """

    def __init__(self, transport: Transport, scope: str, *, clock: Clock, tasks: TaskOwner) -> None:
        self._transport = transport
        self._scope = scope
        self._clock = clock
        self._tasks = tasks
        self._task: asyncio.Task[None] | None = None
        self._waiters: set[Waiter] = set()
        self._left = 0.0
        self._recent: deque[Change] = deque()
        # All changes newer than `_since` are in `_recent`, up to `_heard`.
        self._since = self._heard = 0
        self._anew = True
        self._hears = False
        self._leaderless: float | None = None
        self._pause = LEAST_PAUSE

    @property
    def is_running(self) -> bool:
        """Whether it listens."""
        return self._task is not None

    async def wait(self, path: str, after: int, seconds: float) -> Heard:
        """Return once `path` may have changed since the index `after`, and after `seconds` at most.

        Raises what keeps it from listening. A cancellation ends only this waiting.
        """
        if self._task is None:
            self._since = self._heard = after
            self._recent.clear()
            self._anew, self._leaderless = True, None
        elif after < self._since or after > self._transport.index:
            return Heard(after)  # What came since isn't known; or the store has lost its data.
        changes: list[Change] = []
        for change in reversed(self._recent):
            if change.index <= after:
                break
            if change.touches(path):
                changes.append(change)
        if changes:
            return Heard(changes[0].index, tuple(reversed(changes)))
        waiter = Waiter(path, after, asyncio.get_running_loop().create_future())
        self._waiters.add(waiter)
        if self._task is None:
            self._task = self._tasks.spawn(self._run(), role="listen", service=self._scope)
        try:
            async with self._clock.timeout(seconds):
                told = await waiter.told
        except TimeoutError:
            return Heard(after, () if self._hears else None)
        finally:
            self._waiters.discard(waiter)
            self._left = self._clock.time()
        if isinstance(told, Exception):
            raise copy(told) from told.__cause__  # Each of those who wait has its own.
        return told

    async def _run(self) -> None:
        self._left = self._clock.time()
        try:
            while self._is_wanted():
                await self._turn()
        except Exception as exc:
            if not isinstance(exc, BackendError):
                log.exception("listening to %s ends by a bug", self._scope)
            for waiter in self._waiters:
                waiter.tell(exc)
        finally:
            self._task = None

    def _is_wanted(self) -> bool:
        return bool(self._waiters) or self._clock.time() - self._left < LINGER

    async def _turn(self) -> None:
        """One long poll."""
        began = self._clock.time()
        try:
            listening = await self._transport.listen(self._scope, self._heard, anew=self._anew)
        except ClearedError as exc:
            is_news = exc.index != self._heard
            self._begin_again(exc.index)
            if not is_news:
                await self._slow_down(began)
            return
        except UnavailableError:
            if self._leaderless is None:
                self._leaderless = began
            if self._clock.time() - self._leaderless >= ELECTION:
                raise
            await self._clock.sleep(LEAST_PAUSE)
            return
        self._anew, self._leaderless = False, None
        try:
            if listening.index < self._heard:
                # The store has lost its data, or this server is behind: it would be silent until it has
                # caught up.
                self._begin_again(listening.index)
                return
            self._hears = True
            body = await self._listen(listening)
            if body is None:
                return
            if body:
                change = Change.of(self._transport.told(listening, body))
                is_news = change.index > self._heard
                self._tell(change)
                if is_news:
                    self._pause = LEAST_PAUSE
                else:
                    await self._slow_down(began)
                return
        except (UnreachableError, UnavailableError) as exc:
            log.debug("a long poll on %s ended: %s", listening.endpoint, exc)
            self._transport.avoid(listening.endpoint)
        finally:
            self._hears = False
            listening.response.close()
        # Without a word: the server is stopping, or wants no request to last so long.
        self._anew = True
        self._forward()
        await self._slow_down(began)

    async def _slow_down(self, began: float) -> None:
        """A pause after a long poll that told nothing new, if it was over in no time."""
        if self._clock.time() - began < SOON:
            await self._clock.sleep(self._pause)
            self._pause = min(MOST_PAUSE, 2 * self._pause)

    async def _listen(self, listening: Listening) -> bytes | None:
        """All that a long poll tells; None if nobody waits for it any more."""
        body = Body(str(listening.response.url))
        while True:
            piece = await self._transport.heard(listening, SILENCE)
            if piece is None:
                if not self._is_wanted():
                    return None
                await self._transport.see_leader(listening.endpoint)
            elif piece:
                body.take(piece)
            else:
                return body.whole()

    def _tell(self, change: Change) -> None:
        self._heard = max(self._heard, change.index)
        self._recent.append(change)
        if len(self._recent) > KEPT:
            self._since = self._recent.popleft().index
        for waiter in self._waiters:
            if change.index > waiter.after and change.touches(waiter.path):
                waiter.tell(Heard(change.index, (change,)))

    def _begin_again(self, index: int) -> None:
        """Hear what comes after `index`; what came before may have gone by."""
        self._since = self._heard = index
        self._recent.clear()
        for waiter in self._waiters:
            waiter.tell(Heard(waiter.after))

    def _forward(self) -> None:
        """Leave out what nobody waits for: etcd may not remember it by now."""
        start = min((waiter.after for waiter in self._waiters), default=self._heard)
        if start > self._heard:
            self._since = self._heard = start
            self._recent.clear()
