"""Picks of every policy, beside what one would write by hand."""

import itertools
import random
from collections.abc import Callable, Sequence

from _measure import Report, measure, measure_async, run

from asyncsd import Event, Instance, Query, Retry, Snapshot
from asyncsd.balance import Balancer, LeastOutstanding, PeakEWMA, Random, RoundRobin

SIZES = (3, 100, 1_000, 10_000)


def made(count: int) -> Event:
    query = Query("users")
    instances = [
        Instance(f"users-{number:05}", "users", f"10.0.{number // 250}.{number % 250}", 8080)
        for number in range(count)
    ]
    return Event(query, Snapshot.of(query, instances))


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


def picks(event: Event) -> dict[str, Callable[[], object]]:
    assert event.snapshot is not None
    instances = event.snapshot.instances
    candidates: dict[str, Callable[[], object]] = {
        "next(cycle)": itertools.cycle(instances).__next__,
        "list and counter": ListAndCounter(instances).pick,
        "two choices": TwoChoices(instances).pick,
    }
    for policy in (RoundRobin(), Random(), LeastOutstanding(), PeakEWMA()):
        balancer = Balancer(policy)
        balancer.feed(event)
        candidates[type(policy).__name__] = balancer.pick
    return candidates


PICK_FLOORS = {
    "RoundRobin": "list and counter",
    "Random": "list and counter",
    "LeastOutstanding": "two choices",
    "PeakEWMA": "two choices",
}


async def calls(report: Report) -> None:
    """What a held call adds to a pick, and `call` to an await."""

    async def work(_: Instance) -> None:
        return None

    for policy in (RoundRobin(), PeakEWMA()):
        balancer = Balancer(policy)
        balancer.feed(made(100))
        instance = balancer.pick()
        retry = Retry(attempts=3, timeout=5.0, on=(OSError,))

        async def pick(balancer: Balancer[Instance] = balancer) -> None:
            balancer.pick()

        async def acquire(balancer: Balancer[Instance] = balancer) -> None:
            async with balancer.acquire():
                pass

        async def lease(balancer: Balancer[Instance] = balancer) -> None:
            async with balancer.lease():
                pass

        figures = await measure_async(
            {
                "pick": pick,
                "acquire": acquire,
                "lease": lease,
                "await fn(instance)": lambda instance=instance: work(instance),
                "call": lambda balancer=balancer: balancer.call(work),
                "call, Retry": lambda balancer=balancer, retry=retry: balancer.call(work, retry=retry),
            },
            rounds=report.rounds,
        )
        floor = "await fn(instance)"
        report.add(
            f"calls, {policy!r}, 100 instances",
            figures,
            floors={"acquire": "pick", "lease": "pick", "call": floor, "call, Retry": floor},
        )


def updates(report: Report, size: int) -> None:
    """What a new list costs when one instance in its middle came or went."""
    first = made(size)
    assert first.snapshot is not None
    instances = first.snapshot.instances
    fewer = instances[: size // 2] + instances[size // 2 + 1 :]
    second = Event(first.query, Snapshot.of(first.query, fewer))
    candidates: dict[str, Callable[[], object]] = {}
    for policy in (RoundRobin(), Random(), LeastOutstanding(), PeakEWMA()):
        balancer = Balancer(policy)
        turns = itertools.cycle((first, second))
        candidates[type(policy).__name__] = lambda balancer=balancer, turns=turns: balancer.feed(next(turns))
    report.add(f"a new list of {size:,} instances", measure(candidates, rounds=report.rounds), floors={})


def main() -> None:
    report = Report(__doc__ or "")
    for size in SIZES:
        report.add(
            f"picks, {size:,} instances", measure(picks(made(size)), rounds=report.rounds), floors=PICK_FLOORS
        )
    run(lambda: calls(report))
    for size in SIZES:
        updates(report, size)
    report.close()


if __name__ == "__main__":
    main()
