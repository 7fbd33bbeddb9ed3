"""How much work a filter may make."""

from ._parser import FilterError

__all__ = ["Effort"]

MOST_STEPS = 2_000_000
"""Comparisons, and steps through patterns, of one filter in all: about a second in which all else waits."""


class Effort:
    """What one filter, asked of all the results of a request, may still do."""

    __slots__ = ("_left",)

    def __init__(self, steps: int = MOST_STEPS) -> None:
        self._left = steps

    def __repr__(self) -> str:
        return f"Effort({self._left} steps left)"

    def spend(self, steps: int) -> None:
        """Note that so many are made. FilterError once there were too many."""
        self._left -= steps
        if self._left < 0:
            raise FilterError("the filter is too much work: this agent does all else beside it")
