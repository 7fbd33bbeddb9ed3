"""Running checks in a test: what they say comes in a queue, and chance is told."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from asyncsd import Clock
from asyncsd.agent._checks import Runners
from asyncsd.agent._state._catalog import Catalog
from asyncsd.agent._state._definitions import CheckDefinition
from asyncsd.agent._state._structs import Status

__all__ = ["AtOnce", "Checks", "Said", "running", "said_by"]

NODE = "here"


class Said(NamedTuple):
    """One update of a check."""

    check_id: str
    status: Status
    output: str


class AtOnce(random.Random):
    """Chance that always picks the start: a check's first run comes without a wait."""

    def uniform(self, a: float, b: float) -> float:
        return a


class Checks:
    """Runners, and what they told: `said` has it all, `heard` gives one after the other."""

    def __init__(self, clock: Clock, rng: random.Random, catalog: Catalog | None = None) -> None:
        self.said: list[Said] = []
        self.removed: list[str] = []
        self._queue: asyncio.Queue[Said] = asyncio.Queue()
        self.runners = Runners(
            self._take,
            remove=self._remove,
            catalog=catalog or Catalog(),
            node=NODE,
            clock=clock,
            rng=rng,
        )

    def _take(self, check_id: str, status: Status, output: str) -> None:
        said = Said(check_id, status, output)
        self.said.append(said)
        self._queue.put_nowait(said)

    def _remove(self, service_id: str) -> None:
        self.removed.append(service_id)

    async def heard(self) -> Said:
        """What is said next."""
        async with asyncio.timeout(10):
            return await self._queue.get()


@asynccontextmanager
async def running(
    clock: Clock, *, rng: random.Random | None = None, catalog: Catalog | None = None
) -> AsyncIterator[Checks]:
    checks = Checks(clock, rng or AtOnce(), catalog)
    try:
        yield checks
    finally:
        await checks.runners.aclose()


async def said_by(clock: Clock, **definition: object) -> Said:
    """The first that a check with these fields says."""
    async with running(clock) as checks:
        definition = {"check_id": "it", "name": "it", "interval": 10.0, **definition}
        checks.runners.start(CheckDefinition(**definition))  # type: ignore[arg-type]
        return await checks.heard()
