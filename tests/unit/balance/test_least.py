"""The fewest calls in flight, and the choice of two."""

import dataclasses
import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from asyncsd import Instance
from asyncsd.balance import LeastOutstanding
from asyncsd.balance._load import Load, least
from asyncsd.testing import FakeClock
from tests.unit.balance.support import instances, picker


def loads(costs: list[float]) -> list[Load]:
    made = [Load(instance) for instance in instances(len(costs))]
    for load, cost in zip(made, costs, strict=True):
        load.cost = cost
    return made


@given(costs=st.lists(st.floats(0, 1e6), min_size=1, max_size=4), seed=st.integers())
def test_of_a_few_the_least_is_picked_always(costs: list[float], seed: int) -> None:
    made = loads(costs)
    assert least(made, random.Random(seed))().cost == min(costs)


@given(costs=st.lists(st.floats(0, 1e6), min_size=5, max_size=50, unique=True), seed=st.integers())
def test_of_many_the_worst_is_never_picked(costs: list[float], seed: int) -> None:
    """Two different ones are drawn, so the worst has always a better beside it."""
    made = loads(costs)
    choose = least(made, random.Random(seed))
    worst = max(made, key=lambda load: load.cost)
    assert all(choose() is not worst for _ in range(50))


def test_every_pair_is_as_likely() -> None:
    """With costs 0, 1, 2 ... the share of rank k is that of the pairs in which it is the least."""
    choose = least(loads([float(rank) for rank in range(6)]), random.Random(1))
    shares = Counter(choose().instance.id for _ in range(15_000))
    for rank, instance in enumerate(instances(6)):
        assert abs(shares[instance.id] - 1_000 * (5 - rank)) < 250


def test_of_equals_each_is_as_likely() -> None:
    for count in (2, 3, 4, 7):
        choose = least(loads([1.0] * count), random.Random(1))
        shares = Counter(choose().instance.id for _ in range(1_000 * count))
        assert len(shares) == count
        assert all(850 < share < 1_150 for share in shares.values())
    choose = least(loads([0.0, 5.0, 0.0]), random.Random(1))
    shares = Counter(choose().instance.id for _ in range(2_000))
    assert len(shares) == 2
    assert all(850 < share < 1_150 for share in shares.values())


def test_calls_in_flight_are_spread_evenly_and_come_back() -> None:
    fit = instances(3)
    made = LeastOutstanding().picker(clock=FakeClock(), rng=random.Random(1))
    pick = made.update(fit)
    ends = []
    for _ in range(30):
        end = made.begin(pick())
        assert end is not None
        ends.append(end)
    assert [load.in_flight for load in made.loads()] == [10, 10, 10]
    for end, outcome in zip(ends, [None, OSError(), KeyboardInterrupt()] * 10, strict=True):
        end(outcome)
    assert [load.in_flight for load in made.loads()] == [0, 0, 0]


def test_twice_the_weight_has_twice_the_calls_in_flight() -> None:
    made = LeastOutstanding().picker(clock=FakeClock(), rng=random.Random(1))
    pick = made.update(instances(3, weights=[1, 2, 3]))
    for _ in range(60):
        made.begin(pick())
    assert [load.in_flight for load in made.loads()] == [10, 20, 30]


def test_a_new_weight_counts_for_the_calls_that_are_in_flight() -> None:
    fit = instances(2)
    made = LeastOutstanding().picker(clock=FakeClock(), rng=random.Random(1))
    made.update(fit)
    made.begin(fit[0])
    made.begin(fit[1])
    pick = made.update([fit[0], dataclasses.replace(fit[1], weight=2)])
    assert {pick().id for _ in range(20)} == {fit[1].id}


def test_calls_in_flight_survive_a_new_list_and_new_objects() -> None:
    fit = instances(2)
    made = LeastOutstanding().picker(clock=FakeClock(), rng=random.Random(1))
    made.update(fit)
    end = made.begin(fit[0])
    pick = made.update([Instance(each.id, each.service, each.host, each.port, tags=("v2",)) for each in fit])
    assert [load.in_flight for load in made.loads()] == [1, 0]
    assert pick().tags == ("v2",)
    assert pick().id == fit[1].id
    end(None)
    assert [load.in_flight for load in made.loads()] == [0, 0]


async def test_what_went_is_remembered_for_a_minute_or_while_it_is_called() -> None:
    clock = FakeClock()
    fit = instances(6)
    made = LeastOutstanding().picker(clock=clock, rng=random.Random(1))
    made.update(fit)
    ends = [made.begin(each) for each in fit[:2]]
    made.update(fit[2:])
    await clock.advance(30.0)
    made.update(fit)
    assert [load.in_flight for load in made.loads()][:2] == [1, 1]
    made.update(fit[2:])
    ends[0](None)
    await clock.advance(61.0)
    made.update(fit[2:])
    table = made._table.known
    assert {load.instance.id for load in table.values()} == {each.id for each in fit[1:]}
    ends[1](None)
    made.update(fit[2:])
    assert len(table) == 4


@given(
    lists=st.lists(st.lists(st.integers(0, 9), unique=True).map(sorted), min_size=2, max_size=6),
    renewed=st.sets(st.integers(0, 9)),
)
def test_a_list_is_what_was_given_whatever_stood_before(lists: list[list[int]], renewed: set[int]) -> None:
    made = LeastOutstanding().picker(clock=FakeClock(), rng=random.Random(1))
    known = instances(10)
    counts: Counter[str] = Counter()
    for numbers in lists:
        for number in renewed & set(numbers):
            known[number] = dataclasses.replace(known[number])
        fit = [known[number] for number in numbers]
        made.update(fit)
        assert [load.instance for load in made.loads()] == fit
        assert all(load.instance is each for load, each in zip(made.loads(), fit, strict=True))
        assert [load.in_flight for load in made.loads()] == [counts[each.id] for each in fit]
        if fit:
            made.begin(fit[0])
            counts[fit[0].id] += 1


def test_excluded_ones_are_picked_only_if_there_is_no_other() -> None:
    fit = instances(8)
    made = picker(LeastOutstanding(), fit)
    assert {made.pick(exclude=fit[:-1]).id for _ in range(50)} == {fit[-1].id}
    assert made.pick(exclude=fit) in fit
