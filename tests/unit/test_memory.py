import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from asyncsd import (
    ClosedError,
    Health,
    HTTPCheck,
    Instance,
    Lease,
    NotRegisteredError,
    Query,
    Record,
    Reply,
    TTLCheck,
    UnsupportedError,
)
from asyncsd.testing import FakeClock, MemoryBackend

A = Instance("a", "users", "10.0.0.1", 80, tags=("v1",))
B = Instance("b", "users", "10.0.0.2", 80)
ORDER = Instance("o", "orders", "10.0.0.3", 80)
USERS = Query("users")
TTL = Record("t", "users", "10.0.0.9", 80, checks=(TTLCheck(ttl=15.0, deregister_after=60.0),))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def memory(clock: FakeClock) -> AsyncIterator[MemoryBackend]:
    async with MemoryBackend(A, clock=clock) as backend:
        yield backend


class Waiting:
    """A fetch that waits for a change from what is known now."""

    def __init__(self, task: asyncio.Task[Reply], clock: FakeClock) -> None:
        self._task, self._clock = task, clock

    @property
    async def done(self) -> bool:
        await self._clock.settle()
        return self._task.done()

    @property
    async def reply(self) -> Reply:
        assert await self.done
        return await self._task

    def cancel(self) -> None:
        self._task.cancel()


async def waiting(memory: MemoryBackend, clock: FakeClock, query: Query = USERS) -> Waiting:
    now = await memory.fetch(query, None)
    task = asyncio.create_task(memory.fetch(query, now.cursor))
    await clock.settle()
    assert not task.done()
    return Waiting(task, clock)


async def status(memory: MemoryBackend, id: str) -> str | None:
    reply = await memory.fetch(USERS, None)
    return next((instance.status for instance in reply.instances if instance.id == id), None)


async def test_put_and_remove_wake_a_fetch_of_that_service(memory: MemoryBackend, clock: FakeClock) -> None:
    waits = await waiting(memory, clock)
    memory.put(B)
    assert (await waits.reply).instances == (A, B)
    waits = await waiting(memory, clock)
    memory.remove("a", "never-there")
    assert (await waits.reply).instances == (B,)


async def test_another_service_wakes_nobody(memory: MemoryBackend, clock: FakeClock) -> None:
    waits = await waiting(memory, clock)
    memory.put(ORDER)
    memory.remove("o")
    assert not await waits.done
    waits.cancel()


async def test_unchanged_it_answers_the_same_after_its_wait(memory: MemoryBackend, clock: FakeClock) -> None:
    waits = await waiting(memory, clock)
    await clock.advance(54.9)
    assert not await waits.done
    await clock.advance(0.1)
    assert (await waits.reply).instances == (A,)


async def test_clear_wakes_everybody_and_its_index_goes_back(memory: MemoryBackend, clock: FakeClock) -> None:
    memory.put(B)
    memory.put(ORDER)
    before = await memory.fetch(USERS, None)
    waits = [await waiting(memory, clock), await waiting(memory, clock, Query("orders"))]
    memory.clear()
    replies = [await wait.reply for wait in waits]
    assert [reply.instances for reply in replies] == [(), ()]
    assert all(reply.index < before.index for reply in replies)  # type: ignore[operator]


async def test_clear_is_seen_though_the_index_comes_to_where_it_was(
    memory: MemoryBackend, clock: FakeClock
) -> None:
    before = await memory.fetch(USERS, None)
    waits = await waiting(memory, clock)
    memory.clear()
    memory.put(B)
    reply = await waits.reply
    assert (reply.index, reply.instances) == (before.index, (B,))


async def test_index_grows_with_every_change(memory: MemoryBackend) -> None:
    indexes: list[Any] = []
    for change in (lambda: memory.put(B), lambda: memory.remove("a"), lambda: memory.put(ORDER)):
        change()
        indexes.append((await memory.fetch(USERS, None)).index)
    assert indexes == sorted(set(indexes))


async def test_ttl_turns_critical_then_goes(memory: MemoryBackend, clock: FakeClock) -> None:
    lease = await memory.register(TTL)
    assert await status(memory, "t") == "critical"
    await memory.renew(lease, Health("passing"))
    assert await status(memory, "t") == "passing"
    await clock.advance(14.9)
    assert await status(memory, "t") == "passing"
    await clock.advance(0.1)
    assert await status(memory, "t") == "critical"
    await clock.advance(59.9)
    assert await status(memory, "t") == "critical"
    await clock.advance(0.1)
    assert await status(memory, "t") is None
    with pytest.raises(NotRegisteredError, match="'t'"):
        await memory.renew(lease, Health("passing"))


async def test_a_waiting_fetch_sees_a_ttl_run_out(memory: MemoryBackend, clock: FakeClock) -> None:
    await memory.renew(await memory.register(TTL), Health("warning"))
    waits = await waiting(memory, clock)
    await clock.advance(15.0)
    assert [i.status for i in (await waits.reply).instances] == ["passing", "critical"]


async def test_registering_again_keeps_the_status(memory: MemoryBackend) -> None:
    lease = await memory.register(TTL)
    await memory.renew(lease, Health("passing"))
    await memory.register(Record("t", "users", "10.0.0.9", 81, checks=TTL.checks), lease)
    reply = await memory.fetch(USERS, None)
    assert [(i.port, i.status) for i in reply.instances if i.id == "t"] == [(81, "passing")]


async def test_registering_an_id_for_another_service_moves_it(memory: MemoryBackend) -> None:
    await memory.register(Record("m", "users", "h", 1))
    await memory.register(Record("m", "orders", "h", 1))
    assert await status(memory, "m") is None
    assert len((await memory.fetch(Query("orders"), None)).instances) == 1


async def test_drained_is_critical_until_it_is_back(memory: MemoryBackend) -> None:
    lease = await memory.register(TTL)
    await memory.renew(lease, Health("warning"))
    await memory.drain(lease, True)
    assert await status(memory, "t") == "critical"
    await memory.renew(lease, Health("warning"))
    assert await status(memory, "t") == "critical"
    await memory.drain(lease, False)
    assert await status(memory, "t") == "warning"


async def test_observe_tells_of_changes_and_of_the_end(memory: MemoryBackend, clock: FakeClock) -> None:
    lease = await memory.register(Record("m", "users", "h", 1))
    cursor = await memory.observe(lease, None)
    observing = asyncio.create_task(memory.observe(lease, cursor))
    memory.put(B)
    await clock.settle()
    assert not observing.done()
    memory.remove("m")
    with pytest.raises(NotRegisteredError):
        await observing


async def test_a_check_that_memory_cannot_run_names_what_would_do(memory: MemoryBackend) -> None:
    with pytest.raises(UnsupportedError, match="HTTPCheck needs a registry that does: use TTLCheck"):
        await memory.register(Record("m", "users", "h", 1, checks=(HTTPCheck("http://h/"),)))


async def test_not_open_is_a_closed_error(clock: FakeClock) -> None:
    memory = MemoryBackend(A, clock=clock)
    with pytest.raises(ClosedError, match="use `async with`"):
        await memory.fetch(USERS, None)
    with pytest.raises(ClosedError):
        await memory.deregister(Lease(TTL, where="memory"))


async def test_opening_twice_is_refused_and_again_after_a_close_is_not(clock: FakeClock) -> None:
    memory = MemoryBackend(A, clock=clock)
    async with memory:
        with pytest.raises(RuntimeError, match="open already"):
            await memory.__aenter__()
        assert memory.is_open
    assert not memory.is_open
    async with memory:
        assert (await memory.fetch(USERS, None)).instances == (A,)


async def test_close_ends_the_waits_at_once(memory: MemoryBackend, clock: FakeClock) -> None:
    waits = await waiting(memory, clock)
    await memory.aclose()
    await memory.aclose()
    with pytest.raises(ClosedError):
        await waits.reply


async def test_a_second_loop_is_told_whose_it_is(memory: MemoryBackend) -> None:
    def elsewhere() -> None:
        asyncio.run(memory.fetch(USERS, None))  # type: ignore[arg-type]

    with pytest.raises(RuntimeError, match="belongs to another event loop"):
        await asyncio.to_thread(elsewhere)


async def test_many_waits_see_every_change_that_matters(memory: MemoryBackend, clock: FakeClock) -> None:
    """Whatever comes in which order, a watch that follows the cursor ends with the truth."""
    rng = random.Random(3)
    seen: dict[int, tuple[Instance, ...]] = {}

    async def follow(number: int) -> None:
        cursor: Any = None
        while True:
            reply = await memory.fetch(USERS, cursor)
            cursor, seen[number] = reply.cursor, reply.instances

    tasks = [asyncio.create_task(follow(number)) for number in range(20)]
    for _ in range(100):
        id = rng.choice("abcdef")
        if rng.random() < 0.05:
            memory.clear()
        elif rng.random() < 0.5:
            memory.put(Instance(id, "users", "h", rng.randrange(3)))
        else:
            memory.remove(id)
        for _ in range(rng.randrange(3)):
            await asyncio.sleep(0)
    await clock.settle()
    truth = (await memory.fetch(USERS, None)).instances
    assert all(instances == truth for instances in seen.values())
    for task in tasks:
        task.cancel()
