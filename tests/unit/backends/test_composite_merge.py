"""Merge: the instances of all members, each as far as its member can be trusted."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from asyncsd import (
    BackendError,
    Balancer,
    ClosedError,
    Discovery,
    NoInstances,
    PermissionDeniedError,
    Query,
    UnreachableError,
    UnsupportedError,
)
from asyncsd.backends.composite import Merge
from asyncsd.testing import FakeClock, MemoryBackend
from tests.support.members import LIMITS, REFUSED, FaultyMemory, Watched, instance, watched

USERS = Query("users")


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.east = FaultyMemory("a", clock=self.clock)
        self.west = FaultyMemory("b", clock=self.clock)
        self.merge = Merge(
            {"east": self.east, "west": self.west}, clock=self.clock, rng=random.Random(1), limits=LIMITS
        )

    def over(self, east: str = "", west: str = "") -> "World":
        """The same with other instances: "ab" are two."""
        self.east.remove("a")
        self.west.remove("b")
        self.east.add(*east)
        self.west.add(*west)
        return self


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def watch(world: World) -> AsyncIterator[Watched]:
    async with watched(world.clock, world.merge) as watch:
        yield watch


async def test_the_instances_of_all_members_are_told_with_their_origin(watch: Watched) -> None:
    assert await watch.told() == ["changed:a@east b@west"]


async def test_a_change_of_one_member_is_told_and_the_others_arent_asked_again(
    world: World, watch: Watched
) -> None:
    await watch.told(5.0)
    asked = len(world.west.cursors)
    for id in "cdefg":
        world.east.add(id)
        assert len(await watch.told(2.0)) == 1
    assert watch.ids == ["a@east", "b@west", "c@east", "d@east", "e@east", "f@east", "g@east"]
    assert len(world.west.cursors) == asked


async def test_an_instance_keeps_its_object_while_another_one_changes(world: World, watch: Watched) -> None:
    (first,) = await watch.events(2.0)
    world.east.add("c")
    (second,) = await watch.events(2.0)
    assert first.snapshot is not None
    assert second.snapshot is not None
    assert all(one is other for one, other in zip(first.snapshot, second.snapshot, strict=False))
    assert [each.id for each in second.added] == ["c"]


async def test_a_fetch_gives_the_same_objects_while_nothing_about_them_changes(world: World) -> None:
    async with world.merge:
        before = await world.merge.fetch(USERS, None)
        world.east.add("c")
        await world.clock.advance(1.0)
        after = await world.merge.fetch(USERS, before.cursor)
        assert len(after.instances) == 3
        kept = {id(each) for each in after.instances}
        assert all(id(each) in kept for each in before.instances)


# One that is down.


async def test_what_a_member_told_last_serves_on_while_it_is_down_and_the_error_names_it(
    world: World, watch: Watched
) -> None:
    await watch.told(2.0)
    world.west.down()
    (event,) = await watch.events(5.0)
    assert watch.ids == ["a@east", "b@west"]
    assert (event.reason, event.stale) == ("error", False)
    assert isinstance(event.error, UnreachableError)
    assert str(event.error) == "west: connection refused"
    assert event.error.__cause__ is REFUSED


async def test_live_changes_come_through_while_another_member_is_down(world: World, watch: Watched) -> None:
    await watch.told(2.0)
    world.west.down()
    await watch.told(5.0)
    world.east.add("c")
    assert await watch.told(2.0) == ["changed:a@east b@west c@east !"]
    world.east.remove("a")
    assert await watch.told(2.0) == ["changed:b@west c@east !"]


async def test_a_member_that_is_back_is_one_event(world: World, watch: Watched) -> None:
    await watch.told(2.0)
    world.west.down()
    await watch.told(20.0)
    world.west.up()
    assert await watch.told(5.0) == ["recovered:a@east b@west"]


async def test_it_is_stale_once_all_are_down_and_the_error_names_them_all(
    world: World, watch: Watched
) -> None:
    await watch.told(2.0)
    world.west.down()
    world.east.down(PermissionDeniedError("no token", status=403))
    events = await watch.events(5.0)
    assert str(events[-1].error) == "east: no token; west: connection refused"
    assert type(events[-1].error) is BackendError
    assert events[-1].stale
    assert watch.ids == ["a@east", "b@west"]
    world.west.up()
    assert await watch.told(5.0) == ["error:a@east b@west !"]


async def test_an_outage_is_asked_about_once_a_second_by_all_watches_together(world: World) -> None:
    services = [f"service-{number}" for number in range(20)]
    async with world.merge:
        tasks = [
            asyncio.create_task(Watched(world.clock, world.merge, service).run()) for service in services
        ]
        await world.clock.advance(5.0)
        world.west.down()
        await world.clock.advance(10.0)
        world.west.cursors.clear()
        world.east.cursors.clear()
        await world.clock.advance(30.0)
        assert 20 <= len(world.west.cursors) <= 45
        assert world.east.cursors == []
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_health_tells_of_a_part_that_is_down_and_of_the_whole(world: World, watch: Watched) -> None:
    await watch.told(2.0)
    assert (watch.watcher.health().state, watch.watcher.health().error) == ("live", None)
    world.west.down()
    await watch.told(5.0)
    health = watch.watcher.health()
    assert (health.state, str(health.error)) == ("live", "west: connection refused")
    world.east.down()
    await watch.told(5.0)
    assert watch.watcher.health().state == "failing"


async def test_the_age_counts_from_when_the_last_member_was_heard(world: World, watch: Watched) -> None:
    await watch.told(2.0)
    world.west.down()
    await watch.told(100.0)
    world.east.down()
    event = (await watch.events(5.0))[-1]
    assert event.stale
    assert event.age is not None
    assert event.age < 60.0


# One that was never heard.


async def test_the_first_list_waits_a_while_for_a_silent_member_and_then_comes_without_it(
    world: World,
) -> None:
    world.west.silent = True
    async with watched(world.clock, world.merge) as watch:
        assert await watch.told(1.9) == []
        (event,) = await watch.events(0.2)
        assert (str(event.error), event.stale) == ("west: no answer yet", False)
        assert watch.ids == ["a@east"]


async def test_a_member_that_fails_at_once_isnt_waited_for(world: World) -> None:
    world.west.down()
    async with watched(world.clock, world.merge) as watch:
        assert await watch.told() == ["error:a@east !"]
        world.west.up()
        assert await watch.told(5.0) == ["recovered:a@east b@west"]


async def test_while_no_member_was_ever_heard_a_fetch_raises_what_they_raised(world: World) -> None:
    world.west.down()
    world.east.down()
    async with world.merge:
        for _ in range(10):
            with pytest.raises(UnreachableError, match=r"^east: connection refused; west: conn") as raised:
                await world.merge.fetch(USERS, None)
            assert len(raised.traceback) < 10, "the traceback grows with each time that it is raised"
        world.west.up()
        await world.clock.advance(5.0)
        assert [each.id for each in (await world.merge.fetch(USERS, None)).instances] == ["b"]


async def test_a_watch_that_began_in_an_outage_hears_of_its_end(world: World) -> None:
    world.west.down()
    world.east.down()
    async with watched(world.clock, world.merge) as watch:
        assert await watch.told(5.0) == ["error:- ? !"]
        world.west.up()
        assert (await watch.told(5.0))[-1] == "error:b@west !"
        world.east.up()
        assert await watch.told(5.0) == ["recovered:a@east b@west"]


async def test_a_fetch_that_nobody_answers_ends_with_its_wait(world: World) -> None:
    world.east.silent = world.west.silent = True
    async with world.merge:
        fetching = asyncio.create_task(world.merge.fetch(USERS, None))
        await world.clock.advance(54.0)
        assert not fetching.done()
        await world.clock.advance(2.0)
        with pytest.raises(UnreachableError, match="east: no answer yet; west: no answer yet"):
            await fetching


# Lost data.


async def test_a_member_without_its_last_instance_is_believed(world: World, watch: Watched) -> None:
    await watch.told(2.0)
    world.west.remove("b")
    assert await watch.told(5.0) == ["changed:a@east"]
    world.east.remove("a")
    assert await watch.told(5.0) == ["changed:"]


async def test_a_member_that_lost_its_data_is_held_alone_and_the_others_go_on(
    world: World, watch: Watched
) -> None:
    for number in range(3):
        world.west.put(instance("b", weight=number))
    await watch.told(2.0)
    world.west.clear()
    (event,) = await watch.events(2.0)
    assert watch.ids == ["a@east", "b@west"]
    assert "west: it seems to have lost data" in str(event.error)
    assert not event.stale
    world.east.add("c")
    assert await watch.told(2.0) == ["changed:a@east b@west c@east !"]
    assert await watch.told(10.0) == ["recovered:a@east c@east"]


async def test_what_is_registered_again_after_a_loss_never_was_away(world: World, watch: Watched) -> None:
    for number in range(3):
        world.west.put(instance("b", weight=number))
    await watch.told(2.0)
    world.west.clear()
    await watch.told(2.0)
    world.west.put(instance("b", weight=2))
    (event,) = await watch.events(5.0)
    assert (event.reason, event.removed, event.added, event.error) == ("recovered", (), (), None)


# The same address.


@pytest.mark.parametrize(
    ("east", "west", "expected"),
    [
        (instance("a"), instance("a"), ["a@east"]),
        (instance("a"), instance("x", port=ord("a")), ["a@east"]),
        (instance("a", status="critical"), instance("x", port=ord("a")), ["x@west"]),
        (instance("a"), instance("a", host="10.0.0.2"), ["a@east", "a@west"]),
        (instance("a", port=0), instance("b", port=0), ["a@east", "b@west"]),
        (instance("a", port=0), instance("a", port=0), ["a@east"]),
    ],
)
async def test_an_address_counts_once_and_other_addresses_are_other_instances(
    world: World, east: Any, west: Any, expected: list[str]
) -> None:
    world.over().east.add(east)
    world.west.add(west)
    async with watched(world.clock, world.merge) as watch:
        await watch.told(2.0)
        assert watch.ids == expected


async def test_the_word_of_a_live_member_goes_before_one_that_is_remembered(world: World) -> None:
    world.over().east.add(instance("a"))
    world.west.add(instance("x", port=ord("a"), status="critical"))
    async with watched(world.clock, world.merge) as watch:
        await watch.told(2.0)
        assert watch.ids == ["a@east"]
        world.east.down()
        await watch.told(5.0)
        assert watch.ids == []
        assert watch.watcher.hub.snapshot is not None
        assert [each.origin for each in watch.watcher.hub.snapshot.unfit] == ["west"]


async def test_what_one_registry_says_twice_of_an_address_stays(world: World) -> None:
    world.over().east.add(instance("a"), instance("x", port=ord("a")))
    world.west.add(instance("y", port=ord("a")))
    async with watched(world.clock, world.merge) as watch:
        await watch.told(2.0)
        assert watch.ids == ["a@east", "x@east"]


async def test_of_three_members_each_address_is_of_one() -> None:
    members = {
        name: MemoryBackend(*map(instance, ids)) for name, ids in zip("xyz", ("ab", "bc", "ca"), strict=True)
    }
    async with Merge(members) as merge:
        found = (await merge.fetch(USERS, None)).instances
    assert [(each.id, each.origin) for each in found] == [("a", "x"), ("b", "x"), ("c", "y")]


# Ends.


async def test_queries_end_a_while_after_the_last_fetch(world: World) -> None:
    async with world.merge:
        await world.merge.fetch(USERS, None)
        assert world.clock.sleepers > 1
        await world.clock.advance(4.0)
        before = len(world.east.cursors)
        await world.merge.fetch(USERS, None)
        assert len(world.east.cursors) == before
        await world.clock.advance(6.0)
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("asyncsd:")]
        await world.merge.fetch(USERS, None)
        assert len(world.east.cursors) > before


async def test_a_cursor_outlives_the_end_of_the_queries(world: World) -> None:
    async with world.merge:
        first = await world.merge.fetch(USERS, None)
        await world.clock.advance(60.0)
        waiting = asyncio.create_task(world.merge.fetch(USERS, first.cursor))
        await world.clock.advance(5.0)
        assert not waiting.done()
        world.west.add("c")
        await world.clock.settle()
        assert [each.id for each in (await waiting).instances] == ["a", "b", "c"]


async def test_a_borrowed_member_that_is_closed_counts_as_down_and_all_of_them_as_closed(
    world: World,
) -> None:
    async with world.east, world.west, watched(world.clock, world.merge) as watch:
        await watch.told(2.0)
        await world.west.aclose()
        (event,) = await watch.events(2.0)
        assert watch.ids == ["a@east", "b@west"]
        assert str(event.error).startswith("west: ")
        assert isinstance(event.error, ClosedError)
        await world.east.aclose()
        assert (await watch.events(2.0))[-1].closed
        with pytest.raises(ClosedError, match="every member"):
            await world.merge.fetch(USERS, None)


async def test_a_bug_of_a_member_ends_the_watch_with_it(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with watched(world.clock, world.merge) as watch:
        await watch.told(2.0)
        world.west.down(ZeroDivisionError("a bug"))
        (event,) = await watch.events(2.0)
        assert event.closed
        assert isinstance(event.error, ZeroDivisionError)
    assert "died of a bug" in caplog.text


# Names.


async def test_names_are_those_of_all_members_with_all_their_tags(world: World) -> None:
    world.east.add(instance("a", tags=("x",)))
    world.west.add(instance("b", tags=("y",)), instance("o", service="orders"))
    async with world.merge:
        names = await world.merge.fetch_names(None)
        assert names.services == {"orders": (), "users": ("x", "y")}
        waiting = asyncio.create_task(world.merge.fetch_names(names.cursor))
        await world.clock.advance(5.0)
        assert not waiting.done()
        world.west.remove("o")
        await world.clock.settle()
        assert (await waiting).services == {"users": ("x", "y")}


async def test_names_of_a_member_that_is_down_stay(world: World) -> None:
    world.west.add(instance("o", service="orders"))
    async with world.merge:
        names = await world.merge.fetch_names(None)
        waiting = asyncio.create_task(world.merge.fetch_names(names.cursor))
        world.west.down()
        await world.clock.advance(30.0)
        assert not waiting.done()
        world.east.add(instance("p", service="prices"))
        await world.clock.settle()
        assert list((await waiting).services) == ["orders", "prices", "users"]


async def test_names_that_no_member_ever_told_are_an_error(world: World) -> None:
    world.east.down()
    world.west.down()
    async with world.merge:
        with pytest.raises(UnreachableError, match="east: connection refused; west: connection refused"):
            await world.merge.fetch_names(None)
        world.east.up()
        await world.clock.advance(5.0)
        assert list((await world.merge.fetch_names(None)).services) == ["users"]


async def test_names_where_a_member_cant_list_them_are_an_error_that_names_it(world: World) -> None:
    class Reading:
        """A registry that is asked for one service at a time, as DNS is."""

        is_open = True

        def __init__(self) -> None:
            self.fetch = world.east.fetch

    unable: Any = Reading()
    async with world.east, Merge({"east": unable, "west": world.west}) as merge:
        assert len((await merge.fetch(USERS, None)).instances) == 2
        with pytest.raises(UnsupportedError, match="east: Reading can't list the names"):
            await merge.fetch_names(None)
        async with Discovery(merge, clock=world.clock) as sd, sd.watch_services() as names:
            with pytest.raises(UnsupportedError, match="east: Reading can't list the names"):
                await names.get()
        nested: Any = Merge({"all": merge, "west": MemoryBackend(clock=world.clock)}, clock=world.clock)
        async with Discovery(nested, clock=world.clock) as sd, sd.watch_services() as names:
            with pytest.raises(UnsupportedError, match="all: east: Reading can't list the names"):
                await names.get()


async def test_names_wait_a_while_for_a_silent_member(world: World) -> None:
    world.west.silent = True
    async with world.merge:
        asking = asyncio.create_task(world.merge.fetch_names(None))
        await world.clock.advance(1.9)
        assert not asking.done()
        await world.clock.advance(0.2)
        assert list((await asking).services) == ["users"]


# With what stands on it.


async def test_a_balancer_keeps_the_live_ones_though_a_part_is_down_for_long(world: World) -> None:
    async with Discovery(world.merge, clock=world.clock, rng=random.Random(1)) as sd:
        balancer: Balancer[Any] = sd.balancer("users", invalidate_after=10.0)
        async with balancer.acquire():
            pass
        world.west.down()
        await world.clock.advance(60.0)
        assert {balancer.pick().origin for _ in range(20)} <= {"east", "west"}
        world.east.remove("a")
        world.west.up()
        await world.clock.advance(5.0)
        assert balancer.pick().origin == "west"
        world.west.remove("b")
        world.east.down()
        await world.clock.advance(5.0)
        with pytest.raises(NoInstances, match="east: connection refused"):
            balancer.pick()


async def test_one_read_of_a_discovery_leaves_no_lasting_queries(world: World) -> None:
    async with Discovery(world.merge, clock=world.clock) as sd:
        assert [each.origin for each in await sd.instances("users")] == ["east", "west"]
        assert list(await sd.services()) == ["users"]
        await world.clock.advance(10.0)
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("asyncsd:")]


async def test_one_member_alone_is_as_good_as_itself() -> None:
    async with Merge(MemoryBackend(instance("a"), instance("b"))) as merge:
        assert [each.id for each in (await merge.fetch(USERS, None)).instances] == ["a", "b"]
