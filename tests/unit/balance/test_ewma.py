"""PeakEWMA: fast ones get more, failing ones little, and everything fades."""

import dataclasses
import heapq
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsd import Instance
from asyncsd.balance import PeakEWMA
from asyncsd.balance._ewma import PeakEWMAPicker
from asyncsd.testing import FakeClock
from tests.unit.balance.support import instances

Finished = BaseException | None


class StillClock(FakeClock):
    """A FakeClock that can be moved without a loop: nobody sleeps on it."""

    def move(self, seconds: float) -> None:
        self._now += seconds


class World:
    """A picker, and calls that take as long as a test says."""

    def __init__(self, fit: Sequence[Instance], *, decay: float = 10.0, seed: int = 1) -> None:
        self.clock = StillClock()
        self.fit = fit
        self.picker: PeakEWMAPicker = PeakEWMA(decay).picker(clock=self.clock, rng=random.Random(seed))
        self.pick = self.picker.update(fit)

    async def call(self, instance: Instance, seconds: float, outcome: Finished = None) -> None:
        end = self.picker.begin(instance)
        await self.clock.advance(seconds)
        end(outcome)

    def latency(self, number: int = 0) -> float | None:
        return self.picker.loads()[number].latency

    async def sequence(
        self, calls: int, answer: Callable[[Instance], tuple[float, Finished]]
    ) -> Counter[str]:
        """One call after the other, each to the instance picked."""
        shares: Counter[str] = Counter()
        for _ in range(calls):
            instance = self.pick()
            shares[instance.id] += 1
            end = self.picker.begin(instance)
            seconds, outcome = answer(instance)
            self.clock.move(seconds)
            end(outcome)
        return shares

    async def stream(
        self, calls: int, every: float, answer: Callable[[Instance], tuple[float, Finished]]
    ) -> Counter[str]:
        """A call each so many seconds, whether those before have come back or not."""
        shares: Counter[str] = Counter()
        ends: list[tuple[float, int, Callable[[], None]]] = []
        for number in range(calls):
            while ends and ends[0][0] <= self.clock.time():
                heapq.heappop(ends)[2]()
            instance = self.pick()
            shares[instance.id] += 1
            seconds, outcome = answer(instance)
            end = partial(self.picker.begin(instance), outcome)
            heapq.heappush(ends, (self.clock.time() + seconds, number, end))
            self.clock.move(every)
        return shares


async def test_an_estimate_jumps_up_to_a_peak_and_comes_down_slowly() -> None:
    world = World(instances(1))
    assert world.latency() is None
    await world.call(world.fit[0], 0.1)
    assert world.latency() == pytest.approx(0.1)
    await world.call(world.fit[0], 0.5)
    assert world.latency() == pytest.approx(0.5)
    await world.call(world.fit[0], 0.1)
    # exp(-0.1 s / 10 s) of the old one, and the rest of the new one.
    assert world.latency() == pytest.approx(0.5 * 0.99005 + 0.1 * 0.00995, rel=1e-4)


async def test_what_is_not_measured_fades_by_the_decay() -> None:
    world = World(instances(1), decay=10.0)
    await world.call(world.fit[0], 1.0)
    await world.clock.advance(10.0)
    assert world.latency() == pytest.approx(1.0 * 0.367879, rel=1e-4)


async def test_estimates_hold_for_as_long_as_a_process_runs() -> None:
    """The exponent starts anew long before it overflows."""
    world = World(instances(2), decay=1.0)
    for _ in range(20):
        await world.clock.advance(150.0)
        await world.call(world.fit[0], 0.5)
        await world.call(world.fit[1], 1.0)
        assert world.latency(0) == pytest.approx(0.5 * 0.367879, rel=1e-4)
        assert world.latency(1) == pytest.approx(1.0)
        assert world.pick() is world.fit[0]


async def test_newcomers_of_one_list_are_alike_where_the_exponent_starts_anew_in_it() -> None:
    first, second, third, fourth, fifth = instances(5)
    world = World([first, third], decay=1.0)
    await world.call(first, 0.5)
    world.picker.update([third])
    world.picker.update([third, fourth])  # Nothing is known of the last one, nor by what it could go.
    await world.call(third, 0.5)
    await world.clock.advance(300.0)
    pick = world.picker.update([first, second, third, dataclasses.replace(fourth, weight=2), fifth])
    picked = Counter(pick().id for _ in range(400))
    assert picked[second.id] == pytest.approx(picked[fifth.id], rel=0.5)


async def test_calls_in_flight_multiply_the_latency() -> None:
    world = World(instances(2))
    await world.call(world.fit[0], 0.1)
    await world.call(world.fit[1], 0.35)
    for _ in range(3):
        assert world.pick() is world.fit[0]
        world.picker.begin(world.fit[0])
    assert world.pick() is world.fit[1]  # 0.1 * 4 > 0.35


async def test_a_fast_failure_counts_as_slow() -> None:
    world = World(instances(1))
    await world.call(world.fit[0], 0.001, OSError())
    assert world.latency() == pytest.approx(1.0)
    await world.call(world.fit[0], 3.0, OSError())
    assert world.latency() == pytest.approx(3.0)


async def test_a_call_that_was_given_up_took_at_least_so_long() -> None:
    world = World(instances(1))
    await world.call(world.fit[0], 1.0)
    await world.clock.advance(9.9)
    await world.call(world.fit[0], 0.1, KeyboardInterrupt())
    assert world.latency() == pytest.approx(1.0 * 0.367879, rel=1e-4)
    await world.call(world.fit[0], 2.0, KeyboardInterrupt())
    assert world.latency() == pytest.approx(2.0)


async def test_one_failing_instance_of_ten_gets_little() -> None:
    world = World(instances(10))
    broken = world.fit[3].id

    def answer(instance: Instance) -> tuple[float, Finished]:
        return (0.0001, OSError()) if instance.id == broken else (0.01, None)

    shares = await world.sequence(2_000, answer)
    assert shares[broken] <= 20
    assert min(share for name, share in shares.items() if name != broken) > 100


@pytest.mark.parametrize("count", [3, 10])
async def test_in_overload_calls_do_not_fall_on_what_refuses_them(count: int) -> None:
    """All that answers takes seconds and has many calls in flight; one refuses at once and has none."""
    world = World(instances(count))
    broken = world.fit[1].id

    def answer(instance: Instance) -> tuple[float, Finished]:
        return (0.001, OSError()) if instance.id == broken else (2.0, None)

    shares = await world.stream(4_000, 0.01, answer)
    assert shares[broken] <= 200


async def test_of_many_that_all_fail_the_one_that_recovers_is_found() -> None:
    world = World(instances(5))
    shares = await world.sequence(500, lambda each: (0.001, OSError()))
    assert len(shares) == 5
    assert all(load.latency is not None and load.latency <= 1_000.0 for load in world.picker.loads())
    well = world.fit[2].id
    shares = await world.sequence(100, lambda each: (0.001, None if each.id == well else OSError()))
    assert shares[well] > 30


async def test_a_slow_instance_gets_little_and_all_of_it_back_once_it_is_fast() -> None:
    world = World(instances(10), decay=1.0)
    slow = world.fit[3].id
    shares = await world.sequence(2_000, lambda each: (0.2 if each.id == slow else 0.01, None))
    assert shares[slow] <= 40
    await world.sequence(1_000, lambda each: (0.01, None))
    shares = await world.sequence(2_000, lambda each: (0.01, None))
    assert shares[slow] > 100


async def test_an_instance_that_hangs_draws_nothing_though_callers_give_up() -> None:
    world = World(instances(3))
    hung = world.fit[0].id

    def answer(instance: Instance) -> tuple[float, Finished]:
        return (0.5, KeyboardInterrupt()) if instance.id == hung else (0.01, None)

    shares = await world.sequence(300, answer)
    assert shares[hung] <= 3


async def test_a_newcomer_is_among_the_next_and_has_its_share_of_a_burst() -> None:
    fit = instances(3)
    world = World(fit[:2])
    for each in fit[:2]:
        await world.call(each, 0.05)
    pick = world.picker.update(fit)
    begun = Counter[Instance]()
    for _ in range(60):
        begun[instance := pick()] += 1
        world.picker.begin(instance)
    assert {count // 3 for count in begun.values()} <= {6, 7}


async def test_after_one_call_alone_a_burst_is_spread_over_all() -> None:
    fit = instances(3)
    world = World(fit)
    await world.call(fit[0], 0.001)
    pick = world.picker.update(fit)
    begun = Counter[Instance]()
    for _ in range(60):
        begun[instance := pick()] += 1
        world.picker.begin(instance)
    assert {count // 3 for count in begun.values()} <= {6, 7}


@pytest.mark.parametrize("count", [2, 4, 20])
async def test_picks_that_are_not_measured_do_not_all_fall_on_a_newcomer(count: int) -> None:
    fit = instances(count)
    world = World(fit[:-1])
    for each in fit[:-1]:
        await world.call(each, 0.05)
    pick = world.picker.update(fit)
    shares = Counter(pick().id for _ in range(1_000))
    assert 0 < shares[fit[-1].id] <= 600


@pytest.mark.parametrize("count", [2, 4, 20])
async def test_picks_after_a_single_measured_call_are_spread_over_all(count: int) -> None:
    fit = instances(count)
    world = World(fit)
    await world.call(world.pick(), 0.05)
    shares = Counter(world.pick().id for _ in range(100 * count))
    assert len(shares) == count
    assert max(shares.values()) < 200


async def test_a_newcomer_is_not_left_out_beside_one_that_is_much_faster() -> None:
    fit = instances(3)
    world = World(fit[:2])
    await world.sequence(1_000, lambda each: (0.001 if each is fit[0] else 0.1, None))
    world.pick = world.picker.update(fit)
    rng = random.Random(2)
    shares = await world.sequence(5_000, lambda each: (0.001 * rng.lognormvariate(0, 0.2), None))
    assert shares[fit[2].id] > 500


async def test_a_newcomer_takes_over_from_those_that_fail() -> None:
    fit = instances(3)
    world = World(fit[:2])
    failing = set(fit[:2])
    await world.sequence(10, lambda each: (0.001, OSError()))
    world.pick = world.picker.update(fit)
    shares = await world.sequence(100, lambda each: (0.001, OSError() if each in failing else None))
    assert shares[fit[2].id] >= 97


def test_newcomers_share_evenly_from_the_first_moment() -> None:
    world = World(instances(4))
    for _ in range(40):
        world.picker.begin(world.pick())
    assert [load.in_flight for load in world.picker.loads()] == [10, 10, 10, 10]


async def test_a_heavier_instance_gets_more_of_equals() -> None:
    world = World(instances(2, weights=[1, 3]))
    for each in world.fit:
        await world.call(each, 0.1)
    for _ in range(40):
        world.picker.begin(world.pick())
    light, heavy = (load.in_flight for load in world.picker.loads())
    assert 2.4 < heavy / light < 3.8


async def test_an_instance_that_flaps_keeps_its_record_for_a_minute() -> None:
    fit = instances(3)
    world = World(fit, decay=1_000.0)
    await world.call(fit[0], 0.001, OSError())
    world.picker.update(fit[1:])
    await world.clock.advance(50.0)
    world.picker.update(fit)
    assert world.latency() == pytest.approx(1.0, rel=0.1)
    world.picker.update(fit[1:])
    await world.clock.advance(61.0)
    world.picker.update(fit[1:])
    world.picker.update(fit)
    assert world.latency() is None


@given(
    outcomes=st.lists(
        st.tuples(st.integers(0, 4), st.floats(0, 500), st.sampled_from([None, OSError(), GeneratorExit()]))
    )
)
def test_nothing_that_calls_do_leaves_load_behind(outcomes: list[tuple[int, float, Finished]]) -> None:
    world = World(instances(5))
    ends = [(world.picker.begin(world.fit[number]), seconds, out) for number, seconds, out in outcomes]
    for end, seconds, outcome in ends:
        world.clock.move(seconds)
        end(outcome)
        assert world.pick() in world.fit
    assert all(load.in_flight == 0 for load in world.picker.loads())
    assert all(load.latency is None or 0 <= load.latency <= 1e6 for load in world.picker.loads())


def test_bad_values_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"PeakEWMA\.decay"):
        PeakEWMA(decay=0)
    with pytest.raises(ValueError, match=r"PeakEWMA\.penalty"):
        PeakEWMA(penalty=-1.0)


@given(
    calls=st.lists(
        st.tuples(st.floats(0, 30.0), st.sampled_from((None, OSError(), KeyboardInterrupt()))), max_size=30
    )
)
def test_an_estimate_is_the_moving_average_that_it_says_and_taking_is_picking_and_beginning(
    calls: list[tuple[float, Finished]],
) -> None:
    """Beside the plain formula, with the estimate kept in seconds and faded at each measurement."""
    one, other = World(instances(3), seed=7), World(instances(3), seed=7)
    plain: dict[str, tuple[float, float]] = {}
    for seconds, outcome in calls:
        instance, end = one.picker.take()
        picked = other.pick()
        assert instance is one.fit[other.fit.index(picked)]
        ends = other.picker.begin(picked)
        one.clock.move(seconds)
        other.clock.move(seconds)
        end(outcome)
        ends(outcome)
        assert one.picker.loads() == other.picker.loads()
        now = one.clock.time()
        latency, seen_at = plain.get(instance.id, (0.0, now))
        weight = math.exp((seen_at - now) / 10.0)
        failed = max(1.0, min(2 * latency * weight, 1_000.0))
        measured = max(seconds, failed if isinstance(outcome, Exception) else 1e-6)
        if measured >= latency * weight:
            plain[instance.id] = measured, now
        elif outcome is None:
            plain[instance.id] = latency * weight + measured * (1 - weight), now
        for load in one.picker.loads():
            if load.instance.id in plain:
                latency, seen_at = plain[load.instance.id]
                assert load.latency == pytest.approx(latency * math.exp((seen_at - now) / 10.0), rel=1e-6)
