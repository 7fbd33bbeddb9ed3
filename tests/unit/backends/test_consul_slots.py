"""How many blocking queries are held, and how more than that take turns."""

import asyncio

import pytest

from asyncsd.backends.consul._slots import CYCLE, RECOVERY, Slots
from asyncsd.testing import FakeClock


class Held:
    """Something that waits until it is let go, and knows what it was told to wait."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.now = 0
        self.most = 0
        self.answer = asyncio.Event()

    async def ask(self, wait: float) -> str:
        self.waits.append(wait)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.answer.wait()
        finally:
            self.now -= 1
        return "answer"


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_wait_stays_whole_while_there_is_room() -> None:
    slots, held = Slots(2), Held()
    tasks = [asyncio.create_task(slots.run(55.0, held.ask)) for _ in range(2)]
    await settle()
    assert held.waits == [55.0, 55.0]
    held.answer.set()
    assert await asyncio.gather(*tasks) == ["answer", "answer"]
    assert repr(slots) == "Slots(0 of 2 used, 0 waiting)"


async def test_a_newcomer_takes_the_slot_of_the_longest_wait_and_all_waits_are_short_then() -> None:
    slots, held = Slots(2), Held()
    tasks = [asyncio.create_task(slots.run(55.0, held.ask)) for _ in range(4)]
    await settle()
    assert (held.now, held.most) == (2, 2)
    assert held.waits[:2] == [55.0, 55.0]
    assert all(wait <= CYCLE for wait in held.waits[2:])
    assert len(held.waits) == 4  # The two long ones were cut, and no short one is.
    held.answer.set()
    assert await asyncio.gather(*tasks) == ["answer"] * 4


async def test_a_cancelled_one_gives_its_slot_or_its_place_back() -> None:
    slots, held = Slots(1), Held()
    tasks = [asyncio.create_task(slots.run(55.0, held.ask)) for _ in range(5)]
    await settle()
    for task in (tasks[0], tasks[3], tasks[1]):
        task.cancel()
    await settle()
    held.answer.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(asyncio.CancelledError) == 3
    assert repr(slots) == "Slots(0 of 1 used, 0 waiting)"


@pytest.mark.parametrize("step", range(12))
async def test_a_cancellation_at_any_step_loses_no_slot(step: int) -> None:
    slots, held = Slots(1), Held()
    tasks = [asyncio.create_task(slots.run(55.0, held.ask)) for _ in range(3)]
    for _ in range(step):
        await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.sleep(0)
    tasks[1].cancel()
    held.answer.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert repr(slots) == "Slots(0 of 1 used, 0 waiting)"


async def test_a_cancellation_that_meets_a_free_slot_loses_nothing() -> None:
    slots, held = Slots(1), Held()
    tasks = [asyncio.create_task(slots.run(3.0, held.ask)) for _ in range(3)]
    await settle()
    held.answer.set()
    tasks[2].cancel()  # It is the next in turn.
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes[:2] == ["answer", "answer"]
    assert isinstance(outcomes[2], asyncio.CancelledError)
    assert repr(slots) == "Slots(0 of 1 used, 0 waiting)"


async def test_an_error_of_the_query_is_raised_as_it_is() -> None:
    async def late(_: float) -> None:
        raise TimeoutError("its own")

    slots = Slots(1)
    with pytest.raises(TimeoutError, match="its own"):
        await slots.run(1.0, late)
    assert repr(slots) == "Slots(0 of 1 used, 0 waiting)"


async def test_a_refusal_halves_what_is_held_and_the_limit_grows_again() -> None:
    clock = FakeClock()
    slots, held = Slots(8, clock=clock), Held()
    tasks = [asyncio.create_task(slots.run(55.0, held.ask)) for _ in range(8)]
    await settle()
    slots.refused()
    slots.refused()  # It was on its way already.
    await settle()
    assert held.now == 4
    for more in range(5, 9):
        await clock.advance(RECOVERY)
        async with slots.one_less():
            await settle()
        await settle()
        assert held.now == more
    held.answer.set()
    assert await asyncio.gather(*tasks) == ["answer"] * 8
    assert repr(slots) == "Slots(0 of 8 used, 0 waiting)"


async def test_a_slot_is_lent_even_where_there_is_only_one_and_comes_back() -> None:
    slots, held = Slots(1), Held()
    task = asyncio.create_task(slots.run(55.0, held.ask))
    await settle()
    async with slots.one_less():
        await settle()
        assert held.now == 0
        assert not task.done()
    await settle()
    assert held.now == 1
    held.answer.set()
    assert await task == "answer"
