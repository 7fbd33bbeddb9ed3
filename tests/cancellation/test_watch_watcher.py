"""A watch and its readers, cancelled at every step, leave nothing behind and lose nothing."""

import asyncio
import random
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from asyncsd import Event, UnreachableError
from asyncsd._names import NamesWatcher
from asyncsd._subscription import Subscription
from asyncsd._watcher import Watcher
from asyncsd.backends.memory import MemoryBackend
from asyncsd.testing import FakeClock
from tests.cancellation.steps import cancel_at_every_step
from tests.support.scripted import ScriptedBackend, instance, reply

Body = Coroutine[Any, Any, object]


async def test_a_watch_that_is_cancelled_tells_its_queue_and_lets_go_of_it() -> None:
    @asynccontextmanager
    async def world(clock: FakeClock) -> AsyncGenerator[Body, None]:
        lines = [
            reply("a", index=7),
            reply("a", "b", index=8),
            UnreachableError("refused"),
            UnreachableError("refused"),
            reply("a", index=3),
            reply(index=4),
            reply(index=5),
        ]
        backend, queue = ScriptedBackend(*lines, clock=clock), asyncio.Queue[Event](2)
        watcher = Watcher(backend, "users", clock=clock, rng=random.Random(1))
        yield watcher.run(queue)
        events = [queue.get_nowait() for _ in range(queue.qsize())]
        assert events[-1].closed
        assert not any(event.closed for event in events[:-1])
        assert watcher.hub.subscribers == backend.hanging == clock.sleepers == 0

    assert await cancel_at_every_step(world, limit=60) == 60


async def test_a_watch_of_the_names_that_is_cancelled_is_closed() -> None:
    @asynccontextmanager
    async def world(clock: FakeClock) -> AsyncGenerator[Body, None]:
        async with MemoryBackend(instance("a"), clock=clock) as backend:
            watcher = NamesWatcher(backend, clock=clock)
            yield watcher.run()
            assert watcher.health().state == "closed"
            assert [services async for services in watcher.subscribe()] in ([], [{"users": ()}])

    await cancel_at_every_step(world, limit=30)


async def test_a_reader_that_is_cancelled_loses_no_event() -> None:
    @asynccontextmanager
    async def world(clock: FakeClock) -> AsyncGenerator[Body, None]:
        async with MemoryBackend(instance("a"), clock=clock) as backend:
            watcher = Watcher(backend, "users", clock=clock)
            subscription = Subscription(watcher)
            running = asyncio.create_task(watcher.run())
            seen: list[str] = []

            async def read() -> None:
                for id in ("b", "c"):
                    event = await subscription.get()
                    seen.extend(each.id for each in event.added)
                    backend.put(instance(id))

            yield read()
            backend.put(instance("z"))
            await clock.advance(2.0)
            while "z" not in seen:
                seen.extend(each.id for each in (await subscription.get()).added)
            assert seen == sorted(set(seen))
            assert set(seen) >= {"a", "z"}
            subscription.close()
            assert watcher.hub.subscribers == 0
        await running

    await cancel_at_every_step(world)


async def test_a_reader_that_waits_for_the_first_list_leaves_nothing() -> None:
    @asynccontextmanager
    async def world(clock: FakeClock) -> AsyncGenerator[Body, None]:
        backend = ScriptedBackend(3.0, reply("a"), clock=clock)
        watcher = Watcher(backend, "users", clock=clock)
        running = asyncio.create_task(watcher.run())
        yield watcher.hub.ready()
        await clock.advance(5.0)
        assert len(await watcher.hub.ready()) == 1
        running.cancel()
        await asyncio.wait([running])

    await cancel_at_every_step(world)
