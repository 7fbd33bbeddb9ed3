"""The balancer: what a caller can rely on, whatever the policy."""

import asyncio
import random

import pytest

from asyncsd import ClosedError, Event, Instance, NoInstances, UnreachableError
from asyncsd._models import Snapshot
from asyncsd.balance import Balancer, LeastOutstanding, RoundRobin
from asyncsd.testing import FakeClock
from tests.unit.balance.support import QUERY, closed, heard, instances


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def fed(*events: Event, clock: FakeClock | None = None) -> Balancer[Instance]:
    balancer = Balancer(LeastOutstanding(), clock=clock or FakeClock(), rng=random.Random(1))
    for event in events:
        balancer.feed(event)
    return balancer


async def test_run_feeds_the_events_of_a_queue_until_the_closed_one(clock: FakeClock) -> None:
    balancer = Balancer(RoundRobin(), clock=clock)
    queue: asyncio.Queue[Event] = asyncio.Queue()
    running = asyncio.ensure_future(balancer.run(queue))
    queue.put_nowait(heard(instances(3)))
    await clock.settle()
    assert {balancer.pick() for _ in range(3)} == set(instances(3))
    queue.put_nowait(closed())
    await running
    with pytest.raises(ClosedError, match="the balancer of 'users' is closed"):
        balancer.pick()
    with pytest.raises(ClosedError):
        await balancer.acquire().__aenter__()


async def test_acquire_waits_for_a_first_instance_and_wakes_all_in_order(clock: FakeClock) -> None:
    balancer = fed(clock=clock)
    served: list[int] = []

    async def caller(number: int) -> None:
        async with balancer.acquire():
            served.append(number)

    callers = [asyncio.ensure_future(caller(number)) for number in range(5)]
    await clock.settle()
    assert balancer.statistics().waiting == 5
    balancer.feed(heard(instances(1)))
    await asyncio.gather(*callers)
    assert served == [0, 1, 2, 3, 4]
    assert balancer.statistics().waiting == 0


async def test_acquire_gives_up_with_no_instances_after_its_timeout(clock: FakeClock) -> None:
    balancer = fed(heard([]), clock=clock)

    async def call() -> None:
        async with balancer.acquire(timeout=2.0):
            pass

    calling = asyncio.ensure_future(call())
    await clock.advance(1.9)
    assert not calling.done()
    await clock.advance(0.2)
    with pytest.raises(NoInstances, match="the service has no instances"):
        await calling


def test_no_instances_says_why(clock: FakeClock) -> None:
    def why(*events: Event) -> str:
        balancer = fed(*events, clock=clock)
        with pytest.raises(NoInstances) as caught:
            balancer.pick()
        return str(caught.value)

    down = UnreachableError("connection refused", url="http://registry")
    critical = instances(3, status="critical")
    warning = instances(1, status="warning")
    assert "nothing was heard of it yet" in why()
    assert "nothing was ever heard of it; no good answer of the registry for 0.0 s" in why(
        Event(QUERY, None, stale=True, error=down)
    )
    assert "connection refused" in why(Event(QUERY, None, stale=True, error=down))
    assert why(heard([])) == "no instance of 'users': the service has no instances"
    assert why(heard(critical)) == "no instance of 'users': 3 instances, all critical"
    assert why(heard(warning)) == "no instance of 'users': 1 instance, warning"
    assert "4 instances, 3 critical, 1 warning" in why(Event(QUERY, Snapshot((), tuple(critical + warning))))


def test_a_stale_list_goes_on_serving(clock: FakeClock) -> None:
    balancer = fed(heard(instances(2)), heard(instances(2), stale=True, error=OSError()), clock=clock)
    assert balancer.pick() in instances(2)
    assert balancer.statistics().stale


def test_a_watch_that_has_not_heard_anything_takes_nothing_away() -> None:
    balancer = fed(heard(instances(2)), Event(QUERY, None, stale=True, error=OSError()))
    assert balancer.pick() in instances(2)
