"""A composite with a store, after a restart: what a member told is kept until that member is heard."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from asyncsd import Event, Instance, Query, StoredSnapshot, Watcher
from asyncsd.backends.composite import Failover, Merge
from asyncsd.testing import FakeClock
from tests.support.members import LIMITS, FaultyMemory, instance, short

USERS = Query("users")


class Store:
    """Holds one list."""

    every = 5.0

    def __init__(self, *stored: Instance) -> None:
        self.kept: StoredSnapshot | None = StoredSnapshot(stored, 3600.0) if stored else None
        self.saved: list[list[str]] = []

    async def load(self, query: Query) -> StoredSnapshot | None:
        return self.kept

    async def save(self, query: Query, stored: StoredSnapshot) -> None:
        self.kept = stored
        self.saved.append([f"{each.id}@{each.origin}" for each in stored.instances])


class World:
    def __init__(self, *stored: Instance) -> None:
        self.clock = FakeClock()
        self.east = FaultyMemory("a", clock=self.clock)
        self.west = FaultyMemory("b", clock=self.clock)
        self.store = Store(*stored)
        self.queue = asyncio.Queue[Event](100)
        self.watcher: Watcher

    def merge(self) -> Merge:
        return Merge(
            {"east": self.east, "west": self.west}, clock=self.clock, rng=random.Random(1), limits=LIMITS
        )

    def failover(self) -> Failover:
        members = {"east": self.east, "west": self.west}
        return Failover(members, down=2.0, back=3.0, clock=self.clock, rng=random.Random(1), limits=LIMITS)

    @asynccontextmanager
    async def watching(self, backend: Merge | Failover) -> AsyncGenerator[None, None]:
        async with backend:
            self.watcher = Watcher(backend, USERS, clock=self.clock, rng=random.Random(1), store=self.store)
            task = asyncio.create_task(self.watcher.run(self.queue))
            await self.clock.settle()
            try:
                yield
            finally:
                task.cancel()
                await asyncio.wait([task])

    async def told(self, seconds: float = 0.0) -> list[str]:
        await self.clock.advance(seconds)
        return [short(self.queue.get_nowait()) for _ in range(self.queue.qsize())]


def old(id: str, origin: str, **fields: object) -> Instance:
    return instance(id, origin=origin, **fields)


async def test_what_a_member_told_before_the_restart_serves_on_until_it_is_heard() -> None:
    world = World(old("x", "east"), old("y", "west"))
    world.west.down()
    async with world.watching(world.merge()):
        assert (await world.told())[-1] == "stored:a@east y@west !"
        world.east.add("c")
        assert await world.told(60.0) == ["changed:a@east c@east y@west !"]
        assert world.watcher.health().state == "live"
        assert world.store.saved == []  # Its age would be lost.
        world.west.up()
        assert await world.told(20.0) == ["recovered:a@east b@west c@east"]
    assert world.store.saved[-1] == ["a@east", "b@west", "c@east"]


async def test_it_serves_from_the_first_second_on_where_a_member_hangs() -> None:
    world = World(old("x", "east"), old("y", "west"))
    world.west.silent = True
    async with world.watching(world.merge()):
        assert await world.told(1.5) == ["stored:x@east y@west ?"]
        assert await world.told(1.5) == ["error:a@east y@west !"]
        world.west.up()
        world.west.cut()
        assert (await world.told(20.0))[-1] == "recovered:a@east b@west"


async def test_a_member_that_is_heard_and_has_none_keeps_none() -> None:
    world = World(old("x", "east"), old("y", "west"))
    world.east.remove("a")
    async with world.watching(world.merge()):
        assert await world.told(5.0) == ["changed:b@west"]


async def test_with_nothing_live_in_it_the_list_is_stale() -> None:
    world = World(old("y", "west"))
    world.east.remove("a")
    world.west.down()
    async with world.watching(world.merge()):
        assert (await world.told(30.0))[-1] == "stored:y@west ? !"
        world.west.up()
        assert (await world.told(20.0))[-1] == "recovered:b@west"


async def test_an_address_that_a_live_member_tells_of_counts_once() -> None:
    world = World(old("x", "east"), old("a", "west"))
    world.west.down()
    async with world.watching(world.merge()):
        assert (await world.told(5.0))[-1] == "error:a@east !"


async def test_a_list_without_a_member_is_saved_where_nothing_else_is_known() -> None:
    world = World()
    world.west.down()
    async with world.watching(world.merge()):
        assert await world.told(5.0) == ["error:a@east !"]
    assert world.store.saved == [["a@east"]]


async def test_a_member_that_goes_again_is_remembered_as_it_was_heard() -> None:
    world = World(old("x", "east"), old("y", "west"))
    world.west.down()
    async with world.watching(world.merge()):
        await world.told(1.0)
        world.east.down()
        assert (await world.told(10.0))[-1] == "error:a@east y@west ? !"
        world.west.up()
        assert (await world.told(20.0))[-1] == "error:a@east b@west !"


async def test_members_of_members_are_kept_the_same_way() -> None:
    world = World(old("x", "all/east"), old("y", "all/west"))
    world.west.down()
    outer = Merge({"all": world.merge()}, clock=world.clock, rng=random.Random(1), limits=LIMITS)
    async with world.watching(outer):
        assert (await world.told(5.0))[-1] == "stored:a@all/east y@all/west !"
        world.west.up()
        assert (await world.told(40.0))[-1] == "recovered:a@all/east b@all/west"


async def test_a_failover_to_a_member_with_none_goes_on_with_what_the_first_had() -> None:
    world = World(old("x", "east"))
    world.west.remove("b")
    world.east.down()
    async with world.watching(world.failover()):
        assert (await world.told(30.0))[-1] == "stored:x@east ? !"
        world.east.up()
        assert (await world.told(20.0))[-1] == "recovered:a@east"


async def test_a_failover_to_a_member_that_has_some_needs_nothing_of_the_store() -> None:
    world = World(old("x", "east"))
    world.east.down()
    async with world.watching(world.failover()):
        assert (await world.told(30.0))[-1] == "error:b@west !"
    assert world.store.saved[-1] == ["b@west"]
