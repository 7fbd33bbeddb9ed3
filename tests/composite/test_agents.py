"""Composites of two agents that misbehave, over real sockets."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from asyncsd import BackendError, Clock, Discovery, Event, Query, Record, UnreachableError
from asyncsd.agent import Agent
from asyncsd.backends.composite import Failover, Merge
from asyncsd.backends.consul import ConsulBackend
from tests.composite.watching import QUICK, RESET_HOLD, Seen, registration, watching
from tests.support.hurried import hurried

DOWN, BACK = 1.0, 1.0
HELD = 5.0
"""Less than what a request to an agent that hangs is given."""


class World:
    """Two agents, an instance on each, and backends to read them by."""

    def __init__(self) -> None:
        self.east = Agent()
        self.west = Agent()

    def backends(self, *, wait: float = 1.0, clock: Clock | None = None) -> dict[str, ConsulBackend]:
        agents = {"east": self.east, "west": self.west}
        return {
            name: ConsulBackend(agent.url, client="direct", wait=wait, clock=clock)
            for name, agent in agents.items()
        }

    def merge(self, **options: Any) -> Merge:
        return Merge(self.backends(), **QUICK, **options)

    def failover(self, **options: Any) -> Failover:
        return Failover(self.backends(), down=DOWN, back=BACK, **QUICK, **options)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Each agent has a Discovery that registers an instance there, and again if need be."""
    world = World()
    async with (
        world.east,
        world.west,
        Discovery(ConsulBackend(world.east.url, client="direct"), **QUICK) as east,
        Discovery(ConsulBackend(world.west.url, client="direct"), **QUICK) as west,
        east.register(registration("a"), required=True),
        west.register(registration("b"), required=True),
    ):
        yield world


async def both(seen: Seen) -> Event:
    return await seen.serves(a="east", b="west")


async def test_an_agent_that_fails_leaves_its_last_list_and_the_other_one_goes_on(world: World) -> None:
    async with watching(world.merge()) as seen, ConsulBackend(world.east.url) as east:
        good = await both(seen)
        fault = world.west.fail(500)
        event = await seen.until(lambda seen: seen.latest.error)
        assert str(event.error).startswith("west: ")
        assert (type(event.error), event.stale) == (BackendError, False)
        async with Discovery(east) as sd, sd.register(registration("c"), required=True):
            await seen.serves(a="east", b="west", c="east")
        await both(seen)
        fault.heal()
        await seen.until(lambda seen: seen.latest.reason == "recovered")
        assert set(seen.removed_since(good)) == {"c"}


async def test_an_agent_that_hangs_is_noticed_after_its_wait(world: World) -> None:
    async with hurried() as clock, watching(Merge(world.backends(clock=clock), **QUICK)) as seen:
        await both(seen)
        world.west.hang()
        # This process may stand still for as long, and doubt both for a moment.
        event = await seen.until(
            lambda seen: "west: no answer in " in str(seen.latest.error) and not seen.latest.stale
        )
        assert isinstance(event.error, UnreachableError)
    world.west.heal()


async def test_closing_waits_for_no_agent_that_hangs(world: World) -> None:
    async with watching(world.merge()) as seen:
        await both(seen)
        world.west.hang()
        began = time.monotonic()
    assert time.monotonic() - began < HELD
    world.west.heal()


async def test_the_first_list_doesnt_wait_for_ever_for_one_that_hangs(world: World) -> None:
    world.west.hang()
    async with watching(world.merge(patience=0.3)) as seen:
        event = await seen.serves(a="east")
        assert "west: no answer yet" in str(event.error)
        world.west.heal()
        await both(seen)


async def test_connections_that_are_cut_cost_no_instance(world: World) -> None:
    async with watching(world.merge()) as seen, Discovery(ConsulBackend(world.west.url)) as west:
        good = await both(seen)
        for _ in range(5):
            world.west.cut()
            async with west.register(registration("c"), required=True):
                await seen.serves(a="east", b="west", c="west")
            await both(seen)
        assert set(seen.removed_since(good)) == {"c"}


async def test_an_agent_that_lost_its_data_is_held_and_what_registers_again_never_was_away(
    world: World,
) -> None:
    async with watching(world.merge()) as seen, ConsulBackend(world.west.url) as west:
        await both(seen)
        # Nobody registers this one again.
        await west.register(Record(id="c", service="users", host="c", port=80))
        good = await seen.serves(a="east", b="west", c="west")
        began = time.monotonic()
        await world.west.restart()
        await seen.until(lambda seen: "west: it seems to have lost data" in str(seen.latest.error))
        assert not seen.latest.stale
        await both(seen)
        assert time.monotonic() - began > RESET_HOLD
        assert seen.removed_since(good) == ["c"]
        assert seen.latest.error is None


async def test_an_outage_of_one_brings_no_requests_to_the_other(world: World) -> None:
    async with watching(Merge(world.backends(wait=55.0), **QUICK)) as seen:
        await both(seen)
        world.west.fail(500)
        await seen.until(lambda seen: seen.latest.error)
        # The registration on it goes on with its heartbeats, seconds apart.
        before, began = world.east.requests, time.monotonic()
        async with Discovery(ConsulBackend(world.west.url), **QUICK) as sd:
            for _ in range(30):
                with pytest.raises(BackendError):
                    await sd.instances("users")
        assert world.east.requests - before <= 2 * (time.monotonic() - began) + 2
        world.west.heal()


async def test_the_next_serves_when_the_first_agent_is_down_and_the_first_when_it_is_back(
    world: World,
) -> None:
    async with watching(world.failover()) as seen:
        await seen.serves(a="east")
        await world.east.aclose()
        down = await seen.until(lambda seen: seen.latest.stale)
        assert seen.hosts == {"a": "east"}, "what is remembered serves on at first"
        assert isinstance(down.error, UnreachableError)
        event = await seen.serves(b="west")
        assert (event.stale, str(event.error)[:6]) == (False, "east: ")
        switched = time.monotonic()
        await world.east.__aenter__()
        await seen.serves(a="east")
        assert time.monotonic() - switched > BACK
        assert (seen.latest.stale, seen.latest.error) == (False, None)


async def test_the_next_serves_at_once_when_the_last_instance_of_the_first_is_drained(world: World) -> None:
    async with watching(world.failover()) as seen, ConsulBackend(world.east.url) as east:
        await seen.serves(a="east")
        (found,) = (await east.fetch(Query("users"), None)).instances
        began = time.monotonic()
        await east.clients[0].maintenance(found.id, True, "test")
        await seen.serves(b="west")
        await east.clients[0].maintenance(found.id, False, "")
        await seen.serves(a="east")
        assert time.monotonic() - began > BACK


async def test_calls_go_on_through_a_failover_and_back(world: World) -> None:
    async with Discovery(world.failover(), **QUICK) as sd:
        users = sd.balancer("users")
        async with users.acquire() as instance:
            assert instance.origin == "east"
        served: list[str | None] = []
        await world.east.aclose()
        async with asyncio.timeout(20):
            while "west" not in served:
                async with users.acquire(timeout=1.0) as instance:
                    served.append(instance.origin)
                await asyncio.sleep(0)
        assert set(served) == {"east", "west"}
        await world.east.__aenter__()
