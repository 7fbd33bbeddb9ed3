"""How often a feed asks: no more than leaves its agent time for others."""

from asyncsd._protocols import Clock

__all__ = ["AT_ONCE", "Budget", "Interval"]

LEAST = 0.01
"""The least seconds between an answer and the next question of one query."""
MOST_IDLE = 0.05
"""The same, once answers come without a change: an agent wakes a query for what is near it, too."""
MOST = 1.0
"""The same, once the agent doesn't hold the query: the answer comes at once, and with the same index."""
AT_ONCE = 1.0
"""An answer within so many seconds didn't wait."""

EACH = 0.0005
"""What an answer takes an agent and us, in seconds, beside what its size takes."""
BYTE = 1e-8
"""Seconds for each byte: the 1.75 MB of a node with 2,000 instances took 15 ms, and 19 ms of CPU."""


class Interval:
    """The pause of one query: doubled by answers that say nothing, and short again after one that does."""

    def __init__(self) -> None:
        self.seconds = LEAST

    def heard(self, *, changed: bool, moved: bool, took: float) -> float:
        """The pause after an answer: whether it tells of a change, and whether its index is another."""
        if changed or (not moved and took >= AT_ONCE):
            self.seconds = LEAST
        else:
            self.seconds = min(2 * self.seconds, max(MOST_IDLE, self.seconds) if moved else MOST)
        return self.seconds


class Budget:
    """Rest for as long as the work took, over all queries of a feed: they get half of the time at most."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._free_at = 0.0

    def rest(self, size: int) -> float:
        """How many seconds to rest after an answer of `size` bytes."""
        now = self._clock.time()
        self._free_at = max(now, self._free_at) + EACH + size * BYTE
        return self._free_at - now
