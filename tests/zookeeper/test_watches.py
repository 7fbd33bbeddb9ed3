"""What watching costs a real ZooKeeper and this process, and that nothing is kept for ever, nor forgotten."""

import asyncio
import logging
import threading
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest

from asyncsd import PermissionDeniedError, Query
from asyncsd.backends.zookeeper import ZooKeeperBackend
from asyncsd.backends.zookeeper._catalog import IDLE
from asyncsd.testing import FakeClock
from tests.support.running import until
from tests.support.zookeeper import ZooKeeper
from tests.zookeeper.watching import (
    ME,
    PATH,
    client_of,
    delete,
    event,
    ids,
    number,
    patient,
    session_of,
    sessions,
    watched,
    watches,
    write,
)

pytestmark = pytest.mark.server("zookeeper")


def watching(backend: ZooKeeperBackend) -> int:
    """How many services the backend keeps a view of."""
    assert backend._opened is not None
    return len(backend._opened.catalog)


async def test_a_quiet_watch_asks_for_nothing(server: ZooKeeper) -> None:
    async with patient(server.host) as backend, watched(backend) as events:
        await event(events, lambda e: not e.stale)
        before = await number(server, "packets_received")
        await asyncio.sleep(1.0)
        assert await number(server, "packets_received") - before <= 5, "pings and our own asking"


async def test_a_watch_that_is_refused_asks_now_and_then(server: ZooKeeper) -> None:
    async with patient(server.host, user="me", password="sesame") as mine:
        await mine.register(ME.record(id="one", host="127.0.0.1"))
        async with patient(server.host) as other, watched(other) as events:
            await event(events, lambda e: isinstance(e.error, PermissionDeniedError))
            before, began = await number(server, "packets_received"), time.monotonic()
            await asyncio.sleep(1.0)
            assert await number(server, "packets_received") - before < 20 * (time.monotonic() - began)


async def test_a_hundred_watches_are_one_connection_and_four_threads(server: ZooKeeper) -> None:
    before, threads = await sessions(server), own_threads()
    async with patient(server.host) as backend, AsyncExitStack() as stack:
        watches = [await stack.enter_async_context(watched(backend, f"s{n}")) for n in range(100)]
        for events in watches:
            await event(events, lambda e: not e.stale)
        assert await sessions(server) - before == {session_of(backend)}
        assert len(own_threads() - threads) <= 4
        await write(server.host, "/services/s7/one", b"10.0.0.1:80")
        await event(watches[7], lambda e: ids(e) == ["one"])


def own_threads() -> set[threading.Thread]:
    """All but those of the loop's own pool."""
    return {thread for thread in threading.enumerate() if "asyncio_" not in thread.name}


async def test_services_that_nobody_asks_for_any_more_are_dropped(server: ZooKeeper) -> None:
    clock = FakeClock()
    async with patient(server.host, clock=clock) as backend:
        await asyncio.gather(*(backend.fetch(Query(f"job-{n}"), None) for n in range(50)))
        assert watching(backend) == 50
        assert len(await watches(server, session_of(backend))) == 50
        await clock.advance(IDLE)
        for name in ("another", "one more"):  # The answer to the second comes after what the first set off.
            await backend.fetch(Query(name), None)
        assert watching(backend) == 2
        assert len(await watches(server, session_of(backend))) == 2, "none is left at the server"

        async def two_in_kazoo() -> bool:
            await asyncio.sleep(0.01)
            return len(client_of(backend)._data_watchers) == 2

        await until(two_in_kazoo)  # It notes a watch after it has told the answer.


async def test_to_take_back_a_watch_that_is_gone_does_no_harm(
    server: ZooKeeper, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with patient(server.host) as backend:
        await backend.fetch(Query("never"), None)
        assert backend._opened is not None
        for _ in range(2):
            backend._opened.session.unwatch("/services/never")
        await backend.fetch(Query("another"), None)
    assert "NoWatcherError" in caplog.text
    assert "is lost" not in caplog.text


async def test_a_service_that_was_dropped_is_read_anew(server: ZooKeeper) -> None:
    clock = FakeClock()
    async with patient(server.host, clock=clock) as backend:
        for node in ("/services/dropped/one", "/services/gone/one"):
            await write(server.host, node, b"10.0.0.1:80")
        first = {name: await backend.fetch(Query(name), None) for name in ("dropped", "gone", "never")}
        await clock.advance(IDLE)
        await backend.fetch(Query("another"), None)
        assert watching(backend) == 1
        await write(server.host, "/services/dropped/two", b"10.0.0.2:80")
        for name, count in (("dropped", 2), ("gone", 1), ("never", 0)):
            reply = await backend.fetch(Query(name), first[name].cursor)
            assert len(reply.instances) == count, "an old cursor doesn't wait for what it has missed"
            waiting = asyncio.create_task(backend.fetch(Query(name), reply.cursor))
            await write(server.host, f"/services/{name}/three", b"10.0.0.3:80")
            async with asyncio.timeout(20):
                assert len((await waiting).instances) == count + 1


async def test_who_waits_for_longer_than_that_misses_nothing(server: ZooKeeper) -> None:
    clock = FakeClock()
    async with patient(server.host, clock=clock, wait=10 * IDLE) as backend:
        await write(server.host, PATH, b"10.0.0.1:80")
        reply, names = await backend.fetch(Query("greeter"), None), await backend.fetch_names(None)
        waiting = [
            asyncio.create_task(backend.fetch(Query("greeter"), reply.cursor)),
            asyncio.create_task(backend.fetch(Query("absent"), (await absent(backend)))),
        ]
        listing = asyncio.create_task(backend.fetch_names(names.cursor))
        for n in range(4):
            await clock.advance(IDLE)
            await backend.fetch(Query(f"another-{n}"), None)
        assert watching(backend) == 3, "the two, and the last that was asked for"
        await write(server.host, "/services/absent/one", b"10.0.0.2:80")
        await write(server.host, "/services/greeter/two", b"10.0.0.2:80")
        async with asyncio.timeout(20):
            assert [len((await fetch).instances) for fetch in waiting] == [2, 1]
            assert set((await listing).services) == {"absent", "greeter"}


async def absent(backend: ZooKeeperBackend) -> int:
    return int((await backend.fetch(Query("absent"), None)).cursor)


async def test_who_waits_for_names_hears_of_tags_however_late(server: ZooKeeper) -> None:
    clock = FakeClock()
    async with patient(server.host, clock=clock, wait=10 * IDLE) as backend:
        await write(server.host, PATH, b'{"host":"h","port":1}')
        names = await backend.fetch_names(None)
        listing = asyncio.create_task(backend.fetch_names(names.cursor))
        for n in range(4):
            await clock.advance(IDLE)
            await backend.fetch(Query(f"another-{n}"), None)
        await write(server.host, PATH, b'{"host":"h","port":1,"tags":["v2"]}')
        async with asyncio.timeout(20):
            assert (await listing).services == {"greeter": ("v2",)}


async def test_a_registration_that_is_observed_for_long_is_one_watch(server: ZooKeeper) -> None:
    async with patient(server.host, wait=0.01) as backend:
        lease = await backend.register(ME.record(id="one", host="127.0.0.1"))
        cursor = await backend.observe(lease, None)
        for _ in range(10):
            assert await backend.observe(lease, cursor) == cursor
        assert len(client_of(backend)._data_watchers[PATH]) == 1


async def test_an_instance_that_goes_costs_one_reading_of_the_names(
    server: ZooKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"i{number}" for number in range(6)]
    for name in names:
        await write(server.host, f"/services/greeter/{name}", b"10.0.0.1:80")
    async with patient(server.host) as backend, watched(backend) as events:
        await event(events, lambda e: ids(e) == names)
        assert backend._opened is not None
        session, asked = backend._opened.session, list[str]()
        run = session.run

        async def counting(starts: Any) -> Any:
            asked.extend(what for what, _ in starts)
            return await run(starts)

        monkeypatch.setattr(session, "run", counting)
        while names[1:]:
            await delete(server.host, f"/services/greeter/{names.pop()}")
            await event(events, lambda e: ids(e) == names)
            await asyncio.sleep(0.2)
        assert asked == ["get_children /services/greeter"] * 5


async def test_an_instance_that_comes_back_at_once_is_read_again(server: ZooKeeper) -> None:
    await write(server.host, "/services/greeter/one", b"10.0.0.1:80")
    async with patient(server.host) as backend, watched(backend) as events:
        await event(events, lambda e: ids(e) == ["one"])
        for port in (81, 82, 83):
            await delete(server.host, "/services/greeter/one")
            await write(server.host, "/services/greeter/one", b"10.0.0.1:%d" % port)
            await event(events, lambda e, port=port: [i.port for i in e.snapshot or ()] == [port])
