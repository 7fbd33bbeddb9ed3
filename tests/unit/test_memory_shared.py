"""One registry in a program, and its many parts: Discoveries, loops and threads."""

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from asyncsd import (
    Discovery,
    Health,
    Instance,
    NotRegisteredError,
    Query,
    Record,
    Registration,
    Reply,
    TTLCheck,
)
from asyncsd.backends import from_url
from asyncsd.backends.memory import MemoryBackend, MemoryRegistry
from asyncsd.testing import FakeClock
from tests.test_pages import module

PAGE = Path(__file__).parents[2] / "docs" / "memory.md"
A = Instance("a", "users", "10.0.0.1", 80)
USERS = Query("users")
ME = Registration(service="users", host="127.0.0.1", port=80, check=TTLCheck(ttl=15.0))


def part(registry: MemoryRegistry) -> Discovery[MemoryBackend]:
    return Discovery(MemoryBackend(registry=registry))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def memory(clock: FakeClock) -> AsyncIterator[MemoryBackend]:
    async with MemoryBackend(clock=clock) as backend:
        yield backend


# One loop.


async def test_parts_register_watch_and_balance_through_one_registry() -> None:
    registry = MemoryRegistry()
    async with part(registry) as one, part(registry) as two, two.watch("users") as events:
        async with asyncio.timeout(10.0):
            assert len((await events.get()).snapshot or ()) == 0
            async with one.register(ME, required=True) as registration:
                while not (event := await events.get()).snapshot:
                    pass
                assert event.snapshot[0].id == registration.id
                async with two.balancer("users").acquire(timeout=5.0) as instance:
                    assert instance.id == registration.id
                assert set(await two.services()) == {"users"}
            while (await events.get()).snapshot:
                pass


async def test_closing_one_part_leaves_the_others_and_what_is_registered() -> None:
    registry = MemoryRegistry(A)
    async with MemoryBackend(registry=registry) as one, MemoryBackend(registry=registry) as two:
        now = await two.fetch(USERS, None)
        waiting = asyncio.create_task(two.fetch(USERS, now.cursor))
        await asyncio.sleep(0)
        await one.aclose()
        await asyncio.sleep(0)
        assert not waiting.done()
        registry.remove("a")
        async with asyncio.timeout(10.0):
            assert (await waiting).instances == ()


async def test_many_subscribers_all_see_the_last_state_and_leave_nothing() -> None:
    registry = MemoryRegistry()
    async with AsyncExitStack() as stack, asyncio.timeout(30.0):
        sds = [await stack.enter_async_context(part(registry)) for _ in range(20)]
        readers = [await stack.enter_async_context(sd.watch("users")) for sd in sds for _ in range(10)]
        for number in range(50):
            registry.put(Instance(f"i{number % 7}", "users", "10.0.0.1", number))
            if number % 3 == 0:
                await asyncio.sleep(0)
        truth = registry.instances("users")
        for reader in readers:
            while set((await reader.get()).snapshot or ()) != set(truth):
                pass
        assert len(registry.waiters) <= len(sds), "a watch is shared"
    assert len(registry.waiters) == 0


async def test_a_wait_that_is_cancelled_or_over_leaves_no_waiter(
    memory: MemoryBackend, clock: FakeClock
) -> None:
    registry = memory.registry
    lease = await memory.register(Record("m", "users", "h", 1))
    calls: list[Callable[[], Coroutine[Any, Any, Any]]] = []
    users, names = await memory.fetch(USERS, None), await memory.fetch_names(None)
    observed = await memory.observe(lease, None)
    calls += [lambda: memory.fetch(USERS, users.cursor), lambda: memory.fetch_names(names.cursor)]
    calls += [lambda: memory.observe(lease, observed)]
    for end in ("cancel", "wait", "change", "close"):
        tasks = [asyncio.create_task(call()) for call in calls]
        await clock.settle()
        assert len(registry.waiters) == 3, end
        if end == "cancel":
            for task in tasks:
                task.cancel()
        elif end == "wait":
            await clock.advance(60.0)
        elif end == "change":
            await memory.register(Record("m", "users", "h", 2, tags=("new",)))
        else:
            await memory.aclose()
        await asyncio.wait(tasks, timeout=10.0)
        assert all(task.done() for task in tasks), end
        assert [task.exception() for task in tasks if not task.cancelled()] or end == "cancel"
        assert len(registry.waiters) == 0, end
        if end == "change":
            users, names = await memory.fetch(USERS, None), await memory.fetch_names(None)
            observed = await memory.observe(lease, None)


# TTLs.


async def test_a_ttl_runs_out_for_whoever_asks_though_nobody_waited(clock: FakeClock) -> None:
    memory = MemoryBackend(clock=clock)
    record = Record("t", "users", "h", 1, checks=(TTLCheck(ttl=15.0, deregister_after=60.0),))
    async with memory:
        await memory.renew(await memory.register(record), Health("passing"))
    await clock.advance(15.0)
    assert [each.status for each in memory.instances("users")] == ["critical"]
    await clock.advance(60.0)
    assert memory.instances("users") == ()
    assert memory.registry.services() == {}
    assert repr(memory) == "MemoryBackend(0 instances of 0 services)"


async def test_a_watch_of_one_service_learns_in_time_of_a_ttl_that_came_later(
    memory: MemoryBackend, clock: FakeClock
) -> None:
    """A wait that began without a TTL, or with a longer one, ends by the one that runs out first."""
    long = Record("t", "users", "h", 1, checks=(TTLCheck(ttl=50.0, initial_status="passing"),))
    lease = await memory.register(long)
    now = await memory.fetch(USERS, None)
    waiting: asyncio.Task[Reply] = asyncio.create_task(memory.fetch(USERS, now.cursor))
    await clock.settle()
    short = Record("t", "users", "h", 1, checks=(TTLCheck(ttl=5.0, initial_status="passing"),))
    await memory.register(short, lease)
    await clock.advance(4.9)
    assert not waiting.done()
    await clock.advance(0.1)
    assert [each.status for each in (await waiting).instances] == ["critical"]


async def test_an_observer_hears_that_a_ghost_was_removed(memory: MemoryBackend, clock: FakeClock) -> None:
    record = Record("t", "users", "h", 1, checks=(TTLCheck(ttl=5.0, deregister_after=5.0),))
    lease = await memory.register(record)
    cursor = await memory.observe(lease, None)
    observing = asyncio.create_task(memory.observe(lease, cursor))
    await clock.advance(10.0)
    with pytest.raises(NotRegisteredError, match="'t'"):
        await observing


# Several loops.


class Elsewhere:
    """A loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    async def run(self, coro: Coroutine[Any, Any, Any]) -> Any:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coro, self.loop))

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def elsewhere() -> Any:
    other = Elsewhere()
    yield other
    other.stop()


async def test_a_part_on_another_loop_is_found_and_finds(elsewhere: Elsewhere) -> None:
    registry = MemoryRegistry()
    there = part(registry)
    async with part(registry) as here, here.watch("users") as events, asyncio.timeout(20.0):
        await events.get()
        await elsewhere.run(there.__aenter__())
        registering = there.register
        registered = await elsewhere.run(enter(lambda: registering(ME, required=True)))
        while not (event := await events.get()).snapshot:
            pass
        assert event.snapshot[0].port == 80
        registry.put(Instance("o", "orders", "10.0.0.1", 1))
        assert len(await elsewhere.run(there.instances("orders"))) == 1
        with pytest.raises(RuntimeError, match="another event loop"):
            await there.instances("users")
        with pytest.raises(RuntimeError, match="give each loop a backend of its own"):
            await there.backend.fetch(USERS, None)
        await elsewhere.run(registered.aclose())
        while (await events.get()).snapshot:
            pass
        await elsewhere.run(there.aclose())
    assert len(registry.waiters) == 0


async def enter(make: Callable[[], Any]) -> Any:
    context = make()
    await context.__aenter__()
    return context


async def test_a_part_whose_thread_died_goes_out_of_rotation_with_its_ttl(clock: FakeClock) -> None:
    registry = MemoryRegistry(clock=clock)

    async def die() -> None:
        backend = MemoryBackend(registry=registry)
        await backend.__aenter__()
        record = Record("t", "users", "h", 1, checks=(TTLCheck(ttl=15.0),))
        await backend.renew(await backend.register(record), Health("passing"))
        waiting = asyncio.create_task(
            backend.fetch(Query("orders"), (await backend.fetch(Query("orders"), None)).cursor)
        )
        await asyncio.sleep(0)
        assert not waiting.done()

    await asyncio.to_thread(lambda: asyncio.run(die()))
    assert len(registry.waiters) == 0
    async with MemoryBackend(registry=registry) as backend, asyncio.timeout(10.0):
        reply = await backend.fetch(USERS, None)
        assert [each.status for each in reply.instances] == ["passing"]
        waiting = asyncio.create_task(backend.fetch(USERS, reply.cursor))
        await clock.advance(15.0)
        assert [each.status for each in (await waiting).instances] == ["critical"]


async def test_a_loop_that_was_closed_in_the_middle_hurts_nobody() -> None:
    registry = MemoryRegistry()

    def leave() -> None:
        loop = asyncio.new_event_loop()
        backend = MemoryBackend(registry=registry)

        async def wait() -> None:
            await backend.__aenter__()
            await backend.fetch(USERS, (await backend.fetch(USERS, None)).cursor)

        task = loop.create_task(wait())
        for _ in range(5):
            loop.run_until_complete(asyncio.sleep(0))
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()

    await asyncio.to_thread(leave)
    async with part(registry) as sd:
        registry.put(A)
        assert len(await sd.instances("users")) == 1


async def test_changes_from_many_threads_are_seen_by_all_loops(elsewhere: Elsewhere) -> None:
    registry = MemoryRegistry()

    async def follow(until: int) -> int:
        """Follow the cursor until a change with this number; how many replies that took."""
        replies, cursor = 0, None
        async with MemoryBackend(registry=registry) as backend:
            while True:
                reply = await backend.fetch(USERS, cursor)
                cursor, replies = reply.cursor, replies + 1
                if len([each for each in reply.instances if each.port == until]) == 4:
                    return replies

    def change(number: int) -> None:
        rng = random.Random(number)
        for turn in range(300):
            registry.put(Instance(f"i{number}", "users", "h", turn % 100))
            if rng.random() < 0.1:
                registry.remove(f"i{number}")
        registry.put(Instance(f"i{number}", "users", "h", 1000))

    async with asyncio.timeout(30.0), asyncio.TaskGroup() as group:
        tasks = [group.create_task(follow(1000)) for _ in range(5)]
        tasks += [group.create_task(elsewhere.run(follow(1000))) for _ in range(5)]
        for number in range(4):
            group.create_task(asyncio.to_thread(change, number))
    assert all(task.result() for task in tasks)
    assert len(registry.waiters) == 0


def test_a_url_names_no_registry() -> None:
    assert isinstance(from_url("memory://"), MemoryBackend)
    with pytest.raises(ValueError, match="give a MemoryRegistry to each MemoryBackend"):
        from_url("memory://mine")


async def test_the_examples_of_the_page_do_what_they_say(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(module(PAGE), str(PAGE), "exec"), names)
    async with asyncio.timeout(20.0):
        await names["main"]()
        await names["in_two_threads"]()
    assert capsys.readouterr().out.splitlines() == [
        "calls 8001",
        "workers: [8001]",
        "workers: []",
        "calls 8002",
    ]
