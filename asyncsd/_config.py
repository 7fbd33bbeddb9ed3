"""Small values that say how asyncsd behaves. Times are seconds, as floats."""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from ._values import ShortRepr, duration

__all__ = ["Backoff", "Limits", "Retry"]


@dataclass(frozen=True, slots=True, repr=False)
class Backoff(ShortRepr):
    """Exponential backoff with full jitter: attempt n waits `uniform(0, min(maximum, initial * factor**n))`.

    Full jitter spreads a fleet that failed at one moment best (M. Brooker, "Exponential Backoff And
    Jitter", 2015). It is drawn below the cap, so it doesn't collapse to one value there.

    >>> Backoff(maximum=20.0)
    Backoff(maximum=20.0)
    """

    initial: float = 0.5
    factor: float = 2.0
    maximum: float = 30.0

    def __post_init__(self) -> None:
        duration("Backoff.initial", self.initial)
        duration("Backoff.maximum", self.maximum)
        if not 1.0 <= self.factor <= 100.0:
            raise ValueError(f"Backoff.factor has to be from 1 to 100; got {self.factor!r}")
        if self.maximum < self.initial:
            raise ValueError(
                f"Backoff.maximum has to be at least initial; got {self.maximum!r} < {self.initial!r}"
            )

    def cap(self, attempt: int) -> float:
        """The longest wait, in seconds, after failure number `attempt`, counted from 0."""
        try:
            return min(self.maximum, self.initial * self.factor**attempt)
        except OverflowError:
            return self.maximum

    def delay(self, attempt: int, rng: random.Random) -> float:
        """A wait in seconds after failure number `attempt`, counted from 0."""
        return rng.uniform(0.0, self.cap(attempt))


@dataclass(frozen=True, slots=True, repr=False)
class Limits(ShortRepr):
    """How much, how often and how long asyncsd may.

    >>> Limits(reset_hold=30.0)
    Limits(reset_hold=30.0)
    """

    least_interval: float = 0.1
    """The first interval between two fetches of a watch (100 ms: consul-template's watch/view.go)."""
    most_interval: float = 1.0
    """Where that interval stops doubling while answers come at once and change nothing."""
    reset_hold: float = 10.0
    """How long known instances serve on when the registry seems to have lost its data."""
    linger: float = 5.0
    """How long a watch goes on after its last subscriber went."""
    idle: float = 300.0
    """How long an unused balancer keeps its watch."""
    queue: int = 8
    """How many Events a subscription holds before they are merged into one."""

    def __post_init__(self) -> None:
        duration("Limits.least_interval", self.least_interval)
        duration("Limits.most_interval", self.most_interval)
        duration("Limits.reset_hold", self.reset_hold, zero=True)
        duration("Limits.linger", self.linger, zero=True)
        duration("Limits.idle", self.idle)
        if self.most_interval < self.least_interval:
            raise ValueError("Limits.most_interval has to be at least least_interval")
        if isinstance(self.queue, bool) or not isinstance(self.queue, int) or self.queue < 1:
            raise ValueError(f"Limits.queue is a whole number, 1 or more; got {self.queue!r}")


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Retry(ShortRepr):
    """How a balancer's `call` tries again.

    `attempts` counts the first one too. `timeout` bounds all of them together, `attempt_timeout` each; an
    attempt that timed out is tried again. Only an exception of the types in `on` is. There is no default
    for it: what may be repeated is the caller's knowledge. `callback(attempt, errors)`, sync or async, is
    told after each failure and ends the retrying by returning False.

    >>> Retry(attempts=3, timeout=2.0, on=(OSError,))
    Retry(attempts=3, timeout=2.0, on=(<class 'OSError'>,))
    """

    attempts: int = 3
    timeout: float | None = None
    attempt_timeout: float | None = None
    backoff: Backoff = Backoff(initial=0.05, maximum=1.0)
    on: tuple[type[Exception], ...]
    callback: Callable[[int, Sequence[Exception]], bool | Awaitable[bool]] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int) or self.attempts < 1:
            raise ValueError(f"Retry.attempts is a whole number, 1 or more; got {self.attempts!r}")
        duration("Retry.timeout", self.timeout, none=True)
        duration("Retry.attempt_timeout", self.attempt_timeout, none=True)
        kinds = (self.on,) if isinstance(self.on, type) else self.on
        if not isinstance(kinds, tuple) or not all(_is_exception_type(kind) for kind in kinds):
            raise TypeError(f"Retry.on is a tuple of exception types, such as (OSError,); got {self.on!r}")
        object.__setattr__(self, "on", kinds)


def _is_exception_type(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)
