"""How busy each instance is, and the choice of the least busy of a few."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import permutations
from typing import Generic, NamedTuple, TypeVar

from asyncsd._models import Instance, identity
from asyncsd._protocols import Clock

__all__ = ["InstanceLoad", "Load", "LoadTable", "Taking", "least"]

FEW = 4
"""Up to so many are all compared: two of them by chance leave out the best too often (apache/brpc#3340)."""
KEEP = 60.0
"""Seconds for which an instance that went is remembered: a flapping one keeps its record."""


class InstanceLoad(NamedTuple):
    """What a policy knows of an instance."""

    instance: Instance
    in_flight: int
    latency: float | None
    """The policy's estimate in seconds, None where it has none."""


class Taking(ABC):
    """A Picker whose pick and begin are one, at less cost, and which counts the calls until they end.

    To be inherited: one that holds such a Picker, and hands on what it doesn't have, is none by that.
    """

    __slots__ = ()

    @abstractmethod
    def take(self) -> tuple[Instance, Callable[[BaseException | None], None]]: ...

    @property
    @abstractmethod
    def in_flight(self) -> int: ...


class Load:
    """The load of one instance. Whatever changes it sets `cost` anew, so that a pick just compares."""

    __slots__ = ("cost", "gone_at", "in_flight", "instance")

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.in_flight = 0
        self.cost = 0.0
        self.gone_at: float | None = None


L = TypeVar("L", bound=Load)


class LoadTable(Generic[L]):
    """The loads of a list of instances, kept by id and address: they survive every refresh of the list.

    `price` sets the cost of a load whose instance changed, its weight perhaps.
    """

    __slots__ = ("_clock", "_make", "_price", "_rng", "choose", "current", "known")

    def __init__(
        self, make: Callable[[Instance], L], price: Callable[[L], None], clock: Clock, rng: random.Random
    ) -> None:
        self._make = make
        self._price = price
        self._clock = clock
        self._rng = rng
        self.known: dict[tuple[str, str, int], L] = {}
        """By identity, those that went a while ago included."""
        self.current: list[L] = []
        """Those that can be picked, in order."""
        self.choose: Callable[[], L] = least((), rng)
        """The least busy of those in `current`."""

    def update(self, instances: Sequence[Instance]) -> Callable[[], Instance]:
        """Choose among these from now on; returns the function that does.

        What stands unchanged at both ends of the list is taken over as it is: of a long list that one
        instance joined, only that one is looked up.
        """
        now = self._clock.time()
        before = self.current
        head = _alike(before, instances)
        tail = _alike(reversed(before[head:]), reversed(instances[head:]))
        for load in before[head : len(before) - tail]:
            load.gone_at = now
        middle = [self._load(instance) for instance in instances[head : len(instances) - tail]]
        self.current = before[:head] + middle + before[len(before) - tail :]
        if len(self.known) > len(self.current):
            self._forget(now)
        self.choose = choose = least(self.current, self._rng)
        return lambda: choose().instance

    def _load(self, instance: Instance) -> L:
        key = identity(instance)
        if key not in self.known:
            self.known[key] = self._make(instance)
        load = self.known[key]
        load.gone_at = None
        if load.instance is not instance:
            load.instance = instance
            self._price(load)
        return load

    def _forget(self, now: float) -> None:
        for key, load in list(self.known.items()):
            if load.gone_at is not None and now - load.gone_at > KEEP and not load.in_flight:
                del self.known[key]

    @property
    def in_flight(self) -> int:
        """Calls in flight, those to instances that went included."""
        return sum(load.in_flight for load in self.known.values())

    def pick(self, exclude: Sequence[Instance]) -> Instance:
        """The least busy one, none of `exclude` if there is another."""
        if not exclude:
            return self.choose().instance
        excluded = set(map(identity, exclude))
        others = [load for load in self.current if identity(load.instance) not in excluded]
        return least(others or self.current, self._rng)().instance


def _alike(loads: Iterable[Load], instances: Iterable[Instance]) -> int:
    """How many of the first are the same objects."""
    count = 0
    for load, instance in zip(loads, instances, strict=False):
        if load.instance is not instance:
            break
        count += 1
    return count


def least(loads: Sequence[L], rng: random.Random) -> Callable[[], L]:
    """The function that gives the cheapest of `loads`: of all if there are few, else of two drawn by chance.

    Two choices are nearly as good as all of them, at a cost that doesn't grow (M. Mitzenmacher, "The Power
    of Two Choices in Randomized Load Balancing", 2001), and a herd of clients doesn't find the same best.
    """
    count = len(loads)
    chance = rng.random
    if count > FEW:
        others = count - 1

        def best_of_two() -> L:
            # One draw for both: its whole part is the one, its fraction the other.
            point = chance() * count
            first = int(point)
            second = int((point - first) * others)
            if second >= first:
                second += 1
            one = loads[first]
            two = loads[second]
            return one if one.cost <= two.cost else two

        return best_of_two

    # In a random order, so that of several at the least cost each is as likely.
    orders = list(permutations(loads))
    number = len(orders)

    def best_of_few() -> L:
        order = orders[int(chance() * number)]
        best = order[0]
        for load in order:
            if load.cost < best.cost:
                best = load
        return best

    return best_of_few
