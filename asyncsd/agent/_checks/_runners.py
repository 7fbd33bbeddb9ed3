"""Who runs the checks."""

import random
from collections.abc import Callable

from asyncsd._protocols import Clock
from asyncsd._tasks import TaskOwner
from asyncsd.agent._definitions import CheckDefinition
from asyncsd.agent._structs import Status

__all__ = ["Runners"]


class Runners:
    """The checks of an agent, each in a task of its own; what they find out is told to `update`."""

    def __init__(
        self,
        update: Callable[[str, Status, str], None],
        *,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._update = update
        self._clock = clock
        self._rng = rng
        self._owner = TaskOwner()

    def __repr__(self) -> str:
        return f"Runners({len(self._owner)} running)"

    def start(self, definition: CheckDefinition) -> None:
        """Run this check from now on, in place of one with its id."""

    def stop(self, check_id: str) -> None:
        """Run it no more; one that doesn't run is no error."""

    async def aclose(self) -> None:
        """Stop all. Idempotent."""
        await self._owner.aclose()
