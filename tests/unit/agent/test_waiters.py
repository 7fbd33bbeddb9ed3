"""Who waits is let go by what changed, and thousands who wait leave room for others."""

import asyncio
import itertools

from asyncsd.agent._state._found import Found
from asyncsd.agent._state._waiters import AT_ONCE, Waiters

WEB, API = ("service", "web"), ("service", "api")


async def waiting(waiters: Waiters, count: int, *keys: tuple[str, ...]) -> list[asyncio.Task[None]]:
    tasks = [asyncio.ensure_future(waiters.changed(keys)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_a_change_lets_go_those_who_wait_for_it_and_no_others() -> None:
    waiters = Waiters()
    (web,), (api,), (both,) = [await waiting(waiters, 1, *keys) for keys in ((WEB,), (API,), (WEB, API))]
    waiters.wake(WEB)
    async with asyncio.timeout(5):
        await asyncio.gather(web, both)
    assert not api.done()
    assert len(waiters) == 1
    waiters.wake_all()
    async with asyncio.timeout(5):
        await api
    assert len(waiters) == 0


async def test_thousands_are_let_go_in_turns_between_which_others_have_theirs() -> None:
    waiters = Waiters()
    tasks = await waiting(waiters, 20 * AT_ONCE, WEB)
    waiters.wake(WEB)
    counts: list[int] = []
    async with asyncio.timeout(5):
        while not counts or counts[-1] < len(tasks):
            counts.append(sum(task.done() for task in tasks))
            await asyncio.sleep(0)
    steps = [after - before for before, after in itertools.pairwise(counts)]
    assert max(steps) <= AT_ONCE
    assert len(waiters) == 0


async def test_one_that_is_cancelled_before_its_turn_is_left_out() -> None:
    waiters = Waiters()
    tasks = await waiting(waiters, 2 * AT_ONCE, WEB)
    waiters.wake(WEB)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(waiters) == 0


def test_an_answer_is_made_once_for_all_who_ask_the_same() -> None:
    made: list[str] = []

    def choose(what: str) -> list[str]:
        made.append(what)
        return [what]

    found = Found(7, ["a", "b"], (WEB,))
    for what in ("a", "b", "a", "b"):
        assert bytes(found.answer(what, lambda what=what: choose(what))) == f'["{what}"]'.encode()
    assert made == ["a", "b"]


def test_answers_to_ever_new_questions_are_not_kept_for_ever() -> None:
    found = Found(7, [], (WEB,))
    for number in range(1_000):
        assert bytes(found.answer(number, lambda number=number: number)) == str(number).encode()
    assert len(found._answers) < 100
