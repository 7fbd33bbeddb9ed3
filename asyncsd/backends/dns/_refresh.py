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

    def due(self, ttl: int | None) -> float:
        """The clock's time at which that is over; without a TTL, it holds for the least time."""
        held = self._least if ttl is None else min(max(ttl, self._least), self._most)
        return self._clock.time() + held * (1.0 + JITTER * self._rng.random())
