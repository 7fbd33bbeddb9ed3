"""Any instance, by chance."""

import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from asyncsd._models import Instance, identity
from asyncsd._protocols import Clock

__all__ = ["Random"]


@dataclass(frozen=True, slots=True)
class Random:
    """Any instance, each as likely as its weight says. Load and latency play no part."""

    def picker(self, *, clock: Clock, rng: random.Random) -> "RandomPicker":
        return RandomPicker(rng)


class RandomPicker:
    __slots__ = ("_instances", "_next", "_rng")

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._instances: Sequence[Instance] = ()
        self._next = drawing((), rng)

    def update(self, instances: Sequence[Instance]) -> Callable[[], Instance]:
        self._instances = instances
        self._next = drawing(instances, self._rng)
        return self._next

    def pick(self, exclude: Sequence[Instance] = (), key: object = None) -> Instance:
        if not exclude:
            return self._next()
        excluded = set(map(identity, exclude))
        others = [instance for instance in self._instances if identity(instance) not in excluded]
        return drawing(others or self._instances, self._rng)()

    def begin(self, instance: Instance) -> None:
        return None


def drawing(instances: Sequence[Instance], rng: random.Random) -> Callable[[], Instance]:
    """The function that draws one of `instances`."""
    chance = rng.random
    count = len(instances)
    weights = [instance.weight for instance in instances]
    if len(set(weights)) < 2:
        return lambda: instances[int(chance() * count)]
    bounds = list(accumulate(weights))
    total = bounds[-1]
    return lambda: instances[bisect_right(bounds, chance() * total)]
