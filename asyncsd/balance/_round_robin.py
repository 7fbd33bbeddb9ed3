"""Each instance in its turn."""

import random
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from math import gcd

from asyncsd._models import Instance, identity
from asyncsd._protocols import Clock

__all__ = ["RoundRobin"]

LONGEST_PERIOD = 4096


@dataclass(frozen=True, slots=True)
class RoundRobin:
    """Every instance in its turn: exactly even shares.

    Where the instances' weights differ, each has as many turns in a period as its weight, spread over the
    period and not in bursts. Each balancer starts at a random turn, so that a fleet of clients doesn't begin
    with the same instance, and keeps its place when the list changes. Load and latency play no part.
    """

    def picker(self, *, clock: Clock, rng: random.Random) -> "RoundRobinPicker":
        return RoundRobinPicker(rng)


class RoundRobinPicker:
    """Goes round the turns of a period by `itertools.cycle`: no pick runs more than one step in C."""

    __slots__ = ("_next", "_period", "_rng")

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._period = 0
        self._next: Callable[[], Instance] = iter(()).__next__

    def update(self, instances: Sequence[Instance]) -> Callable[[], Instance]:
        turns = schedule(instances)
        start = self._place(instances, turns)
        self._period = len(turns)
        self._next = cycle(turns[start:] + turns[:start]).__next__
        return self._next

    def _place(self, instances: Sequence[Instance], turns: list[Instance]) -> int:
        """Where in `turns` to go on: at the instance whose turn it is, or the one that follows it."""
        if not turns:
            return 0
        if not self._period:
            return self._rng.randrange(len(turns))
        at = bisect_left(instances, identity(self._next()), key=identity)
        following = instances[at % len(instances)]
        return next((turn for turn, instance in enumerate(turns) if instance is following), 0)

    def pick(self, exclude: Sequence[Instance] = (), key: object = None) -> Instance:
        instance = self._next()
        if exclude:
            excluded = set(map(identity, exclude))
            for _ in range(self._period):
                if identity(instance) not in excluded:
                    break
                instance = self._next()
        return instance

    def begin(self, instance: Instance) -> None:
        return None


def schedule(instances: Sequence[Instance]) -> list[Instance]:
    """The turns of one period: each instance as often as its weight, evenly spread.

    By earliest deadline first: turn k of an instance of weight w is due at `(k + phase) / w`, and the phases
    are staggered, so that equal weights come in order. A period of more than 4,096 turns is scaled down to
    about that length, and shares are then as exact as it allows.
    """
    weights = [instance.weight for instance in instances]
    if len(set(weights)) < 2:
        return list(instances)
    divisor = gcd(*weights)
    weights = [weight // divisor for weight in weights]
    total = sum(weights)
    longest = max(LONGEST_PERIOD, len(instances))
    if total > longest:
        weights = [max(1, round(weight * longest / total)) for weight in weights]
    count = len(instances)
    due = [
        ((turn + (index + 0.5) / count) / weight, index)
        for index, weight in enumerate(weights)
        for turn in range(weight)
    ]
    return [instances[index] for _, index in sorted(due)]
