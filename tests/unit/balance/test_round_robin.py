"""Round robin: exact shares, spread weights, and a place that is kept."""

import random
from collections import Counter
from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from asyncsd import Instance
from asyncsd.balance import RoundRobin
from asyncsd.testing import FakeClock
from tests.unit.balance.support import instances, picker


@given(count=st.integers(1, 20), rounds=st.integers(1, 5), seed=st.integers())
def test_shares_are_exactly_even(count: int, rounds: int, seed: int) -> None:
    fit = instances(count)
    made = picker(RoundRobin(), fit, seed=seed)
    assert Counter(made.pick().id for _ in range(count * rounds)) == {each.id: rounds for each in fit}


def test_a_fleet_of_clients_does_not_begin_with_the_same_instance() -> None:
    fit = instances(10)
    first = Counter(picker(RoundRobin(), fit, seed=seed).pick().id for seed in range(1_000))
    assert len(first) == 10
    assert max(first.values()) < 150


def test_plain_picks_and_those_that_exclude_share_the_turns() -> None:
    fit = instances(4)
    made = RoundRobin().picker(clock=FakeClock(), rng=random.Random(1))
    plain = made.update(fit)
    picked = [plain(), made.pick(), plain(), made.pick()]
    assert {each.id for each in picked} == {each.id for each in fit}


@given(weights=st.lists(st.integers(0, 12), min_size=1, max_size=12).filter(any), seed=st.integers())
def test_weights_are_exact_shares_of_a_period(weights: list[int], seed: int) -> None:
    made = picker(RoundRobin(), instances(len(weights), weights=weights), seed=seed)
    shares = Counter(made.pick().weight for _ in range(sum(weights)))
    expected: Counter[int] = Counter()
    for weight in weights:
        expected[weight] += weight
    # A common divisor makes the period shorter, and the shares are exact in each of them.
    assert shares == {weight: turns for weight, turns in expected.items() if turns}


def test_weighted_turns_are_spread_and_no_bursts() -> None:
    made = picker(RoundRobin(), instances(3, weights=[4, 2, 2]))
    turns = [made.pick().id for _ in range(80)]
    assert all(len(list(run)) == 1 for _, run in groupby(turns))
    made = picker(RoundRobin(), instances(4, weights=[3, 1, 1, 1]))
    turns = [made.pick().id for _ in range(60)]
    assert max(len(list(run)) for _, run in groupby(turns)) <= 2
    made = picker(RoundRobin(), instances(2, weights=[50, 50_000]))
    weights = [made.pick().weight for _ in range(10_010)]
    assert weights.count(50) in (9, 10, 11)
    assert all(len(list(run)) == 1 for weight, run in groupby(weights) if weight == 50)


def test_a_period_has_its_limit_whatever_the_weights() -> None:
    fit = instances(3, weights=[65_535, 65_534, 1])
    made = picker(RoundRobin(), fit)
    shares = Counter(made.pick().id for _ in range(8_194))
    assert abs(shares[fit[0].id] - shares[fit[1].id]) <= 4
    assert 1 <= shares[fit[2].id] <= 3


def test_the_place_is_kept_when_the_list_changes() -> None:
    fit = instances(10)
    made = picker(RoundRobin(), fit)
    last = made.pick()
    at = fit.index(last)
    made.update(fit)
    assert made.pick() == fit[(at + 1) % 10]
    upcoming = fit[(at + 2) % 10]
    made.update([each for each in fit if each != upcoming])
    assert made.pick() == fit[(at + 3) % 10]


def test_no_turn_is_lost_to_a_list_that_changes_all_the_time() -> None:
    fit = instances(10)
    made = picker(RoundRobin(), fit)
    shares: Counter[str] = Counter()
    for _ in range(100):
        made.update(list(fit))
        shares[made.pick().id] += 1
    assert set(shares.values()) == {10}


def test_an_empty_list_and_a_new_one_begin_again() -> None:
    made = picker(RoundRobin(), instances(3))
    made.update([])
    made.update(instances(1))
    assert made.pick() == instances(1)[0]


def test_exclusion_is_by_id_and_address_and_falls_back_when_all_are_excluded() -> None:
    fit = instances(3)
    made = picker(RoundRobin(), fit)
    changed = [Instance(each.id, each.service, each.host, each.port, tags=("new",)) for each in fit]
    assert all(made.pick(exclude=changed[:2]) == fit[2] for _ in range(10))
    assert made.pick(exclude=fit) in fit


def test_policies_are_compared_by_value() -> None:
    assert RoundRobin() == RoundRobin()
    assert hash(RoundRobin()) == hash(RoundRobin())
    assert repr(RoundRobin()) == "RoundRobin()"
