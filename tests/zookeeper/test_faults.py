"""A registrar and a watch on a real ZooKeeper, whatever happens to it."""

import asyncio
import logging
import sys
import time
from dataclasses import replace

import pytest

from asyncsd import Query, TTLCheck, UnreachableError
from asyncsd.backends.zookeeper import ZooKeeperBackend
from tests.support.zookeeper import ZooKeeper
from tests.zookeeper.watching import (
    ME,
    PATH,
    delete,
    event,
    expire,
    hasty,
    ids,
    patient,
    refused,
    registered,
    until_stands,
    watched,
    write_often,
)

pytestmark = pytest.mark.server("zookeeper")


async def until_read(backend: ZooKeeperBackend) -> None:
    """Wait until a fetch tells of the instance, and that it passes."""
    async with asyncio.timeout(20):
        reply = await backend.fetch(Query("greeter"), None)
        while [(i.id, i.status) for i in reply.instances] != [("one", "passing")]:
            reply = await backend.fetch(Query("greeter"), reply.cursor)


async def test_killed_and_restarted_nothing_is_lost(
    mortal: ZooKeeper, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that starts on a busy machine may forget a connection: half a session is waited then."""
    caplog.set_level(1)
    async with hasty(mortal.host, session_timeout=20.0, timeout=10.0) as backend, registered(backend):
        async with watched(backend) as events:
            await event(events, lambda e: ids(e) == ["one"] and not e.stale)
            owner = await until_stands(mortal)
            mortal.kill()
            found = await event(events, lambda e: e.stale)
            assert ids(found) == ["one"]
            assert isinstance(found.error, UnreachableError)
            await mortal.start()
            found = await event(events, lambda e: not e.stale)
            assert ids(found) == ["one"]
            assert await until_stands(mortal) == owner, "its session outlived the restart"
    kazoos = [record for record in caplog.records if "kazoo" in record.name]
    assert {(record.name, record.levelno) for record in kazoos} == {
        ("asyncsd.zookeeper.kazoo", logging.DEBUG)
    }
    where = f"zk://{mortal.host}/services"
    connected, lost = f"connected to ZooKeeper at {where}", f"the connection to ZooKeeper at {where} is lost"
    anew = f"no connection to ZooKeeper at {where} yet"
    lines = [line for line in told(caplog) if line != anew]
    assert lines == [connected, lost, connected], "one line for each change"


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the backend has logged, but for its debugging, without the reasons."""
    return [
        record.getMessage().partition(": ")[0]
        for record in caplog.records
        if record.name == "asyncsd.zookeeper" and record.levelno >= logging.INFO
    ]


async def test_absent_at_first_it_is_found_once_it_is_there() -> None:
    server = ZooKeeper()
    async with hasty(server.host) as backend:
        await refused(backend, r"refused.*zk://127\.0\.0\.1")
        async with watched(backend) as events:
            async with server:
                async with registered(backend):
                    await event(events, lambda e: ids(e) == ["one"])


async def test_wiped_it_is_registered_again_by_itself(mortal: ZooKeeper) -> None:
    """kazoo by itself would never come back: a server that knows less than a client has seen refuses it."""
    await write_often(mortal.host, 3000)
    async with hasty(mortal.host) as backend, registered(backend), watched(backend) as events:
        await event(events, lambda e: ids(e) == ["one"])
        owner = await until_stands(mortal)
        mortal.kill()
        mortal.wipe()
        await mortal.start()
        await until_stands(mortal, owner)
        await event(events, lambda e: ids(e) == ["one"] and not e.stale)


async def test_frozen_it_is_stale_and_comes_back(server: ZooKeeper) -> None:
    async with hasty(server.host) as backend, registered(backend), watched(backend) as events:
        await event(events, lambda e: ids(e) == ["one"])
        server.freeze()
        found = await event(events, lambda e: e.stale)
        assert ids(found) == ["one"]
        server.thaw()
        await until_stands(server)
        await event(events, lambda e: ids(e) == ["one"] and not e.stale)


async def test_frozen_hundreds_of_requests_dont_hold_up_the_loop(server: ZooKeeper) -> None:
    """kazoo's own way to ask blocks its caller after some 280."""
    async with patient(server.host, timeout=2.0, session_timeout=10.0) as backend:
        await backend.fetch(Query("greeter"), None)
        server.freeze()
        asking = [asyncio.create_task(backend.fetch(Query(f"s{n}"), None)) for n in range(400)]
        began = time.monotonic()
        for _ in range(20):
            await asyncio.sleep(0.01)
        assert time.monotonic() - began < 5.5, "kazoo would wait for 6 s until it gives the server up"
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert {type(answer) for answer in answers} == {UnreachableError}


async def test_an_expired_session_is_followed_by_another(server: ZooKeeper) -> None:
    async with hasty(server.host) as backend, registered(backend), watched(backend) as events:
        await event(events, lambda e: ids(e) == ["one"])
        owner = await until_stands(server)
        await expire(backend, server.host)
        await until_stands(server, owner)
        await until_read(backend)


async def test_a_node_removed_by_hand_is_made_again_at_once(server: ZooKeeper) -> None:
    me = replace(ME, check=TTLCheck(ttl=60.0))
    async with patient(server.host) as backend, registered(backend, me), watched(backend) as events:
        await event(events, lambda e: ids(e) == ["one"])
        began = time.monotonic()
        await delete(server.host, PATH)
        await until_stands(server)
        assert time.monotonic() - began < 10.0, "long before the heartbeat"
        await until_read(backend)


PROCESS = """
import asyncio, sys
from asyncsd import Discovery, Registration

async def main():
    async with Discovery.from_url(sys.argv[1]) as sd:
        async with sd.register(Registration(service="greeter", id="one", host="127.0.0.1", port=8080)):
            await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_process_that_dies_is_gone_when_its_session_is(server: ZooKeeper) -> None:
    async with hasty(server.host) as reader, watched(reader) as events:
        url = f"zk://{server.host}?session_timeout=2"
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROCESS, url)
        try:
            await event(events, lambda e: ids(e) == ["one"])
        finally:
            process.kill()
            await process.wait()
        began = time.monotonic()
        await event(events, lambda e: not ids(e))
        assert time.monotonic() - began < 12.0


async def test_what_a_dead_process_left_is_taken_over_without_absence(server: ZooKeeper) -> None:
    async with patient(server.host) as reader, watched(reader) as events:
        async with patient(server.host) as first, patient(server.host) as second:
            async with registered(first):
                await event(events, lambda e: ids(e) == ["one"])
                async with registered(second, replace(ME, port=8081)):
                    found = await event(events, lambda e: [i.port for i in e.snapshot or ()] == [8081])
                    assert not found.removed
                    # The first doesn't take it back: two would do so for ever.
                    await asyncio.sleep(1.0)
                    now = await reader.fetch(Query("greeter"), None)
                    assert [instance.port for instance in now.instances] == [8081]
                    assert events.empty()
