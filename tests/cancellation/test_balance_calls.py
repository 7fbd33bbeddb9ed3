"""Calls through a balancer, cancelled at every step of the loop: the load always comes back."""

import asyncio
import random
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from asyncsd import Backoff, Event, Instance, Retry
from asyncsd.balance import Balancer, PeakEWMA
from asyncsd.testing import FakeClock
from tests.cancellation.steps import cancel_at_every_step
from tests.unit.balance.support import closed, heard, instances


class Endpoint:
    """Counts how many are open."""

    open = 0

    def __init__(self, instance: Instance) -> None:
        self.instance = instance

    @classmethod
    async def connect(cls, instance: Instance) -> "Endpoint":
        await asyncio.sleep(0)
        cls.open += 1
        return cls(instance)

    async def aclose(self) -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        type(self).open -= 1


@pytest.fixture(autouse=True)
def nothing_open() -> None:
    Endpoint.open = 0


async def work(_: object) -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def balanced(clock: FakeClock) -> Balancer[Instance]:
    balancer = Balancer(PeakEWMA(), clock=clock, rng=random.Random(1))
    balancer.feed(heard(instances(3)))
    return balancer


def idle(balancer: Balancer[Any]) -> bool:
    statistics = balancer.statistics()
    return (
        not statistics.in_flight
        and not statistics.waiting
        and not any(load.in_flight for load in statistics.loads)
    )


async def test_an_acquire_gives_its_load_back() -> None:
    @asynccontextmanager
    async def acquiring(clock: FakeClock) -> AsyncGenerator[Coroutine[Any, Any, object], None]:
        balancer = balanced(clock)

        async def call() -> None:
            async with balancer.acquire() as instance:
                await work(instance)

        yield call()
        assert idle(balancer)

    assert await cancel_at_every_step(acquiring) > 3


async def test_a_wait_for_a_first_instance_leaves_the_queue() -> None:
    @asynccontextmanager
    async def waiting(clock: FakeClock) -> AsyncGenerator[Coroutine[Any, Any, object], None]:
        balancer = Balancer(PeakEWMA(), clock=clock)

        async def call() -> None:
            first = asyncio.get_running_loop().call_later(0, balancer.feed, heard(instances(3)))
            try:
                async with balancer.acquire() as instance:
                    await work(instance)
            finally:
                first.cancel()

        yield call()
        assert idle(balancer)
        balancer.feed(heard(instances(1)))
        balancer.pick()

    await cancel_at_every_step(waiting)


async def test_a_retried_call_ends_at_once_and_gives_its_load_back() -> None:
    @asynccontextmanager
    async def retried(clock: FakeClock) -> AsyncGenerator[Coroutine[Any, Any, object], None]:
        balancer = balanced(clock)
        attempts = 0

        async def attempt(instance: Instance) -> None:
            nonlocal attempts
            attempts += 1
            await work(instance)
            if attempts == 1:
                raise ConnectionError
            if attempts == 2:
                await clock.sleep(60.0)

        retry = Retry(
            attempts=3,
            timeout=30.0,
            attempt_timeout=1.0,
            on=(ConnectionError,),
            backoff=Backoff(initial=0.1, maximum=0.1),
        )
        yield balancer.call(attempt, retry=retry)
        assert idle(balancer)

    assert await cancel_at_every_step(retried) > 10


async def test_a_run_closes_every_endpoint() -> None:
    @asynccontextmanager
    async def running(clock: FakeClock) -> AsyncGenerator[Coroutine[Any, Any, object], None]:
        balancer = Balancer(PeakEWMA(), factory=Endpoint.connect, clock=clock)
        queue: asyncio.Queue[Event] = asyncio.Queue()
        for event in (heard(instances(3)), heard(instances(2)), heard(instances(4)), closed()):
            queue.put_nowait(event)

        async def run() -> None:
            await asyncio.sleep(0)
            await balancer.run(queue)

        yield run()
        assert Endpoint.open == 0
        assert idle(balancer)

    await cancel_at_every_step(running)


async def test_a_run_with_calls_in_flight_closes_every_endpoint() -> None:
    @asynccontextmanager
    async def running(clock: FakeClock) -> AsyncGenerator[Coroutine[Any, Any, object], None]:
        balancer = Balancer(PeakEWMA(), factory=Endpoint.connect, clock=clock)
        queue: asyncio.Queue[Event] = asyncio.Queue()
        queue.put_nowait(heard(instances(2)))

        async def call() -> None:
            async with balancer.acquire(timeout=None) as endpoint:
                await work(endpoint)
                queue.put_nowait(heard(instances(1)))
                await work(endpoint)

        async def both() -> None:
            async with asyncio.TaskGroup() as group:
                running = group.create_task(balancer.run(queue))
                await group.create_task(call())
                queue.put_nowait(closed())
                await running

        yield both()
        await balancer.aclose()
        assert Endpoint.open == 0
        assert idle(balancer)

    await cancel_at_every_step(running)


async def test_an_aclose_closes_every_endpoint() -> None:
    @asynccontextmanager
    async def closing(clock: FakeClock) -> AsyncGenerator[Coroutine[Any, Any, object], None]:
        balancer = Balancer(PeakEWMA(), factory=Endpoint.connect, clock=clock)
        balancer.feed(heard(instances(3)))
        await clock.settle()
        assert Endpoint.open == 3

        async def close() -> None:
            await asyncio.sleep(0)
            await balancer.aclose()

        yield close()
        await balancer.aclose()
        assert Endpoint.open == 0

    assert await cancel_at_every_step(closing) > 2
