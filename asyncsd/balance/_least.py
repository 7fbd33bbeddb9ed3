"""The instance with the fewest calls in flight."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from asyncsd._models import Instance, identity
from asyncsd._protocols import Clock

from ._load import InstanceLoad, Load, LoadTable, Taking

__all__ = ["LeastOutstanding"]


@dataclass(frozen=True, slots=True)
class LeastOutstanding:
    """The instance with the fewest calls in flight: of two drawn by chance, of all if there are up to 4.

    For calls that differ much in what they cost. Weights count: twice the weight, twice the calls in
    flight. Of several that have the fewest each is as likely. An instance that fails fast has few calls in
    flight and so draws more: where that can happen, use PeakEWMA.
    """

    def picker(self, *, clock: Clock, rng: random.Random) -> "LeastOutstandingPicker":
        return LeastOutstandingPicker(clock, rng)


class LeastOutstandingPicker(Taking):
    __slots__ = ("_table",)

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._table = LoadTable(Load, _price, clock, rng)

    def update(self, instances: Sequence[Instance]) -> Callable[[], Instance]:
        return self._table.update(instances)

    def pick(self, exclude: Sequence[Instance] = (), key: object = None) -> Instance:
        return self._table.pick(exclude)

    def begin(self, instance: Instance) -> Callable[[BaseException | None], None]:
        return _begin(self._table.known[identity(instance)])

    def take(self) -> tuple[Instance, Callable[[BaseException | None], None]]:
        load = self._table.choose()
        return load.instance, _begin(load)

    @property
    def in_flight(self) -> int:
        return self._table.in_flight

    def loads(self) -> tuple[InstanceLoad, ...]:
        return tuple(InstanceLoad(load.instance, load.in_flight, None) for load in self._table.current)


def _begin(load: Load) -> Callable[[BaseException | None], None]:
    load.in_flight += 1
    _price(load)
    return partial(_end, load)


def _end(load: Load, _: BaseException | None) -> None:
    load.in_flight -= 1
    _price(load)


def _price(load: Load) -> None:
    load.cost = load.in_flight / (load.instance.weight or 1)
