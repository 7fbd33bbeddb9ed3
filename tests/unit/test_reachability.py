import asyncio
import random
from collections.abc import Iterator
from itertools import pairwise

import pytest

from asyncsd._reachability import Reachability
from asyncsd.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def reachability(clock: FakeClock) -> Reachability:
    return Reachability(clock=clock, rng=random.Random(7))


class Callers:
    """Tasks that try, fail and wait for their turn, as watches of a dead registry do."""

    def __init__(self, reachability: Reachability, clock: FakeClock) -> None:
        self.reachability, self.clock = reachability, clock
        self.tries: list[float] = []
        self.succeeded = 0
        self.alive = False
        self.tasks: list[asyncio.Task[None]] = []

    def add(self, count: int) -> None:
        self.tasks += [asyncio.create_task(self.run()) for _ in range(count)]

    async def run(self) -> None:
        while True:
            await self.reachability.turn()
            self.tries.append(self.clock.time())
            await asyncio.sleep(0)
            if self.alive:
                self.reachability.up()
                self.succeeded += 1
                return
            self.reachability.down()


@pytest.fixture
def callers(reachability: Reachability, clock: FakeClock) -> Iterator[Callers]:
    callers = Callers(reachability, clock)
    yield callers
    for task in callers.tasks:
        task.cancel()


async def test_reachable_nobody_waits(reachability: Reachability) -> None:
    await reachability.turn()
    assert reachability.reachable
    assert reachability.next_try is None


async def test_500_callers_make_about_one_try_a_second(
    reachability: Reachability, callers: Callers, clock: FakeClock
) -> None:
    reachability.down()
    callers.add(500)
    await clock.advance(10.0)
    assert 9 <= len(callers.tries) <= 15
    del callers.tries[:]
    await clock.advance(60.0)
    assert 48 <= len(callers.tries) <= 80


async def test_waits_grow_from_a_quarter_to_one_second_with_jitter(
    reachability: Reachability, callers: Callers, clock: FakeClock
) -> None:
    reachability.down()
    callers.add(3)
    await clock.advance(30.0)
    moments = [1_000.0, *callers.tries]
    waits = [after - before for before, after in pairwise(moments)]
    for wait, middle in zip(waits, [0.25, 0.5, *[1.0] * 30], strict=False):
        assert 0.75 * middle <= wait <= 1.25 * middle
    assert len(set(waits[2:])) > 5


async def test_up_wakes_everybody_at_once(
    reachability: Reachability, callers: Callers, clock: FakeClock
) -> None:
    reachability.down()
    callers.add(500)
    await clock.advance(10.0)
    callers.alive = True
    now = clock.time()
    reachability.up()
    await clock.settle()
    assert callers.succeeded == 500
    assert clock.time() == now
    assert clock.sleepers == 0


async def test_the_first_try_that_succeeds_frees_all(
    reachability: Reachability, callers: Callers, clock: FakeClock
) -> None:
    reachability.down()
    callers.add(100)
    await clock.advance(5.0)
    callers.alive = True
    await clock.advance(1.25)
    assert callers.succeeded == 100


@pytest.mark.parametrize("steps", range(5))
async def test_a_cancelled_leader_hands_over(
    reachability: Reachability, callers: Callers, clock: FakeClock, steps: int
) -> None:
    """Also when the next one is cancelled as it is woken, or before."""
    reachability.down()
    callers.add(5)
    await clock.settle()
    for task in callers.tasks[:4]:
        task.cancel()
        for _ in range(steps):
            await asyncio.sleep(0)
    await clock.advance(2.0)
    assert callers.tries


async def test_everybody_cancelled_leaves_nothing(
    reachability: Reachability, callers: Callers, clock: FakeClock
) -> None:
    reachability.down()
    callers.add(5)
    await clock.advance(1.0)
    for task in callers.tasks:
        task.cancel()
    await clock.settle()
    assert clock.sleepers == 0
    assert repr(reachability) == "Reachability(unreachable, 0 waiting)"
    callers.add(1)
    await clock.advance(2.0)
    assert not callers.tasks[-1].done()


async def test_a_try_that_hangs_does_not_stop_the_others(
    reachability: Reachability, clock: FakeClock
) -> None:
    """The next probe doesn't wait for the answer of the last one, which may take its whole deadline."""
    tries = 0

    async def hang() -> None:
        nonlocal tries
        await reachability.turn()
        tries += 1
        await asyncio.Event().wait()

    reachability.down()
    tasks = [asyncio.create_task(hang()) for _ in range(5)]
    await clock.advance(5.0)
    assert tries >= 3
    for task in tasks:
        task.cancel()


async def test_after_up_the_waits_begin_anew(
    reachability: Reachability, callers: Callers, clock: FakeClock
) -> None:
    reachability.down()
    callers.add(1)
    await clock.advance(10.0)
    reachability.up()
    await clock.settle()
    assert not reachability.reachable
    assert reachability.next_try is not None
    assert reachability.next_try - clock.time() <= 0.25 * 1.25


async def test_next_try_tells_when(reachability: Reachability, callers: Callers, clock: FakeClock) -> None:
    reachability.down()
    callers.add(2)
    await clock.settle()
    assert reachability.next_try == clock.next_due
