"""Failover: who serves, from when on, and for how long."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator

import pytest

from asyncsd import PermissionDeniedError, Query, UnreachableError
from asyncsd.backends.composite import Failover, Merge
from asyncsd.testing import FakeClock
from tests.support.members import LIMITS, FaultyMemory, Watched, instance, watched

DOWN, BACK = 10.0, 30.0


class World:
    def __init__(self, count: int = 2) -> None:
        self.clock = FakeClock()
        self.members = [FaultyMemory(instance("ab"[n % 2]), clock=self.clock) for n in range(count)]
        self.first, self.second, *_ = self.members
        self.failover = Failover(
            {f"dc{number}": member for number, member in enumerate(self.members, 1)},
            down=DOWN,
            back=BACK,
            clock=self.clock,
            rng=random.Random(1),
            limits=LIMITS,
        )


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def watch(world: World) -> AsyncIterator[Watched]:
    async with watched(world.clock, world.failover) as watch:
        yield watch


async def test_the_first_serves_while_it_can(world: World, watch: Watched) -> None:
    assert await watch.told(60.0) == ["changed:a@dc1"]
    world.second.add("c")
    assert await watch.told(60.0) == []
    world.first.add("d")
    assert await watch.told(2.0) == ["changed:a@dc1 d@dc1"]


# None that fits.


async def test_the_next_serves_at_once_when_the_first_has_none(world: World, watch: Watched) -> None:
    await watch.told(60.0)
    world.first.remove("a")
    (event,) = await watch.events(1.0)
    assert (event.reason, event.stale, event.error) == ("changed", False, None)
    assert [each.origin for each in event.added] == ["dc2"]
    assert [each.origin for each in event.removed] == ["dc1"]


async def test_the_next_serves_at_once_when_the_first_has_none_that_passes(
    world: World, watch: Watched
) -> None:
    await watch.told(60.0)
    world.first.add(instance("a", status="critical"))
    assert await watch.told(1.0) == ["changed:b@dc2"]


async def test_a_query_that_takes_critical_ones_stays(world: World) -> None:
    async with watched(world.clock, world.failover, Query("users", status="critical")) as watch:
        await watch.told(60.0)
        world.first.add(instance("a", status="critical"))
        assert await watch.told(5.0) == ["changed:a@dc1"]


async def test_each_service_fails_over_by_itself(world: World) -> None:
    world.first.add(instance("o", service="orders"))
    world.second.add(instance("p", service="orders"))
    async with watched(world.clock, world.failover) as users:
        other = asyncio.create_task((orders := Watched(world.clock, world.failover, "orders")).run())
        await users.told(60.0)
        world.first.remove("o")
        await users.told(5.0)
        assert (users.ids, orders.ids) == (["a@dc1"], ["p@dc2"])
        other.cancel()
        await asyncio.wait([other])


async def test_where_no_member_has_one_the_list_is_empty_and_what_comes_first_serves(
    world: World, watch: Watched
) -> None:
    await watch.told(60.0)
    world.first.remove("a")
    world.second.remove("b")
    await watch.told(5.0)
    assert watch.ids == []
    world.second.add("b")
    assert await watch.told(2.0) == ["changed:b@dc2"]
    world.second.remove("b")
    await watch.told(5.0)
    world.first.add("a")
    assert await watch.told(2.0) == ["changed:a@dc1"]


# Down.


async def test_one_that_is_down_serves_what_is_remembered_until_it_was_down_for_long(
    world: World, watch: Watched
) -> None:
    await watch.told(60.0)
    world.first.down()
    assert await watch.told(9.9) == ["error:a@dc1 ? !"]
    (event,) = await watch.events(0.2)
    assert watch.ids == ["b@dc2"]
    assert (event.stale, str(event.error)) == (False, "dc1: connection refused")


async def test_an_outage_that_ends_in_time_changes_nothing(world: World, watch: Watched) -> None:
    await watch.told(60.0)
    for _ in range(5):
        world.first.down()
        assert await watch.told(8.0) == ["error:a@dc1 ? !"]
        world.first.up()
        assert await watch.told(5.0) == ["recovered:a@dc1"]


async def test_an_outage_counts_from_its_first_failure_though_the_error_changes(
    world: World, watch: Watched
) -> None:
    await watch.told(60.0)
    world.first.down()
    await watch.told(6.0)
    world.first.down(PermissionDeniedError("no token", status=403))
    await watch.told(4.1)
    assert watch.ids == ["b@dc2"]


async def test_one_that_is_down_and_remembered_as_empty_doesnt_hold_up(world: World, watch: Watched) -> None:
    await watch.told(60.0)
    world.first.add(instance("a", status="critical"))
    await watch.told(5.0)
    world.first.down()
    world.second.add("c")
    await watch.told(2.0)
    assert watch.ids == ["b@dc2", "c@dc2"]


async def test_while_all_are_down_the_one_that_served_goes_on_from_memory(
    world: World, watch: Watched
) -> None:
    await watch.told(60.0)
    world.first.down()
    await watch.told(11.0)
    assert watch.ids == ["b@dc2"]
    world.second.down()
    (event,) = await watch.events(60.0)
    assert (event.reason, event.stale) == ("error", True)
    assert str(event.error) == "dc1: connection refused; dc2: connection refused"
    assert watch.ids == ["b@dc2"]


async def test_the_first_that_is_heard_again_serves_after_all_were_down(world: World, watch: Watched) -> None:
    await watch.told(60.0)
    world.first.down()
    world.second.down()
    await watch.told(60.0)
    assert watch.ids == ["a@dc1"]
    world.second.up()
    assert (await watch.told(3.0))[-1] == "error:b@dc2 !"
    world.first.up()
    await watch.told(29.0)
    assert watch.ids == ["b@dc2"]
    await watch.told(5.0)
    assert watch.ids == ["a@dc1"]


async def test_a_spare_that_is_down_is_told_and_changes_nothing(world: World, watch: Watched) -> None:
    await watch.told(60.0)
    world.second.down()
    (event,) = await watch.events(60.0)
    assert (event.reason, event.stale, str(event.error)) == ("error", False, "dc2: connection refused")
    assert watch.ids == ["a@dc1"]


async def test_one_that_lost_its_data_serves_on_while_that_is_doubted(world: World, watch: Watched) -> None:
    for number in range(3):
        world.first.put(instance("a", weight=number))
    await watch.told(60.0)
    world.first.clear()
    (event,) = await watch.events(5.0)
    assert (event.stale, watch.ids) == (True, ["a@dc1"])
    await watch.told(6.0)
    assert watch.ids == ["b@dc2"]


async def test_one_that_lost_its_data_and_has_it_back_served_all_the_time(
    world: World, watch: Watched
) -> None:
    for number in range(3):
        world.first.put(instance("a", weight=number))
    await watch.told(60.0)
    world.first.clear()
    await watch.told(5.0)
    world.first.put(instance("a", weight=2))
    (event,) = await watch.events(60.0)
    assert (event.reason, event.added, event.removed) == ("recovered", (), ())


# Back.


async def test_the_first_serves_again_once_it_was_good_for_long(world: World, watch: Watched) -> None:
    await watch.told(60.0)
    world.first.remove("a")
    await watch.told(5.0)
    world.first.add("a")
    assert await watch.told(29.9) == []
    assert await watch.told(0.2) == ["changed:a@dc1"]


async def test_one_that_comes_and_goes_doesnt_take_the_callers_with_it(world: World, watch: Watched) -> None:
    await watch.told(60.0)
    for _ in range(20):
        world.first.remove("a")
        await watch.told(10.0)
        assert watch.ids == ["b@dc2"]
        world.first.add("a")
        assert await watch.told(20.0) == []
    assert await watch.told(11.0) == ["changed:a@dc1"]


async def test_one_that_is_down_now_and_then_has_to_be_good_anew(world: World, watch: Watched) -> None:
    await watch.told(60.0)
    world.first.down()
    await watch.told(11.0)
    world.first.up()
    await watch.told(20.0)
    world.first.down()
    await watch.told(1.0)
    world.first.up()
    await watch.told(29.0)
    assert watch.ids == ["b@dc2"]
    await watch.told(5.0)
    assert watch.ids == ["a@dc1"]


async def test_the_first_serves_again_at_once_when_the_second_no_longer_can(
    world: World, watch: Watched
) -> None:
    await watch.told(60.0)
    world.first.remove("a")
    await watch.told(5.0)
    world.first.add("a")
    await watch.told(5.0)
    world.second.remove("b")
    assert await watch.told(1.0) == ["changed:a@dc1"]


async def test_the_third_serves_when_two_have_none_and_each_comes_back_in_its_turn() -> None:
    world = World(count=3)
    async with watched(world.clock, world.failover) as watch:
        await watch.told(60.0)
        world.first.remove("a")
        world.second.remove("b")
        await watch.told(5.0)
        assert watch.ids == ["a@dc3"]
        world.second.add("b")
        await watch.told(10.0)
        world.first.add("a")
        await watch.told(21.0)
        assert watch.ids == ["b@dc2"]
        await watch.told(10.0)
        assert watch.ids == ["a@dc1"]


# The first choice.


async def test_at_the_start_a_first_that_fails_isnt_waited_for(world: World) -> None:
    world.first.down()
    async with watched(world.clock, world.failover) as watch:
        assert await watch.told() == ["error:b@dc2 !"]


async def test_at_the_start_a_first_that_has_none_isnt_waited_for(world: World) -> None:
    world.first.remove("a")
    async with watched(world.clock, world.failover) as watch:
        assert await watch.told() == ["changed:b@dc2"]


async def test_at_the_start_a_silent_first_is_waited_for_a_while(world: World) -> None:
    world.first.silent = True
    async with watched(world.clock, world.failover) as watch:
        assert await watch.told(1.9) == []
        assert await watch.told(0.2) == ["error:b@dc2 !"]


async def test_at_the_start_a_silent_spare_isnt_waited_for(world: World) -> None:
    world.second.silent = True
    async with watched(world.clock, world.failover) as watch:
        (event,) = await watch.events()
        assert watch.ids == ["a@dc1"]
        assert str(event.error) == "dc2: no answer yet"


async def test_while_no_member_was_ever_heard_it_is_an_error(world: World) -> None:
    world.first.down()
    world.second.down()
    async with world.failover:
        with pytest.raises(UnreachableError, match="dc1: connection refused; dc2: connection refused"):
            await world.failover.fetch(Query("users"), None)


# What is told.


async def test_each_switch_is_logged_with_its_reason(
    world: World, watch: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "asyncsd.composite")
    await watch.told(60.0)
    world.first.remove("a")
    await watch.told(5.0)
    world.first.add("a")
    await watch.told(31.0)
    world.first.down()
    await watch.told(11.0)
    assert [record.message for record in caplog.records if record.name == "asyncsd.composite"] == [
        "'users' is served by dc2 now: dc1 has no instance that fits",
        "'users' is served by dc1 again: it was good for 30 s",
        "'users' is served by dc2 now: dc1 can't be heard for 10.0 s: connection refused",
    ]


async def test_names_are_those_of_all_members(world: World) -> None:
    world.second.add(instance("o", service="orders"))
    async with world.failover:
        assert list((await world.failover.fetch_names(None)).services) == ["orders", "users"]


async def test_composites_nest(world: World) -> None:
    spare = FaultyMemory("c", clock=world.clock)
    eu = Merge({"east": world.first, "west": world.second}, clock=world.clock)
    failover = Failover({"eu": eu, "us": spare}, down=DOWN, back=BACK, clock=world.clock)
    async with watched(world.clock, failover) as watch:
        assert await watch.told(60.0) == ["changed:a@eu/east b@eu/west"]
        world.first.down()
        (event,) = await watch.events(60.0)
        assert (event.stale, str(event.error)) == (False, "eu: east: connection refused")
        assert watch.ids == ["a@eu/east", "b@eu/west"]
        world.second.down()
        await watch.told(60.0)
        assert watch.ids == ["c@us"]
        world.second.up()
        await watch.told(29.0)
        assert watch.ids == ["c@us"]
        await watch.told(5.0)
        assert watch.ids == ["a@eu/east", "b@eu/west"]
    assert not spare.is_open
