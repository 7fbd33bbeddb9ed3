"""The balancers of a Discovery: which are kept, how they sleep and wake, what becomes of one that fails."""

import asyncio
import gc
import random
import weakref
from typing import Any

import pytest

from asyncsd import ClosedError, Discovery, Instance, Limits, NoInstances, Query, Reply, RoundRobin
from asyncsd._protocols import Clock, Picker
from asyncsd.testing import FakeClock, MemoryBackend


def user(number: int) -> Instance:
    return Instance(id=f"users-{number}", service="users", host=f"10.0.0.{number}", port=8080)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def registry(clock: FakeClock) -> MemoryBackend:
    return MemoryBackend(user(1), user(2), clock=clock)


def address(instance: Instance) -> str:
    return instance.address


async def test_one_with_a_factory_wakes_though_the_list_is_as_it_was(
    registry: MemoryBackend, clock: FakeClock
) -> None:
    async with Discovery(registry, clock=clock) as sd, sd.watch("users"):
        channels = sd.balancer("users", factory=address)
        async with channels.acquire():
            pass
        await clock.advance(1_000.0)
        with pytest.raises(NoInstances, match="closed while the balancer rested"):
            channels.pick()
        async with channels.acquire() as channel:
            assert channel in {"10.0.0.1:8080", "10.0.0.2:8080"}


async def test_to_ask_for_what_there_is_keeps_a_balancer_awake(
    registry: MemoryBackend, clock: FakeClock
) -> None:
    async with Discovery(registry, clock=clock) as sd:
        channels, users = sd.balancer("users", factory=address), sd.balancer("users")
        await clock.settle()
        for number in range(3, 10):
            registry.put(user(number))
            await clock.advance(200.0)
            assert len(channels.endpoints()) == len(users.instances) == number


async def test_one_that_rests_is_found_again_by_who_did_not_keep_it(
    registry: MemoryBackend, clock: FakeClock
) -> None:
    async with Discovery(registry, clock=clock) as sd:
        async with sd.balancer("users").acquire():
            pass
        await clock.advance(1_000.0)
        assert not sd.health().watches
        gc.collect()
        assert sd.balancer("users").pick().service == "users"
        registry.remove("users-1")
        await clock.settle()
        assert {sd.balancer("users").pick().id for _ in range(10)} == {"users-2"}


async def test_a_pick_before_the_first_answer_says_what_would_wait_for_it(registry: MemoryBackend) -> None:
    async with Discovery(registry) as sd:
        with pytest.raises(NoInstances, match=r"heard of it yet; acquire\(\) waits for a first answer$"):
            sd.balancer("users").pick()


async def test_one_of_a_service_that_is_not_there_is_not_kept(
    registry: MemoryBackend, clock: FakeClock
) -> None:
    async with Discovery(registry, clock=clock) as sd:
        gone = weakref.ref(sd.balancer("no-such-service"))
        await clock.advance(1_000.0)
        gc.collect()
        assert gone() is None


async def test_a_use_while_it_falls_asleep_wakes_it(registry: MemoryBackend, clock: FakeClock) -> None:
    closing, going_on = asyncio.Event(), asyncio.Event()

    async def close(_: str) -> None:
        closing.set()
        await going_on.wait()

    async with Discovery(registry, clock=clock, limits=Limits(idle=4.0)) as sd:
        channels = sd.balancer("users", factory=address, close=close)
        async with channels.acquire():
            pass
        await clock.advance(2.0)
        while not closing.is_set():
            await clock.advance(1.0)
        with pytest.raises(NoInstances):
            channels.pick()
        going_on.set()
        await clock.settle()
        assert len(channels.endpoints()) == 2


class Faulty(MemoryBackend):
    """A registry whose client has a bug now and then."""

    faulty = False

    async def fetch(self, query: Query, cursor: Any) -> Reply:
        if self.faulty:
            raise KeyError("boom")
        return await super().fetch(query, cursor)


async def test_after_a_watch_died_of_a_bug_the_next_balancer_works(clock: FakeClock) -> None:
    registry = Faulty(user(1), clock=clock)
    async with Discovery(registry, clock=clock) as sd:
        old = sd.balancer("users")
        async with old.acquire():
            pass
        registry.faulty = True
        registry.put(user(2))
        await clock.advance(1.0)
        registry.faulty = False
        with pytest.raises(ClosedError, match="boom") as caught:
            old.pick()
        assert isinstance(caught.value.__cause__, KeyError)
        assert sd.balancer("users") is not old
        assert sd.balancer("users") is sd.balancer(Query("users"))
        async with sd.balancer("users").acquire() as instance:
            assert instance.service == "users"


class Broken:
    def picker(self, *, clock: Clock, rng: random.Random) -> Picker:
        inner = RoundRobin().picker(clock=clock, rng=rng)

        class Picks:
            pick = staticmethod(inner.pick)
            begin = staticmethod(inner.begin)

            def update(self, instances: object) -> Any:
                raise KeyError("of the policy")

        return Picks()


async def test_one_that_fails_keeps_nothing_else_from_closing(
    registry: MemoryBackend, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[str] = []
    async with Discovery(registry, clock=clock) as sd:
        broken = sd.balancer("users", Broken())
        channels = sd.balancer("users", factory=address, close=closed.append)
        async with channels.acquire():
            pass
        with pytest.raises(ClosedError, match="of the policy"):
            broken.pick()
    assert len(closed) == 2
    assert not registry.is_open
    assert [record.name for record in caplog.records] == ["asyncsd.balancer"]
