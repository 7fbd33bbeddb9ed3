"""Random: by chance, as the weights say."""

from collections import Counter

from asyncsd.balance import Random
from tests.unit.balance.support import instances, picker


def test_each_is_as_likely() -> None:
    made = picker(Random(), instances(10))
    shares = Counter(made.pick().id for _ in range(10_000))
    assert len(shares) == 10
    assert all(850 < share < 1_150 for share in shares.values())


def test_each_is_as_likely_as_its_weight_says() -> None:
    made = picker(Random(), instances(3, weights=[1, 3, 6]))
    shares = Counter(made.pick().weight for _ in range(10_000))
    assert 850 < shares[1] < 1_150
    assert 2_750 < shares[3] < 3_250
    assert 5_750 < shares[6] < 6_250


def test_excluded_ones_are_picked_only_if_there_is_no_other() -> None:
    fit = instances(3)
    made = picker(Random(), fit)
    assert {made.pick(exclude=fit[:1]).id for _ in range(100)} == {fit[1].id, fit[2].id}
    assert made.pick(exclude=fit) in fit
