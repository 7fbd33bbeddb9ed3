"""The names of all services are kept current by the same loop."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import pytest

from asyncsd import BackendError, ClosedError, Names, UnreachableError, UnsupportedError
from asyncsd._names import NamesWatcher
from asyncsd.backends.memory import MemoryBackend
from asyncsd.testing import FakeClock
from tests.support.scripted import Line, ScriptedBackend, instance

REFUSED = UnreachableError("refused")


def names(*services: str, index: int = 1, known_leader: bool = True) -> Names:
    return Names(dict.fromkeys(services, ("v1",)), index, index, known_leader)


@asynccontextmanager
async def watching(*lines: Line) -> AsyncGenerator[tuple[ScriptedBackend, NamesWatcher, FakeClock], None]:
    clock = FakeClock()
    backend = ScriptedBackend(*lines, clock=clock)
    watcher = NamesWatcher(backend, clock=clock)
    task = asyncio.create_task(watcher.run())
    await clock.settle()
    try:
        yield backend, watcher, clock
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert watcher.health().state == "closed"


async def test_a_subscriber_gets_what_is_known_and_then_each_change() -> None:
    clock = FakeClock()
    async with MemoryBackend(instance("a", tags=("v1",)), clock=clock) as backend:
        watcher = NamesWatcher(backend, clock=clock)
        running = asyncio.create_task(watcher.run())
        await clock.advance(1.0)
        subscription = watcher.subscribe()
        assert await subscription.get() == {"users": ("v1",)}
        backend.put(instance("b", service="carts"))
        await clock.advance(1.0)
        assert await subscription.get() == {"users": ("v1",), "carts": ()}
        assert repr(watcher) == "NamesWatcher(live, 2 services, 3 fetches)"
    await running
    assert [services async for services in subscription] == []


async def test_a_slow_subscriber_gets_the_latest_only() -> None:
    async with watching(names("a")) as (backend, watcher, clock):
        subscription = watcher.subscribe()
        await subscription.get()
        backend.say(names("a", "b", index=2), names("a", "b", "c", index=3))
        await clock.advance(1.0)
        assert sorted(await subscription.get()) == ["a", "b", "c"]


async def test_the_same_answer_wakes_nobody() -> None:
    async with watching(names("a")) as (backend, watcher, clock):
        subscription = watcher.subscribe()
        await subscription.get()
        waiting = asyncio.create_task(subscription.get())
        backend.say(names("a", index=2))
        await clock.advance(1.0)
        assert not waiting.done()
        waiting.cancel()


async def test_what_is_given_cant_be_changed() -> None:
    async with watching(names("a")) as (_, watcher, _):
        services: Mapping[str, tuple[str, ...]] = await watcher.subscribe().get()
        with pytest.raises(TypeError):
            services["b"] = ()  # type: ignore[index]


@pytest.mark.parametrize(
    "lines",
    [[names(index=1)], [names(index=9, known_leader=False)], [REFUSED, names(index=9)]],
    ids=["index back", "no leader", "after an error"],
)
async def test_a_catalogue_that_seems_lost_is_kept_for_a_while(lines: list[Line]) -> None:
    async with watching(names("a", index=7)) as (backend, watcher, clock):
        backend.say(*lines, names(index=10))
        await clock.advance(9.0)
        assert watcher.services == {"a": ("v1",)}
        assert watcher.health().resets == 1
        await clock.advance(3.0)
        assert watcher.services == {}


async def test_a_catalogue_that_comes_back_in_the_hold_is_believed_at_once() -> None:
    async with watching(names("a", index=7)) as (backend, watcher, clock):
        backend.say(names(index=1), names("b", index=2))
        await clock.advance(2.0)
        assert watcher.services == {"b": ("v1",)}
        await clock.advance(20.0)
        assert watcher.services == {"b": ("v1",)}


async def test_a_registry_that_fails_in_the_hold_doesnt_cost_the_catalogue() -> None:
    async with watching(names("a", index=7)) as (backend, watcher, clock):
        backend.say(names(index=1), *[REFUSED] * 100)
        await clock.advance(30.0)
        assert watcher.services == {"a": ("v1",)}


async def test_a_catalogue_that_becomes_empty_on_a_growing_index_is_empty() -> None:
    async with watching(names("a", index=7)) as (backend, watcher, clock):
        backend.say(names(index=8))
        await clock.advance(1.0)
        assert watcher.services == {}


async def test_an_outage_shows_in_the_health_and_the_names_stay() -> None:
    async with watching(names("a")) as (backend, watcher, clock):
        error = BackendError("500", status=500)
        backend.say(error)
        await clock.advance(0.3)
        health = watcher.health()
        assert (health.state, health.failures, health.error) == ("failing", 1, error)
        assert watcher.services == {"a": ("v1",)}


async def test_a_closed_watch_raises_in_those_who_wait(caplog: pytest.LogCaptureFixture) -> None:
    async with watching() as (_, watcher, clock):
        waiting = asyncio.create_task(watcher.subscribe().get())
        await clock.settle()
        with pytest.raises(RuntimeError, match="make another"):
            await watcher.run()
    with pytest.raises(ClosedError):
        await waiting


async def test_a_bug_reaches_those_who_wait() -> None:
    clock = FakeClock()
    watcher = NamesWatcher(ScriptedBackend(ZeroDivisionError("a bug"), clock=clock), clock=clock)
    with pytest.raises(ZeroDivisionError):
        await watcher.run()
    with pytest.raises(ZeroDivisionError):
        await watcher.subscribe().get()


async def test_a_registry_that_cant_list_its_services_ends_the_watch_with_its_error() -> None:
    error = UnsupportedError("it has no such list")
    async with watching(error) as (_, watcher, clock):
        with pytest.raises(UnsupportedError, match="no such list"):
            await watcher.subscribe().get()
        await clock.advance(60.0)
        health = watcher.health()
        assert (health.state, health.fetches, health.error) == ("closed", 1, error)


async def test_one_that_could_list_them_before_is_asked_again() -> None:
    async with watching(names("a")) as (backend, watcher, clock):
        backend.say(UnsupportedError("no such page"), names("a", "b", index=2))
        await clock.advance(10.0)
        assert sorted(await watcher.subscribe().get()) == ["a", "b"]


async def test_a_registry_that_is_late_to_tell_all_again_is_given_that_long() -> None:
    async with watching(names("a", index=7)) as (backend, watcher, clock):
        backend.say(REFUSED, Names({}, 1, 1, hold=30.0))
        await clock.advance(29.0)
        assert watcher.services == {"a": ("v1",)}
        await clock.advance(5.0)
        assert watcher.services == {}
