"""The instance with the least expected wait."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp

from asyncsd._models import Instance, identity
from asyncsd._protocols import Clock
from asyncsd._values import duration

from ._load import InstanceLoad, Load, LoadTable, Taking

__all__ = ["PeakEWMA"]

LEAST = 1e-6
"""Seconds: what a clock can't tell from nothing is still a measurement."""
WORST = 1_000.0
"""How many penalties the failures of one that is picked nevertheless come to."""
MOST_EXPONENT = 200.0
"""Far from where exp() overflows, at 709."""


@dataclass(frozen=True, slots=True)
class PeakEWMA:
    """The instance with the least latency times calls in flight: of two drawn by chance, of all if up to 4.

    Latency is an exponentially weighted moving average over about `decay` seconds which jumps up to a peak
    at once and comes down slowly (Finagle's PeakEwma; tower's `load::peak_ewma`). A failure counts as a call
    of at least `penalty` seconds: an instance that fails fast isn't a fast one (linkerd/linkerd2-proxy#4537).
    It counts as twice of what was expected where that is more: when all others are so slow, or so busy, that
    it looks good nevertheless, calls don't fall on what fails. A call that was given up took at least as long
    as it ran.

    What isn't measured again fades, so one that was slow is tried again in time. A newcomer counts as the
    fastest that is known, and so gets its share at once. Before anything is known, each gets a second call
    only once its first has come back, or the others are as busy as `penalty` says.
    """

    decay: float = 10.0
    penalty: float = 1.0

    def __post_init__(self) -> None:
        duration("PeakEWMA.decay", self.decay)
        duration("PeakEWMA.penalty", self.penalty)

    def picker(self, *, clock: Clock, rng: random.Random) -> "PeakEWMAPicker":
        return PeakEWMAPicker(self.decay, self.penalty, clock, rng)


class LatencyLoad(Load):
    """`scaled` is the estimated latency, times the weight of its moment (see PeakEWMAPicker)."""

    __slots__ = ("default", "scaled", "seen", "step")

    def __init__(self, instance: Instance, default: float) -> None:
        super().__init__(instance)
        self.default = default
        """What stands for `scaled` until it is measured."""
        self.cost = self.step = default / (instance.weight or 1)
        """`step` is what each call in flight adds to `cost`."""
        self.scaled = 0.0
        self.seen = 0.0
        """The weight of the moment when it was measured last."""


class PeakEWMAPicker(Taking):
    """Keeps estimates that fade by themselves, and that no pick has to fade.

    All fade at one rate, so which of two is less doesn't depend on the time of the question. Kept as
    `latency * exp((t - start) / decay)`, t being when it was measured, they compare as they are, without a
    clock (G. Cormode et al., "Forward Decay", 2009). `start` moves before the exponent grows large.
    """

    __slots__ = ("_decay", "_default", "_penalty", "_start", "_table", "_time", "_untried")

    def __init__(self, decay: float, penalty: float, clock: Clock, rng: random.Random) -> None:
        self._decay = decay
        self._penalty = penalty
        self._time = clock.time
        self._start = clock.time()
        self._table = LoadTable(self._newcomer, self._reprice, clock, rng)
        self._default: float | None = None
        self._untried = True
        """Whether no call has succeeded yet."""

    def update(self, instances: Sequence[Instance]) -> Callable[[], Instance]:
        self._default = None
        return self._table.update(instances)

    def _newcomer(self, instance: Instance) -> LatencyLoad:
        """As good as the fastest: were it better, picks that aren't measured would all fall on it."""
        if self._default is None:
            measured = (load.scaled for load in self._table.current if load.scaled)
            self._default = min(measured, default=0.0)
        return LatencyLoad(instance, self._default)

    def pick(self, exclude: Sequence[Instance] = (), key: object = None) -> Instance:
        return self._table.pick(exclude)

    def begin(self, instance: Instance) -> Callable[[BaseException | None], None]:
        return self._begin(self._table.known[identity(instance)])

    def take(self) -> tuple[Instance, Callable[[BaseException | None], None]]:
        load = self._table.choose()
        return load.instance, self._begin(load)

    def _begin(self, load: LatencyLoad) -> Callable[[BaseException | None], None]:
        load.in_flight += 1
        began = self._time()
        if load.step:
            load.cost += load.step
        else:
            self._price(load, began)

        # This is on the way of every call, so nothing that can stand here is called.
        def end(error: BaseException | None) -> None:
            now = self._time()
            latency = now - began
            exponent = (now - self._start) / self._decay
            growth = exp(exponent) if exponent < MOST_EXPONENT else self._growth(now)
            if error is not None and isinstance(error, Exception):
                twice = min(2 * load.scaled / growth, WORST * self._penalty)
                latency = max(latency, self._penalty, twice)
            elif latency < LEAST:
                latency = LEAST
            scaled = latency * growth
            if scaled >= load.scaled:
                load.scaled = scaled
                load.seen = growth
            elif error is None:
                # Of the old one `seen / growth`, exp((seen_at - now) / decay); the rest is the new one.
                load.scaled += latency * (growth - load.seen)
                load.seen = growth
            load.in_flight -= 1
            load.step = load.scaled / (load.instance.weight or 1)
            load.cost = load.step * (load.in_flight + 1)
            if self._untried and error is None:
                self._untried = False
                self._default_to(load.scaled, now)

        return end

    def _default_to(self, scaled: float, now: float) -> None:
        """Price those that aren't measured, as newcomers are from now on."""
        for load in self._table.known.values():
            if not load.scaled:
                load.default = scaled
                self._price(load, now)

    @property
    def in_flight(self) -> int:
        return self._table.in_flight

    def loads(self) -> tuple[InstanceLoad, ...]:
        growth = self._growth(self._time())
        return tuple(
            InstanceLoad(load.instance, load.in_flight, load.scaled / growth if load.scaled else None)
            for load in self._table.current
        )

    def _price(self, load: LatencyLoad, now: float) -> None:
        known = load.scaled or load.default  # A newcomer: as good as the fastest.
        if known:
            load.step = known / (load.instance.weight or 1)
            load.cost = load.step * (load.in_flight + 1)
        else:  # Nothing is known of any: dear from its first call on until that is answered.
            cost = self._penalty * load.in_flight * self._growth(now)
            load.cost = cost / (load.instance.weight or 1)

    def _reprice(self, load: LatencyLoad) -> None:
        self._price(load, self._time())

    def _growth(self, now: float) -> float:
        """The weight of this moment."""
        exponent = (now - self._start) / self._decay
        if exponent > MOST_EXPONENT:
            self._start = now
            shrink = exp(-exponent)
            if self._default is not None:
                self._default *= shrink
            for load in self._table.known.values():
                load.default *= shrink
                load.scaled *= shrink
                load.seen *= shrink
                load.step *= shrink
                load.cost *= shrink
            return 1.0
        return exp(exponent)
