"""Picks of every policy, beside what one would write by hand, and beside go-kit's.

go-kit's are timed by a program in Go that takes its turn in each round. The Python clients of Consul have no
balancer.
"""

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from _measure import Async, Figure, Report, Sync, figure, measure, measure_async, run
from _servers import find

from asyncsd import Event, Instance, Policy, Query, Retry, Snapshot
from asyncsd.balance import Balancer, LeastOutstanding, PeakEWMA, Random, RoundRobin

SIZES = (3, 100, 1_000, 10_000)
HELD_SIZES = (3, 100, 10_000)
POLICIES: tuple[Policy, ...] = (RoundRobin(), Random(), LeastOutstanding(), PeakEWMA())
HELD_MOST = 2_000
"""Nanoseconds that a call which is held may cost more than a pick."""


def made(count: int) -> Event:
    query = Query("users")
    instances = [
        Instance(f"users-{number:05}", "users", f"10.0.{number // 250}.{number % 250}", 8080)
        for number in range(count)
    ]
    return Event(query, Snapshot.of(query, instances))


def fed(policy: Policy, event: Event) -> Balancer[Instance]:
    balancer = Balancer(policy)
    balancer.feed(event)
    return balancer


class ListAndCounter:
    """The round robin that one writes by hand."""

    def __init__(self, instances: Sequence[Instance]) -> None:
        self.instances = instances
        self.index = 0

    def pick(self) -> Instance:
        index = self.index
        self.index = (index + 1) % len(self.instances)
        return self.instances[index]


class Loaded:
    __slots__ = ("instance", "load")

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.load = 0.0


class TwoChoices:
    """The less loaded of two, drawn by one `random()`."""

    def __init__(self, instances: Sequence[Instance]) -> None:
        self.loaded = [Loaded(instance) for instance in instances]

    def pick(self) -> Instance:
        count = len(self.loaded)
        point = random.random() * count
        first = int(point)
        second = int((point - first) * (count - 1))
        if second >= first:
            second += 1
        one, two = self.loaded[first], self.loaded[second]
        return one.instance if one.load <= two.load else two.instance


def picks(event: Event) -> dict[str, Sync]:
    assert event.snapshot is not None
    instances = event.snapshot.instances
    candidates: dict[str, Sync] = {
        "next(cycle)": itertools.cycle(instances).__next__,
        "list and counter": ListAndCounter(instances).pick,
        "two choices": TwoChoices(instances).pick,
    }
    for policy in POLICIES:
        balancer = fed(policy, event)
        candidates[type(policy).__name__] = balancer.pick
    return candidates


PICK_FLOORS = {
    "RoundRobin": "list and counter",
    "Random": "list and counter",
    "LeastOutstanding": "two choices",
    "PeakEWMA": "two choices",
}
PICK_GOALS = {"RoundRobin": 1.5, "PeakEWMA": 2.5}


class GoKit:
    """The program that times go-kit's balancers; without it, there are no figures of them."""

    def __init__(self, process: "subprocess.Popen[str] | None") -> None:
        self._process = process

    def round(self, size: int) -> dict[str, float]:
        """Nanoseconds a call of each, in one round."""
        if self._process is None:
            return {}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(size, file=self._process.stdin, flush=True)
        found: dict[str, float] = json.loads(self._process.stdout.readline())
        return {f"go-kit, {name}": found[name] for name in ("round robin", "random", "retry")}


@contextmanager
def gokit() -> Iterator[GoKit]:
    program = find("gokit-picks")
    if program is None:
        print("left out: gokit-picks isn't there (make servers)", file=sys.stderr)
        yield GoKit(None)
        return
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield GoKit(process)


def all_picks(report: Report, peer: GoKit) -> None:
    """Every size in every round, so that how they grow is told by one and the same time."""
    candidates = {size: picks(made(size)) for size in SIZES}
    samples: dict[int, dict[str, list[float]]] = {size: {} for size in SIZES}
    for _ in range(report.rounds):
        for size in SIZES:
            found = {name: one.least for name, one in measure(candidates[size], rounds=1).items()}
            for name, took in (found | peer.round(size)).items():
                samples[size].setdefault(name, []).append(took)
    figures = {size: {name: figure(took) for name, took in samples[size].items()} for size in SIZES}
    for size in SIZES:
        report.add(f"picks, {size:,} instances", figures[size], floors=PICK_FLOORS, goals=PICK_GOALS)
    few, many = SIZES[0], SIZES[-1]
    report.add(
        f"picks, {many:,} instances over {few}",
        {name: over(figures[many][name], figures[few][name]) for name in figures[few]},
        floors=PICK_FLOORS,
        unit="times",
        columns="by the least, by the medians, by the most",
    )


def over(one: Figure, other: Figure) -> Figure:
    return Figure(*(a / b for a, b in zip(one, other, strict=True)))


def beyond(one: Figure, other: Figure) -> Figure:
    return Figure(*(a - b for a, b in zip(one, other, strict=True)))


def picked(balancer: Balancer[Instance]) -> Async:
    async def pick() -> None:
        balancer.pick()

    return pick


def acquired(balancer: Balancer[Instance]) -> Async:
    async def acquire() -> None:
        async with balancer.acquire():
            pass

    return acquire


def leased(balancer: Balancer[Instance]) -> Async:
    async def lease() -> None:
        async with balancer.lease():
            pass

    return lease


async def held(report: Report) -> None:
    """What a call that is held, and given back, costs more than a pick."""
    for size in HELD_SIZES:
        event = made(size)
        candidates: dict[str, Async] = {}
        for policy in POLICIES:
            balancer = fed(policy, event)
            name = type(policy).__name__
            candidates |= {name: acquired(balancer), f"{name}.pick": picked(balancer)}
        figures = await measure_async(candidates, rounds=report.rounds)
        names = [type(policy).__name__ for policy in POLICIES]
        report.add(
            f"acquire with its release, over a pick, {size:,} instances",
            {name: beyond(figures[name], figures[f"{name}.pick"]) for name in names},
            floors={},
            limits=dict.fromkeys(names, HELD_MOST),
        )


async def calls(report: Report, peer: GoKit) -> None:
    """What a held call adds to a pick, and `call` to an await."""

    async def work(_: Instance) -> None:
        return None

    size = 100
    for policy in (RoundRobin(), PeakEWMA()):
        balancer = fed(policy, made(size))
        instance = balancer.pick()
        unlimited = Retry(attempts=3, on=(OSError,))
        retry = Retry(attempts=3, timeout=5.0, on=(OSError,))
        floor = "await fn(instance)"
        candidates: dict[str, Async] = {
            "pick": picked(balancer),
            "acquire": acquired(balancer),
            "lease": leased(balancer),
            floor: lambda instance=instance: work(instance),
            "call": lambda balancer=balancer: balancer.call(work),
            "call, Retry": lambda balancer=balancer, retry=unlimited: balancer.call(work, retry=retry),
            "call, Retry with a timeout": lambda balancer=balancer, retry=retry: balancer.call(
                work, retry=retry
            ),
        }
        samples: dict[str, list[float]] = {}
        for _ in range(report.rounds):
            found = {name: one.least for name, one in (await measure_async(candidates, rounds=1)).items()}
            found |= {name: took for name, took in peer.round(size).items() if "retry" in name}
            for name, took in found.items():
                samples.setdefault(name, []).append(took)
        report.add(
            f"calls, {policy!r}, {size} instances",
            {name: figure(took) for name, took in samples.items()},
            floors={
                **dict.fromkeys(("acquire", "lease"), "pick"),
                **dict.fromkeys(("call", "call, Retry", "call, Retry with a timeout"), floor),
            },
        )


def updates(report: Report, size: int) -> None:
    """What a new list costs when one instance in its middle came or went."""
    first = made(size)
    assert first.snapshot is not None
    instances = first.snapshot.instances
    fewer = instances[: size // 2] + instances[size // 2 + 1 :]
    second = Event(first.query, Snapshot.of(first.query, fewer))
    candidates: dict[str, Callable[[], object]] = {}
    for policy in POLICIES:
        balancer = Balancer(policy)
        turns = itertools.cycle((first, second))
        candidates[type(policy).__name__] = lambda balancer=balancer, turns=turns: balancer.feed(next(turns))
    report.add(f"a new list of {size:,} instances", measure(candidates, rounds=report.rounds), floors={})


def main() -> None:
    report = Report(__doc__ or "")
    with gokit() as peer:
        all_picks(report, peer)
        run(lambda: calls(report, peer))
    run(lambda: held(report))
    for size in SIZES:
        updates(report, size)
    report.close()


if __name__ == "__main__":
    main()
