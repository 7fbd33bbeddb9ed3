"""The fetch loop: one fetch after the other, at a pace that no sequence of answers can drive up."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from ._config import Backoff, Limits
from ._errors import BackendError, ClosedError, DiscoveryError, RateLimitedError, UnreachableError
from ._protocols import Clock
from ._reachability import Reachability

__all__ = ["Poll", "WatchHealth"]

JITTER = 0.2
"""The least interval is stretched by up to a fifth, at random (consul-template's watch/view.go)."""
AT_ONCE = 1.0
"""An answer that came in less than so many seconds didn't wait for a change."""
MOST_RETRY_AFTER = 60.0
"""The longest `Retry-After` that is obeyed, in seconds: a watch that is mended within hours is no use."""


WatchState: TypeAlias = Literal["starting", "live", "failing", "closed"]


@dataclass(frozen=True, slots=True)
class WatchHealth:
    """How a watch is doing.

    `state` is "starting" before the first answer, "failing" while the last fetch has failed. `age` is the
    seconds since the last good answer, None before one. `index` is the registry's. `fetches`, `failures` and
    `resets` count since the start; `skipped` is how many malformed items the last answer had. `next_try` is
    the seconds until the next fetch while a pause is on. `error` is what the last fetch failed with, or what
    closed the watch; of a composite, also why a part of it can't be heard while the watch is "live".
    """

    state: WatchState
    age: float | None
    index: int | None
    fetches: int
    failures: int
    resets: int
    skipped: int
    next_try: float | None
    error: Exception | None


class Answer(Protocol):
    """What Reply and Names have in common."""

    @property
    def cursor(self) -> Any: ...
    @property
    def index(self) -> int | None: ...
    @property
    def known_leader(self) -> bool: ...


A = TypeVar("A", bound=Answer)
A_contra = TypeVar("A_contra", bound=Answer, contravariant=True)


class Sink(Protocol[A_contra]):
    """Who the answers are for."""

    @property
    def deadline(self) -> float | None:
        """The clock's time at which `expire` is to be called, None for never."""
        ...

    def heard(self, answer: A_contra, *, doubtful: bool, went_back: bool) -> bool:
        """Take an answer, and say whether it changed anything.

        It is doubtful when its index went back, it follows an error, or the registry knew no leader.
        """
        ...

    def failed(self, error: DiscoveryError) -> None:
        """A fetch failed."""
        ...

    def expire(self) -> None:
        """The deadline has come."""
        ...


class Poll(Generic[A]):
    """Fetches for ever, gives what comes to a sink, and holds all that is known about pace.

    - The cursor is None after an error, an index of 0, and one that went back.
    - Between the starts of two fetches lies `limits.least_interval` at least. An answer that came at once
      and changed nothing doubles that up to `limits.most_interval`; a real change resets it.
    - An error that is an answer is followed by the backoff, and no less than its Retry-After. A registry
      that can't be reached is probed by everybody who uses it in turn.
    - Only DiscoveryError is any of this; another exception is a bug, and ends the loop.
    """

    def __init__(
        self,
        fetch: Callable[[Any], Awaitable[A]],
        sink: Sink[A],
        *,
        backoff: Backoff,
        limits: Limits,
        clock: Clock,
        rng: random.Random | None,
        reachability: Reachability | None,
    ) -> None:
        self._clock = clock
        self._rng = rng or random.Random()
        self._reachability = reachability or Reachability(clock=self._clock, rng=self._rng)
        self._fetch = fetch
        self._sink = sink
        self._backoff = backoff
        self._limits = limits
        self._cursor: Any = None
        self._interval = limits.least_interval
        self._attempt = 0
        self._not_before = self._clock.time()
        self._pausing = False
        self.index: int | None = None
        self.fetches = 0
        self.failures = 0
        self.error: DiscoveryError | None = None
        """What the last fetch failed with."""

    @property
    def next_try(self) -> float | None:
        """The seconds until the next fetch, while a pause is on."""
        if not self._pausing:
            return None
        when = self._not_before
        if isinstance(self.error, UnreachableError) and self._reachability.next_try is not None:
            when = max(when, self._reachability.next_try)
        return max(0.0, when - self._clock.time())

    def health(
        self,
        *,
        closed: bool,
        bug: Exception | None,
        heard_at: float | None,
        resets: int,
        skipped: int = 0,
        restored: bool = False,
    ) -> WatchHealth:
        """The health of the watch whose loop this is; `restored` says that `heard_at` is from before it."""
        state: WatchState = "live"
        if closed:
            state = "closed"
        elif self.error is not None:
            state = "failing"
        elif heard_at is None or restored:
            state = "starting"
        return WatchHealth(
            state=state,
            age=None if heard_at is None else self._clock.time() - heard_at,
            index=self.index,
            fetches=self.fetches,
            failures=self.failures,
            resets=resets,
            skipped=skipped,
            next_try=None if closed else self.next_try,
            error=bug or self.error,
        )

    async def run(self) -> None:
        """Fetch until cancelled.

        Raises ClosedError once the backend is closed, and else only bugs.
        """
        while True:
            deadline = self._sink.deadline
            if deadline is None:
                await self._turn()
                continue
            try:
                # A fetch that is cut off by the deadline has lost nothing: its cursor stays good.
                async with self._clock.timeout(deadline - self._clock.time()):
                    await self._turn()
            except TimeoutError:
                self._sink.expire()

    async def _turn(self) -> None:
        await self._pause()
        started = self._clock.time()
        self.fetches += 1
        try:
            answer = await self._fetch(self._cursor)
        except ClosedError:
            raise
        except DiscoveryError as error:
            self._failed(error, started)
        else:
            if self._answered(answer, started):
                # Whoever reads the news goes first: sending the next request takes longer than that.
                await asyncio.sleep(0)

    async def _pause(self) -> None:
        self._pausing = True
        try:
            if isinstance(self.error, UnreachableError):
                await self._reachability.turn()
            left = self._not_before - self._clock.time()
            if left > 0:
                await self._clock.sleep(left)
        finally:
            self._pausing = False

    def _failed(self, error: DiscoveryError, started: float) -> None:
        self.failures += 1
        _forget_frames(error)
        self._cursor = None
        self._interval = min(2 * self._interval, self._limits.most_interval)
        self._space(started)
        if isinstance(error, UnreachableError):
            self._reachability.down()
        else:
            if isinstance(error, BackendError):
                self._reachability.up()
            delay = self._backoff.delay(self._attempt, self._rng)
            self._attempt += 1
            if isinstance(error, RateLimitedError) and error.retry_after is not None:
                # On top of it, lest all who were refused together come back together.
                delay += min(error.retry_after, MOST_RETRY_AFTER)
            self._not_before = max(self._not_before, self._clock.time() + delay)
        self.error = error
        self._sink.failed(error)

    def _answered(self, answer: A, started: float) -> bool:
        """Take an answer, and say whether it changed anything."""
        self._reachability.up()
        failed, self.error = self.error is not None, None
        self._attempt = 0
        # No index where there used to be one is no better than a lower one.
        went_back = self.index is not None and (answer.index is None or answer.index < self.index)
        if answer.index is not None:
            self.index = answer.index
        self._cursor = None if went_back or answer.index == 0 else answer.cursor
        doubtful = went_back or failed or not answer.known_leader
        changed = self._sink.heard(answer, doubtful=doubtful, went_back=went_back)
        if changed or self._clock.time() - started >= AT_ONCE:
            self._interval = self._limits.least_interval
        else:
            self._interval = min(2 * self._interval, self._limits.most_interval)
        self._space(started)
        return changed

    def _space(self, started: float) -> None:
        """Keep the next fetch an interval away from the one that `started` then."""
        self._not_before = started + self._interval * (1.0 + JITTER * self._rng.random())


def _forget_frames(error: BaseException) -> None:
    """Let go of what an error came through, which nobody asks for: it is kept as long as the watch fails.

    The frames hold connections and, through lists of errors, themselves: those of hundreds of watches bring
    the garbage collector to go through the whole program, at the worst moment.
    """
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        # Without frames it was never raised, or was seen before: causes may go round in a circle.
        if one is not None and one.__traceback__ is not None:
            one.__traceback__ = None
            left += (one.__cause__, one.__context__)
