"""When a registrar tries again: after a heartbeat, and after each kind of failure."""

import asyncio
import random

from ._config import Backoff
from ._errors import BackendError, NotRegisteredError, RateLimitedError, UnreachableError
from ._protocols import Clock
from ._reachability import Reachability
from ._states import is_permanent

__all__ = ["LEAST", "MOST", "Pace"]

LEAST, MOST = 0.1, 1.0
"""The bounds of the pause after calls that come back at once (100 ms: consul-template's watch/view.go)."""
JITTER = 0.1
"""By how much a heartbeat may come early, so that a fleet that started together doesn't stay so."""


class Pace:
    """The tries of one registrar in time.

    A try `begins`, and has then `succeeded` or `failed`; `rest` is the time until the next heartbeat, `pause`
    that until the next try after an error. `wake` ends a rest, and a pause that neither an unreachable
    registry nor its rate limit asks for. A registration that `stands` is tried at least at each `interval`:
    its TTL may still be saved. One whose server can't be reached for `patience` seconds `stays_away`.
    """

    __slots__ = (
        "_awake",
        "_backoff",
        "_began",
        "_clock",
        "_failures",
        "_interval",
        "_losses",
        "_lost_at",
        "_patience",
        "_reachability",
        "_rng",
        "_unreachable_since",
    )

    def __init__(
        self,
        *,
        interval: float,
        patience: float,
        backoff: Backoff,
        clock: Clock,
        rng: random.Random,
        reachability: Reachability,
    ) -> None:
        self._interval = interval
        self._patience = patience
        self._backoff = backoff
        self._clock = clock
        self._rng = rng
        self._reachability = reachability
        self._awake = asyncio.Event()
        self._began = 0.0
        self._failures = 0
        self._losses = 0
        self._lost_at = 0.0
        self._unreachable_since: float | None = None

    @property
    def stays_away(self) -> bool:
        """Whether the server couldn't be reached for so long that the registration may move to another."""
        away = self._unreachable_since
        return away is not None and self._clock.time() - away >= self._patience

    def wake(self) -> None:
        """There is something to do now."""
        self._awake.set()

    def begins(self) -> None:
        """A try begins: what wakes from now on is for the next one."""
        self._awake.clear()
        self._began = self._clock.time()

    def succeeded(self) -> None:
        """The try succeeded: the next failure is a first one."""
        self._reachability.up()
        self._failures = 0
        self._unreachable_since = None

    def failed(self, error: Exception) -> None:
        """The try failed."""
        self._failures += 1
        if isinstance(error, UnreachableError):
            self._reachability.down()
            if self._unreachable_since is None:
                self._unreachable_since = self._clock.time()
        elif isinstance(error, BackendError):
            self._reachability.up()
            self._unreachable_since = None

    async def rest(self) -> None:
        """Return when the next heartbeat is due, counted from where this try began, or when woken."""
        interval = self._interval * self._rng.uniform(1 - JITTER, 1)
        await self._nap(self._began + interval - self._clock.time())

    async def pause(self, error: Exception, *, stands: bool) -> None:
        """Return when it is time to try again after `error`."""
        match error:
            case UnreachableError():
                await self._reachability.turn()
                # Where others reach another server, their success brings the turn at any rate.
                least = min(MOST, LEAST * 2 ** min(self._failures - 1, 9))
                await self._clock.sleep(self._began + least - self._clock.time())
            case NotRegisteredError():
                await self._pause_after_loss()
            case RateLimitedError():
                await self._clock.sleep(self.delay(error, self._failures - 1, stands=stands))
            case _:
                await self._nap(self.delay(error, self._failures - 1, stands=stands))

    async def _pause_after_loss(self) -> None:
        """Not at all the first time; by the backoff when it keeps happening, even between successes."""
        now = self._clock.time()
        if now - self._lost_at > self._backoff.maximum:
            self._losses = 0
        self._lost_at = now
        self._losses += 1
        if self._losses > 1:
            await self._clock.sleep(max(LEAST, self._backoff.delay(self._losses - 2, self._rng)))

    async def _nap(self, seconds: float) -> None:
        try:
            async with self._clock.timeout(seconds):
                await self._awake.wait()
        except TimeoutError:
            pass

    def delay(self, error: Exception, failures: int, *, stands: bool) -> float:
        """The seconds to wait after `error`, when so many failures went before it."""
        if is_permanent(error):  # Somebody may mend it, a token for one: tried at the backoff's slow end.
            delay = self._backoff.maximum * self._rng.uniform(0.75, 1.0)
        else:
            delay = max(LEAST, self._backoff.delay(failures, self._rng))
        if stands:
            delay = min(delay, self._interval)
        if isinstance(error, RateLimitedError) and error.retry_after is not None:
            delay = max(delay, error.retry_after)
        return delay
