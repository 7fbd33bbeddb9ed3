"""Endpoints of a user's own: when they are made, which are used, when they are closed."""

import asyncio
import dataclasses
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from asyncsd import Event, Instance, NoInstances
from asyncsd._protocols import Clock, Picker, Policy
from asyncsd.balance import Balancer, RoundRobin
from asyncsd.testing import FakeClock
from tests.unit.balance.support import closed, heard, instances


class Channel:
    """An endpoint that notes what becomes of it."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.closed = 0

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.closed += 1


class World:
    """A balancer of channels, which a test makes as it likes."""

    def __init__(
        self,
        factory: Callable[[Instance], Any] | None = None,
        *,
        policy: Policy | None = None,
        **options: Any,
    ) -> None:
        self.clock = FakeClock()
        self.made: list[Channel] = []
        self.balancer: Balancer[Channel] = Balancer(
            policy or RoundRobin(),
            factory=factory or self.make,
            clock=self.clock,
            rng=random.Random(1),
            name="users",
            **options,
        )
        self.queue: asyncio.Queue[Event] = asyncio.Queue()
        self.running = asyncio.ensure_future(self.balancer.run(self.queue))

    def make(self, instance: Instance) -> Channel:
        channel = Channel(instance)
        self.made.append(channel)
        return channel

    async def hear(self, fit: list[Instance]) -> None:
        self.queue.put_nowait(heard(fit))
        await self.clock.settle()

    def ready(self) -> set[str]:
        return {instance.id for instance in self.balancer.endpoints()}


Make = Callable[..., World]


@pytest.fixture
async def world() -> AsyncIterator[Make]:
    worlds: list[World] = []

    def make(factory: Callable[[Instance], Any] | None = None, **options: Any) -> World:
        worlds.append(World(factory, **options))
        return worlds[-1]

    yield make
    for each in worlds:
        each.running.cancel()
        await each.clock.advance(10.0)
        await asyncio.wait([each.running])
        await each.balancer.aclose()


def ids(fit: list[Instance]) -> set[str]:
    return {each.id for each in fit}


@pytest.mark.parametrize("kind", ["sync", "async", "context", "async context"])
async def test_every_kind_of_factory_makes_endpoints_and_has_them_closed(world: Make, kind: str) -> None:
    made: list[Channel] = []

    def sync(instance: Instance) -> Channel:
        made.append(Channel(instance))
        return made[-1]

    async def asynchronous(instance: Instance) -> Channel:
        await asyncio.sleep(0)
        return sync(instance)

    @asynccontextmanager
    async def context(instance: Instance) -> AsyncGenerator[Channel, None]:
        channel = sync(instance)
        try:
            yield channel
        finally:
            await channel.close()

    async def asynchronous_context(instance: Instance) -> Any:
        return context(instance)

    factories: dict[str, Callable[[Instance], Any]] = {
        "sync": sync,
        "async": asynchronous,
        "context": context,
        "async context": asynchronous_context,
    }
    here = world(factories[kind])
    fit = instances(2)
    await here.hear(fit)
    async with here.balancer.acquire() as channel:
        assert isinstance(channel, Channel)
        assert channel.instance in fit
    await here.hear(fit[:1])
    assert [channel.closed for channel in made] == [0, 1]
    here.queue.put_nowait(closed())
    await here.running
    assert [channel.closed for channel in made] == [1, 1]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_close_says_how_to_close(world: Make, asynchronous: bool) -> None:
    seen: list[Channel] = []

    async def close(channel: Channel) -> None:
        await asyncio.sleep(0)
        seen.append(channel)

    here = world(close=close if asynchronous else seen.append)
    await here.hear(instances(1))
    await here.hear([])
    assert seen == here.made
    assert not here.made[0].closed


async def test_aclose_goes_before_close_and_an_endpoint_needs_neither(world: Make) -> None:
    class Both(Channel):
        async def aclose(self) -> None:
            self.closed += 10

    made: list[Both] = []

    def make(instance: Instance) -> object:
        if instance == instances(2)[1]:
            return "no close at all"
        made.append(Both(instance))
        return made[-1]

    here = world(make)
    await here.hear(instances(2))
    await here.hear([])
    assert made[0].closed == 10


async def test_only_instances_whose_endpoint_is_ready_are_picked(world: Make) -> None:
    gates = {each.id: asyncio.Event() for each in instances(3)}

    async def slow(instance: Instance) -> Channel:
        await gates[instance.id].wait()
        return Channel(instance)

    here = world(slow)
    await here.hear(instances(3))
    with pytest.raises(NoInstances, match="3 instances, none whose endpoint is ready"):
        here.balancer.pick()

    async def first() -> str:
        async with here.balancer.acquire() as channel:
            return channel.instance.id

    waiting = asyncio.ensure_future(first())
    await here.clock.settle()
    assert not waiting.done()
    gates["users-00001"].set()
    assert await waiting == "users-00001"
    assert {here.balancer.pick().id for _ in range(5)} == {"users-00001"}
    gates["users-00002"].set()
    await here.clock.settle()
    assert {here.balancer.pick().id for _ in range(5)} == {"users-00001", "users-00002"}
    assert here.ready() == {"users-00001", "users-00002"}


async def test_a_factory_that_fails_costs_only_its_instance_and_is_tried_again(
    world: Make, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[float] = []

    def sometimes(instance: Instance) -> Channel:
        if instance.id == "users-00000":
            tries.append(here.clock.time())
            if len(tries) < 6:
                raise OSError("refused")
        return Channel(instance)

    caplog.set_level(logging.INFO, "asyncsd.endpoints")
    here = world(sometimes)
    await here.hear(instances(3))
    assert here.ready() == {"users-00001", "users-00002"}
    errors = here.balancer.statistics().errors
    assert [(each.id, str(error)) for each, error in errors.items()] == [("users-00000", "refused")]
    await here.clock.advance(60.0)
    assert here.ready() == ids(instances(3))
    assert len(tries) == 6
    assert here.balancer.statistics().errors == {}
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "no endpoint for users users-00000 at 10.0.0.1:8080, trying again: OSError('refused')",
        "there is an endpoint for users users-00000 at 10.0.0.1:8080 now",
    ]


async def test_no_instances_tells_what_the_factory_raised(world: Make) -> None:
    def never(instance: Instance) -> Channel:
        raise OSError("refused")

    here = world(never)
    await here.hear(instances(2))
    with pytest.raises(NoInstances, match=r"the factory failed for 2 of them: OSError\('refused'\)"):
        here.balancer.pick()


async def test_an_instance_that_is_only_changed_keeps_its_endpoint(world: Make) -> None:
    here = world()
    await here.hear(instances(1))
    before = instances(1)[0]
    after = Instance(before.id, before.service, before.host, before.port, tags=("v2",), weight=7)
    await here.hear([after])
    async with here.balancer.lease() as held:
        assert held.endpoint is here.made[0]
        assert held.instance is after
    assert len(here.made) == 1


async def test_a_changed_address_makes_a_new_endpoint_and_closes_the_old_one(world: Make) -> None:
    here = world()
    await here.hear(instances(1))
    before = instances(1)[0]
    await here.hear([Instance(before.id, before.service, "10.9.9.9", before.port)])
    assert [channel.closed for channel in here.made] == [1, 0]


async def test_an_endpoint_that_goes_is_closed_once_no_call_uses_it(world: Make) -> None:
    here = world()
    await here.hear(instances(1))
    async with here.balancer.acquire() as one:
        async with here.balancer.acquire() as two:
            assert one is two
            await here.hear([])
            assert not one.closed
            with pytest.raises(NoInstances):
                here.balancer.pick()
        await here.clock.settle()
        assert not one.closed
    await here.clock.settle()
    assert one.closed == 1


async def test_an_instance_that_is_back_gets_a_new_endpoint_beside_the_one_in_use(world: Make) -> None:
    here = world()
    await here.hear(instances(1))
    async with here.balancer.acquire() as old:
        await here.hear([])
        await here.hear(instances(1))
        async with here.balancer.acquire() as new:
            assert new is not old
        assert not old.closed
    await here.clock.settle()
    assert (old.closed, new.closed) == (1, 0)


async def test_an_instance_that_goes_before_its_endpoint_is_made_leaves_nothing(world: Make) -> None:
    ended: list[str] = []

    async def slow(instance: Instance) -> Channel:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(instance.id)
        return Channel(instance)

    here = world(slow)
    await here.hear(instances(1))
    await here.hear([])
    assert ended == ["users-00000"]
    assert "0 tasks" in repr(here.balancer._pool.endpoints)


async def test_a_close_that_fails_is_logged_and_stops_nothing(
    world: Make, caplog: pytest.LogCaptureFixture
) -> None:
    def close(channel: Channel) -> None:
        raise RuntimeError("half closed")

    here = world(close=close)
    await here.hear(instances(2))
    await here.hear(instances(1))
    assert "closing the endpoint of users users-00001 at 10.0.0.2:8080 failed" in caplog.text
    assert here.ready() == {"users-00000"}


async def test_a_context_manager_is_entered_and_left_by_one_task(world: Make) -> None:
    """So that one with a task group inside works."""
    ended: list[str] = []

    @asynccontextmanager
    async def grouped(instance: Instance) -> AsyncGenerator[Channel, None]:
        async with anyio.create_task_group() as group:
            group.start_soon(asyncio.Event().wait)
            yield Channel(instance)
            group.cancel_scope.cancel()
        ended.append(instance.id)

    here = world(grouped)
    await here.hear(instances(2))
    assert here.ready() == ids(instances(2))
    await here.hear([])
    assert sorted(ended) == sorted(ids(instances(2)))


async def test_an_endpoint_whose_own_tasks_crash_is_made_again(world: Make) -> None:
    crash = asyncio.Event()
    made: list[Instance] = []

    async def reader() -> None:
        await crash.wait()
        crash.clear()
        raise ConnectionError("cut")

    @asynccontextmanager
    async def grouped(instance: Instance) -> AsyncGenerator[Channel, None]:
        async with anyio.create_task_group() as group:
            group.start_soon(reader)
            made.append(instance)
            yield Channel(instance)
            group.cancel_scope.cancel()

    here = world(grouped)
    await here.hear(instances(1))
    assert here.ready() == ids(instances(1))
    crash.set()
    await here.clock.settle()
    assert here.ready() == set()
    await here.clock.advance(1.0)
    assert here.ready() == ids(instances(1))
    assert len(made) == 2


async def test_a_factory_cancelled_by_something_of_its_own_is_tried_again(world: Make) -> None:
    tries = 0

    async def shared(instance: Instance) -> Channel:
        nonlocal tries
        tries += 1
        if tries == 1:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        return Channel(instance)

    here = world(shared)
    await here.hear(instances(1))
    await here.clock.advance(1.0)
    assert here.ready() == ids(instances(1))


async def test_an_endpoint_that_ends_by_itself_is_made_again_and_not_in_a_hurry(world: Make) -> None:
    made = 0

    @asynccontextmanager
    async def ending(instance: Instance) -> AsyncGenerator[Channel, None]:
        nonlocal made
        made += 1
        with anyio.CancelScope() as scope:
            asyncio.get_running_loop().call_soon(scope.cancel)
            yield Channel(instance)

    here = world(ending)
    await here.hear(instances(1))
    await here.clock.advance(60.0)
    assert 5 < made < 40
    assert "ended by itself" in str(here.balancer.statistics().errors)


async def test_a_cancelled_run_closes_the_endpoints_first_and_may_be_run_again(world: Make) -> None:
    here = world()
    await here.hear(instances(3))
    here.running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await here.running
    assert [channel.closed for channel in here.made] == [1, 1, 1]
    with pytest.raises(NoInstances):
        here.balancer.pick()
    here.running = asyncio.ensure_future(here.balancer.run(here.queue))
    await here.hear(instances(3))
    assert here.ready() == ids(instances(3))


async def test_a_run_makes_the_endpoints_of_the_last_list_anew(world: Make) -> None:
    here = world()
    event = heard(instances(2))
    here.queue.put_nowait(event)
    await here.clock.settle()
    here.running.cancel()
    await asyncio.wait([here.running])
    assert here.ready() == set()
    here.running = asyncio.ensure_future(here.balancer.run(here.queue))
    await here.clock.settle()
    assert here.ready() == ids(instances(2)), "though nothing was heard since"
    here.queue.put_nowait(event)
    await here.clock.settle()
    assert len(here.made) == 4, "two for each run"


async def test_an_instance_on_two_nodes_has_one_endpoint(world: Make) -> None:
    here = world()
    for tag in "abc":
        await here.hear([dataclasses.replace(instances(1)[0], node=node, tags=(tag,)) for node in ("a", "b")])
    assert len(here.made) == 1
    await here.hear(instances(2)[1:])
    assert [channel.closed for channel in here.made] == [1, 0]


async def test_endpoints_outlast_a_sleep(world: Make) -> None:
    here = world()
    await here.hear(instances(2))
    woken: list[bool] = []
    here.balancer.sleep(lambda: woken.append(True))
    here.running.cancel()
    await asyncio.wait([here.running])
    async with here.balancer.acquire() as channel:
        assert not channel.closed
    assert woken == [True]
    here.running = asyncio.ensure_future(here.balancer.run(here.queue))
    await here.hear(instances(1))
    assert [channel.closed for channel in here.made] == [0, 1]


async def test_a_sleeping_balancer_stops_trying_a_factory_that_fails(world: Make) -> None:
    tries: list[Instance] = []

    def never(instance: Instance) -> Channel:
        tries.append(instance)
        raise OSError

    here = world(never)
    await here.hear(instances(1))
    here.balancer.sleep(lambda: None)
    here.running.cancel()
    await asyncio.wait([here.running])
    before = len(tries)
    await here.clock.advance(60.0)
    assert len(tries) == before


async def test_aclose_waits_for_the_calls_in_flight_and_not_for_ever(world: Make) -> None:
    here = world()
    await here.hear(instances(2))
    used = here.balancer.acquire()
    channel = await used.__aenter__()
    closing = asyncio.ensure_future(here.balancer.aclose())
    await here.clock.settle()
    assert sorted(each.closed for each in here.made) == [0, 1]
    await here.clock.advance(2.6)
    await closing
    assert channel.closed == 1
    await used.__aexit__(None, None, None)


async def test_aclose_is_bounded_though_a_close_hangs(world: Make) -> None:
    async def hang(channel: Channel) -> None:
        await asyncio.Event().wait()

    here = world(close=hang)
    await here.hear(instances(2))
    closing = asyncio.ensure_future(here.balancer.aclose())
    await here.clock.advance(5.0)
    await closing


class Looks:
    """Round robin that counts how often it is given a list."""

    def __init__(self) -> None:
        self.count = 0

    def picker(self, *, clock: Clock, rng: random.Random) -> Picker:
        inner = RoundRobin().picker(clock=clock, rng=rng)
        looks = self

        class Counting:
            pick = staticmethod(inner.pick)
            begin = staticmethod(inner.begin)

            def update(self, fit: Sequence[Instance]) -> Callable[[], Instance]:
                looks.count += 1
                return inner.update(fit)

        return Counting()


async def test_endpoints_that_are_ready_at_once_are_looked_at_together(world: Make) -> None:
    looks = Looks()
    here = world(lambda instance: instance.id, policy=looks)
    await here.hear(instances(1_000))
    assert len(here.ready()) == 1_000
    assert looks.count <= 3
