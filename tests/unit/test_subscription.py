"""A subscription reads a watch to its end."""

import asyncio

import pytest

from asyncsd import ClosedError, Event, Limits
from asyncsd._subscription import Subscription
from asyncsd._watcher import Watcher
from asyncsd.backends.memory import MemoryBackend
from asyncsd.testing import FakeClock
from tests.support.scripted import instance


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend(clock: FakeClock) -> MemoryBackend:
    return MemoryBackend(instance("a"), clock=clock)


@pytest.fixture
def watcher(backend: MemoryBackend, clock: FakeClock) -> Watcher:
    return Watcher(backend, "users", clock=clock)


async def test_async_for_gives_every_event_and_ends_when_the_watch_does(
    backend: MemoryBackend, watcher: Watcher, clock: FakeClock
) -> None:
    seen = []

    async def read() -> None:
        async for event in subscription:
            assert not event.closed
            seen.append("".join(each.id for each in event.snapshot or ()))

    subscription = Subscription(watcher)
    reading = asyncio.create_task(read())
    async with backend:
        running = asyncio.create_task(watcher.run())
        await clock.advance(1.0)
        backend.put(instance("b"))
        await clock.advance(1.0)
    await running
    await reading
    assert seen == ["a", "ab"]


async def test_get_raises_closed_error_once_what_came_before_was_read(
    backend: MemoryBackend, watcher: Watcher, clock: FakeClock
) -> None:
    subscription = Subscription(watcher)
    async with backend:
        running = asyncio.create_task(watcher.run())
        await clock.advance(1.0)
    await running
    assert (await subscription.get()).snapshot is not None
    for _ in range(2):
        with pytest.raises(ClosedError):
            await subscription.get()


async def test_every_waiting_reader_learns_of_the_closing(watcher: Watcher) -> None:
    subscription = Subscription(watcher)
    readers = [asyncio.create_task(subscription.get()) for _ in range(3)]
    await asyncio.sleep(0)
    watcher.hub.close()
    results = await asyncio.gather(*readers, return_exceptions=True)
    assert [type(result) for result in results] == [ClosedError] * 3


async def test_leaving_ends_the_readers_and_not_the_watch(watcher: Watcher) -> None:
    leaving, staying = Subscription(watcher), Subscription(watcher)
    reader = asyncio.create_task(leaving.get())
    await asyncio.sleep(0)
    leaving.close()
    leaving.close()
    with pytest.raises(ClosedError):
        await reader
    assert [event async for event in leaving] == []
    watcher.hub.publish(None)
    assert not (await staying.get()).closed


async def test_a_cancelled_get_loses_no_event(watcher: Watcher) -> None:
    subscription = Subscription(watcher)
    reader = asyncio.create_task(subscription.get())
    await asyncio.sleep(0)
    watcher.hub.publish(None, reason="reset")
    reader.cancel()  # The Event is there and the reader about to wake.
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert (await subscription.get()).reason == "reset"


async def test_the_queue_may_be_the_users_own(watcher: Watcher) -> None:
    inbox = asyncio.Queue[Event](2)
    subscription = Subscription(watcher, inbox)
    watcher.hub.publish(None)
    assert inbox.get_nowait() is watcher.hub.latest
    with pytest.raises(ValueError, match="one a watch"):
        Subscription(watcher, inbox)
    subscription.close()
    assert inbox.get_nowait().closed


async def test_it_knows_the_latest_list_and_the_watchs_health(
    backend: MemoryBackend, watcher: Watcher, clock: FakeClock
) -> None:
    subscription = Subscription(watcher)
    assert (subscription.snapshot, subscription.health().state) == (None, "starting")
    async with backend:
        running = asyncio.create_task(watcher.run())
        await clock.advance(1.0)
        assert subscription.snapshot == (await subscription.get()).snapshot
        assert subscription.health().state == "live"
    await running


async def test_its_queue_holds_as_many_events_as_the_limits_say(
    backend: MemoryBackend, clock: FakeClock
) -> None:
    watcher = Watcher(backend, "users", clock=clock, limits=Limits(queue=2))
    subscription = Subscription(watcher)
    for _ in range(5):
        watcher.hub.publish(None)
    assert repr(subscription).endswith("1 unread)")
