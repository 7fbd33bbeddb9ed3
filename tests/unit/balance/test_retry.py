"""Calls that are tried again."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

import pytest

from asyncsd import Backoff, ClosedError, Instance, NoInstances, RetriesExhausted, Retry
from asyncsd.balance import Balancer, LeastOutstanding, RoundRobin
from asyncsd.testing import FakeClock
from tests.unit.balance.support import closed, heard, instances

QUICK = Backoff(initial=0.001, maximum=0.001)


class World:
    """Three instances, and a function to call that does what a test says."""

    def __init__(self, count: int = 3, *, seed: int = 1) -> None:
        self.clock = FakeClock()
        self.balancer = Balancer(LeastOutstanding(), clock=self.clock, rng=random.Random(seed))
        self.balancer.feed(heard(instances(count)))
        self.called: list[str] = []
        self.answers: list[Exception | Callable[[], Awaitable[object]]] = []

    async def work(self, instance: Instance) -> str:
        self.called.append(instance.id)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            await answer()
        return instance.id

    async def call(self, retry: Retry | None, *, seconds: float = 60.0) -> str:
        calling = asyncio.ensure_future(self.balancer.call(self.work, retry=retry))
        await self.clock.advance(seconds)
        assert calling.done(), "it took longer"
        assert self.balancer.statistics().in_flight == 0
        return await calling


async def forever() -> None:
    await asyncio.Event().wait()


@pytest.fixture
def world() -> World:
    return World()


async def test_without_retry_there_is_one_attempt_and_its_own_exception(world: World) -> None:
    error = OSError("broken")
    world.answers = [error]
    with pytest.raises(OSError, match="broken") as caught:
        await world.call(None)
    assert caught.value is error
    assert len(world.called) == 1


@pytest.mark.parametrize("seed", range(20))
async def test_each_attempt_goes_to_an_instance_not_yet_tried(seed: int) -> None:
    world = World(seed=seed)
    world.answers = [OSError(), OSError()]
    last = await world.call(Retry(attempts=3, on=(OSError,), backoff=QUICK))
    assert set(world.called) == {each.id for each in instances(3)}
    assert last == world.called[-1]


@pytest.mark.parametrize("seed", range(20))
async def test_when_all_were_tried_another_round_begins(seed: int) -> None:
    world = World(seed=seed)
    world.answers = [OSError() for _ in range(6)]
    with pytest.raises(RetriesExhausted):
        await world.call(Retry(attempts=6, on=(OSError,), backoff=QUICK))
    names = {each.id for each in instances(3)}
    assert set(world.called[:3]) == names
    assert world.called[3] != world.called[2]
    assert set(world.called[2:5]) == names


async def test_every_error_is_told_in_order_and_the_last_is_the_cause(world: World) -> None:
    errors: list[Exception] = [OSError("first"), ConnectionError("second"), OSError("third")]
    world.answers = list(errors)
    with pytest.raises(RetriesExhausted, match=r"first.*second.*third") as caught:
        await world.call(Retry(attempts=3, on=(OSError,), backoff=QUICK))
    assert list(caught.value.errors) == errors
    assert caught.value.__cause__ is errors[-1]
    assert caught.value.service == "users"


async def test_an_error_that_is_not_named_passes_untouched(world: World) -> None:
    error = ValueError("a bug")
    world.answers = [OSError(), error]
    with pytest.raises(ValueError, match="a bug") as caught:
        await world.call(Retry(attempts=5, on=(OSError,), backoff=QUICK))
    assert caught.value is error
    assert len(world.called) == 2


async def test_an_attempt_that_timed_out_is_tried_again_though_on_does_not_name_it(world: World) -> None:
    world.answers = [forever, forever]
    calling = asyncio.ensure_future(
        world.balancer.call(
            world.work, retry=Retry(attempts=3, attempt_timeout=1.0, on=(OSError,), backoff=QUICK)
        )
    )
    await world.clock.advance(1.5)
    assert len(world.called) == 2
    await world.clock.advance(1.0)
    assert await calling == world.called[2]


async def test_a_timeout_error_of_the_function_itself_is_not_an_attempt_that_timed_out(world: World) -> None:
    error = TimeoutError("its own")
    world.answers = [error]
    with pytest.raises(TimeoutError, match="its own") as caught:
        await world.call(Retry(attempts=3, attempt_timeout=1.0, timeout=2.0, on=(ConnectionError,)))
    assert caught.value is error


async def test_the_total_timeout_ends_all_with_every_error(world: World) -> None:
    world.answers = [OSError("first"), forever]
    calling = asyncio.ensure_future(
        world.balancer.call(world.work, retry=Retry(attempts=5, timeout=2.0, on=(OSError,), backoff=QUICK))
    )
    await world.clock.advance(1.9)
    assert not calling.done()
    await world.clock.advance(0.1)
    with pytest.raises(RetriesExhausted) as caught:
        await calling
    first, last = caught.value.errors
    assert str(first) == "first"
    assert type(last) is TimeoutError
    assert world.balancer.statistics().in_flight == 0


async def test_no_backoff_goes_past_the_total_timeout(world: World) -> None:
    world.answers = [OSError() for _ in range(10)]
    began = world.clock.time()
    ended: list[float] = []
    calling = asyncio.ensure_future(
        world.balancer.call(
            world.work,
            retry=Retry(attempts=10, timeout=3.0, on=(OSError,), backoff=Backoff(initial=2.0, maximum=2.0)),
        )
    )
    calling.add_done_callback(lambda _: ended.append(world.clock.time()))
    await world.clock.advance(60.0)
    with pytest.raises(RetriesExhausted):
        await calling
    assert ended[0] - began <= 3.0
    assert 1 < len(world.called) < 10


async def test_backoff_has_full_jitter_below_its_cap(world: World) -> None:
    waits: list[float] = []
    for _ in range(200):
        world.answers = [OSError()]
        began = world.clock.time()
        at: list[float] = []

        async def note(at: list[float] = at) -> None:
            at.append(world.clock.time())

        world.answers.append(note)
        await world.call(Retry(attempts=2, on=(OSError,), backoff=Backoff(initial=1.0, maximum=1.0)))
        waits.append(at[0] - began)
    assert max(waits) <= 1.0
    assert min(waits) < 0.1
    assert 0.4 < sum(waits) / len(waits) < 0.6


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_the_callback_is_told_of_each_failure_and_may_stop(world: World, asynchronous: bool) -> None:
    told: list[tuple[int, list[str]]] = []

    def judge(attempt: int, errors: Sequence[Exception]) -> bool:
        told.append((attempt, [str(error) for error in errors]))
        return attempt < 2

    async def judge_slowly(attempt: int, errors: Sequence[Exception]) -> bool:
        await world.clock.sleep(0.1)
        return judge(attempt, errors)

    world.answers = [OSError("first"), OSError("second"), OSError("third")]
    callback = judge_slowly if asynchronous else judge
    with pytest.raises(RetriesExhausted) as caught:
        await world.call(Retry(attempts=5, on=(OSError,), backoff=QUICK, callback=callback))
    assert told == [(1, ["first"]), (2, ["first", "second"])]
    assert len(caught.value.errors) == 2


async def test_a_callback_that_says_nothing_lets_it_go_on(world: World) -> None:
    world.answers = [OSError()]
    assert await world.call(
        Retry(on=(OSError,), backoff=QUICK, callback=lambda attempt, errors: None)  # type: ignore[arg-type,return-value]
    )


async def test_a_callback_that_hangs_ends_with_the_total_timeout(world: World) -> None:
    async def hang(attempt: int, errors: Sequence[Exception]) -> bool:
        await forever()
        return True

    world.answers = [OSError("first")]
    with pytest.raises(RetriesExhausted, match="first"):
        await world.call(Retry(timeout=1.0, on=(OSError,), callback=hang), seconds=1.0)


async def test_no_instances_is_raised_as_it_is_when_nothing_was_tried() -> None:
    world = World(0)
    calling = asyncio.ensure_future(
        world.balancer.call(world.work, retry=Retry(timeout=2.0, on=(OSError,)), timeout=5.0)
    )
    await world.clock.advance(2.0)
    with pytest.raises(NoInstances, match="the service has no instances"):
        await calling


async def test_instances_that_vanish_meanwhile_are_the_last_error(world: World) -> None:
    async def vanish() -> None:
        world.balancer.feed(heard([]))
        raise OSError("first")

    world.answers = [vanish]
    with pytest.raises(RetriesExhausted, match=r"first.*the service has no instances") as caught:
        await world.call(Retry(on=(OSError,), backoff=QUICK))
    assert isinstance(caught.value.errors[-1], NoInstances)


async def test_no_instances_of_the_function_itself_is_its_own_error(world: World) -> None:
    error = NoInstances("orders", "another balancer")
    world.answers = [error]
    with pytest.raises(NoInstances) as caught:
        await world.call(Retry(on=(OSError,)))
    assert caught.value is error


async def test_a_balancer_closed_meanwhile_says_so(world: World) -> None:
    async def close() -> None:
        world.balancer.feed(closed())
        raise OSError

    world.answers = [close]
    with pytest.raises(ClosedError):
        await world.call(Retry(on=(OSError,), backoff=QUICK))


async def test_a_cancellation_ends_the_call_and_is_not_retried(world: World) -> None:
    world.answers = [forever]
    calling = asyncio.ensure_future(
        world.balancer.call(world.work, retry=Retry(attempt_timeout=9.0, timeout=9.0, on=(OSError,)))
    )
    await world.clock.settle()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert len(world.called) == 1
    assert world.balancer.statistics().in_flight == 0


async def test_a_timeout_of_the_callers_own_is_the_callers(world: World) -> None:
    world.answers = [forever]

    async def call() -> None:
        async with world.clock.timeout(0.5):
            await world.balancer.call(world.work, retry=Retry(attempt_timeout=1.0, on=(OSError,)))

    calling = asyncio.ensure_future(call())
    await world.clock.advance(0.5)
    with pytest.raises(TimeoutError):
        await calling
    assert len(world.called) == 1


async def test_attempts_count_as_failures_of_their_instances() -> None:
    clock = FakeClock()
    blamed: list[Exception] = []
    balancer = Balancer(RoundRobin(), clock=clock, classify=lambda error: blamed.append(error) or True)  # type: ignore[func-returns-value]
    balancer.feed(heard(instances(2)))

    async def work(instance: Instance) -> None:
        raise OSError(instance.id)

    calling = asyncio.ensure_future(
        balancer.call(work, retry=Retry(attempts=2, on=(OSError,), backoff=QUICK))
    )
    await clock.advance(1.0)
    with pytest.raises(RetriesExhausted) as caught:
        await calling
    assert tuple(blamed) == caught.value.errors
