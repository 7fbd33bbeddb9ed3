"""For how long an answer holds."""

import random

from asyncsd._protocols import Clock

__all__ = ["Refresh"]

JITTER = 0.1
"""What has a TTL is asked for up to a tenth later, lest all who heard of it together ask together."""


class Refresh:
    """An answer holds for its TTL, but no less than `least` and no more than `most` seconds."""

    def __init__(self, least: float, most: float, *, clock: Clock, rng: random.Random) -> None:
        self._least = least
        self._most = most
        self._clock = clock
        self._rng = rng

    def end(self, ttl: int | None) -> float:
        """The clock's time at which an answer is over; without a TTL, it holds for the least time."""
        return self._clock.time() + (self._least if ttl is None else min(max(ttl, self._least), self._most))

    def due(self, end: float) -> float:
        """The clock's time at which to ask again for what is over at `end`.

        Parts of an answer may be over before the least time: all that soon are will be asked for together.
        """
        held = max(end - self._clock.time(), self._least)
        return self._clock.time() + held * (1.0 + JITTER * self._rng.random())
