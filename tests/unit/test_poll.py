"""No sequence of answers drives the fetches up, and none makes them stop."""

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsd import (
    BackendError,
    Backoff,
    Event,
    Instance,
    Limits,
    Query,
    RateLimitedError,
    Reply,
    UnreachableError,
)
from asyncsd._watcher import Watcher
from asyncsd.testing import FakeClock
from tests.support.scripted import Line, ScriptedBackend, reply


@asynccontextmanager
async def watching(
    *lines: Line | Iterator[Line], seed: int = 1, **options: Any
) -> AsyncGenerator[tuple[ScriptedBackend, Watcher, FakeClock], None]:
    clock = FakeClock()
    backend = ScriptedBackend(*lines, clock=clock)
    watcher = Watcher(backend, "users", clock=clock, rng=random.Random(seed), **options)
    task = asyncio.create_task(watcher.run())
    await clock.settle()
    try:
        yield backend, watcher, clock
    finally:
        task.cancel()
        await asyncio.wait([task])


def cycle(*lines: Line) -> Iterator[Line]:
    return itertools.cycle(lines)


def growing(*ids: str) -> Iterator[Line]:
    return (reply(*ids, index=index) for index in itertools.count(1))


REFUSED, BROKEN = UnreachableError("refused"), BackendError("500", status=500)
STORMS: dict[str, Callable[[], Iterator[Line]]] = {
    "index 0 for ever": lambda: cycle(reply("a", index=0)),
    "an index that bounces": lambda: cycle(reply("a", index=9), reply("a", index=3)),
    "an index that grows without a change": lambda: growing("a"),
    "the same answer at once": lambda: cycle(reply("a", index=9)),
    "no index": lambda: cycle(reply("a", index=None)),
    "errors for ever": lambda: cycle(BROKEN),
    "unreachable for ever": lambda: cycle(REFUSED),
    "429 without a Retry-After": lambda: cycle(RateLimitedError("429")),
    "429 with a Retry-After of 0": lambda: cycle(RateLimitedError("429", retry_after=0.0)),
    "every other one an error": lambda: cycle(BROKEN, reply("a")),
    "every other one unreachable": lambda: cycle(REFUSED, reply("a")),
    "empty without a leader": lambda: itertools.chain([reply("a")], cycle(reply(known_leader=False))),
    "empty, but not when read consistently": lambda: itertools.chain(
        [reply("a")], cycle(reply(index=5), reply("a", index=5))
    ),
}
CHANGES: dict[str, Callable[[], Iterator[Line]]] = {
    "a list that changes each time": lambda: cycle(reply("a"), reply("b")),
    "empty every other time": lambda: cycle(reply("a"), reply(), reply()),
    "empty, and another one when read consistently": lambda: cycle(
        reply("a"), reply(), reply("b"), reply(), reply("c"), reply()
    ),
}


@pytest.mark.parametrize("storm", [*STORMS.values(), *CHANGES.values()], ids=[*STORMS, *CHANGES])
async def test_no_storm_makes_more_than_15_fetches_in_any_second(storm: Callable[[], Iterator[Line]]) -> None:
    async with watching(storm()) as (backend, watcher, clock):
        await clock.advance(60.0)
        assert backend.most_in_a_second() <= 15
        assert watcher.health().fetches == len(backend.calls) > 3


@pytest.mark.parametrize("storm", STORMS.values(), ids=STORMS)
async def test_a_storm_that_changes_nothing_settles_at_about_one_fetch_a_second(
    storm: Callable[[], Iterator[Line]],
) -> None:
    async with watching(storm()) as (backend, _, clock):
        await clock.advance(60.0)
        assert backend.since(30.0) <= 45


LINES = st.sampled_from(
    [
        reply("a", index=5),
        reply("b", index=6),
        reply(index=7),
        reply("a", index=0),
        reply(index=3, known_leader=False),
        REFUSED,
        BROKEN,
        RateLimitedError("429", retry_after=0.2),
    ]
)


@settings(max_examples=50, deadline=None)
@given(lines=st.lists(LINES, min_size=1, max_size=8), seed=st.integers(0, 1000))
async def test_no_sequence_of_answers_makes_more_than_15_fetches_in_any_second(
    lines: list[Reply | BackendError], seed: int
) -> None:
    async with watching(cycle(*lines), seed=seed) as (backend, _, clock):
        await clock.advance(10.0)
        assert backend.most_in_a_second() <= 15


async def test_a_change_is_fetched_on_from_at_once_after_a_long_wait() -> None:
    async with watching(reply("a", index=1), 50.0, reply("b", index=2)) as (backend, _, clock):
        await clock.advance(50.5)
        assert backend.hanging == 1
        assert backend.calls[-1][0] - backend.calls[-2][0] == pytest.approx(50.0, abs=0.01)


async def test_answers_at_once_that_change_nothing_double_the_interval_and_a_change_resets_it() -> None:
    lines = [reply("a")] * 6 + [reply("b")] * 2
    limits = Limits(least_interval=0.1, most_interval=1.0)
    async with watching(*lines, limits=limits) as (backend, _, clock):
        await clock.advance(60.0)
        times = [when for when, _, _ in backend.calls]
        waits = [later - earlier for earlier, later in itertools.pairwise(times)]
        expected = [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 0.1, 0.2]
        assert all(want <= got <= 1.2 * want for want, got in zip(expected, waits, strict=True)), waits
        assert len(set(waits)) == len(waits)


async def test_an_answer_that_waited_and_changed_nothing_resets_the_interval() -> None:
    lines: list[Line] = [*[reply("a")] * 5, 2.0, *[reply("a")] * 3]
    async with watching(*lines) as (backend, _, clock):
        await clock.advance(60.0)
        times = [when for when, _, _ in backend.calls]
        waits = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert waits[3] >= 0.8
        assert waits[5] == pytest.approx(2.0, abs=0.01)  # The answer's own time: the next fetch follows it.
        assert waits[6] <= 0.24


async def test_a_backoff_of_nearly_nothing_keeps_to_the_least_interval() -> None:
    backoff = Backoff(initial=0.001, maximum=0.001)
    async with watching(cycle(BROKEN), backoff=backoff) as (backend, _, clock):
        await clock.advance(60.0)
        assert backend.most_in_a_second() <= 10
        assert backend.since(30.0) <= 31


async def test_the_backoff_follows_its_value_and_starts_anew_after_an_answer() -> None:
    backoff = Backoff(initial=2.0, factor=3.0, maximum=18.0)

    class Longest(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return b

        def random(self) -> float:
            return 0.0

    clock = FakeClock()
    lines = [BROKEN, BROKEN, BROKEN, BROKEN, reply("a"), BROKEN]
    backend = ScriptedBackend(*lines, clock=clock)
    watcher = Watcher(backend, "users", clock=clock, backoff=backoff, rng=Longest())
    task = asyncio.create_task(watcher.run())
    await clock.advance(60.0)
    task.cancel()
    await asyncio.wait([task])
    times = [when for when, _, _ in backend.calls]
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert waits == pytest.approx([2.0, 6.0, 18.0, 18.0, 0.1, 2.0])


@pytest.mark.parametrize(("asked", "least", "most"), [(5.0, 5.0, 5.5), (3600.0, 60.0, 60.5)])
async def test_retry_after_is_the_least_wait_up_to_a_minute(asked: float, least: float, most: float) -> None:
    async with watching(RateLimitedError("429", retry_after=asked)) as (backend, _, clock):
        await clock.advance(100.0)
        assert least <= backend.calls[1][0] - backend.calls[0][0] <= most


async def test_a_registry_that_cant_be_reached_is_probed_within_a_second_however_long_it_was_away() -> None:
    async with watching(cycle(REFUSED)) as (backend, watcher, clock):
        await clock.advance(600.0)
        backend._lines = iter([reply("a")])
        await clock.advance(1.3)
        assert watcher.health().state == "live"


async def test_a_backoff_ends_at_once_when_the_watch_is_closed() -> None:
    async with watching(RateLimitedError("429", retry_after=60.0)) as (_, _, clock):
        assert clock.sleepers == 1
    assert clock.sleepers == 0


async def test_the_cursor_goes_to_the_backend_as_it_came() -> None:
    token = object()
    async with watching(reply("a", index=None, cursor=token)) as (backend, _, clock):
        await clock.advance(1.0)
        assert backend.calls[1][1:] == (Query("users"), token)


async def test_who_reads_the_news_goes_before_the_next_fetch() -> None:
    order: list[str] = []
    queue: asyncio.Queue[Event] = asyncio.Queue()
    again = asyncio.Event()

    class Backend:
        async def fetch(self, _: Query, cursor: Any) -> Reply:
            order.append("fetch")
            if cursor == 1:
                again.set()
                return await asyncio.get_running_loop().create_future()
            return Reply((Instance("a", "users", "10.0.0.1", 80),), cursor=1)

    async def read() -> None:
        await queue.get()
        order.append("read")

    backend: Any = Backend()
    limits = Limits(least_interval=1e-9)
    task = asyncio.create_task(Watcher(backend, "users", limits=limits).run(queue))
    await read()
    async with asyncio.timeout(5.0):
        await again.wait()
    task.cancel()
    await asyncio.wait([task])
    assert order == ["fetch", "read", "fetch"]
