"""How a client comes back: no storm, a line in the log for each change, and to another of several servers."""

import asyncio
import time
from dataclasses import replace

import pytest

from asyncsd import Query, UnreachableError
from asyncsd.backends.zookeeper import ZooKeeperBackend
from tests.support.running import until
from tests.support.zookeeper import ZooKeeper, ZooKeeperEnsemble
from tests.zookeeper.watching import ME, event, hasty, ids, registered, until_stands, watched

pytestmark = pytest.mark.server("zookeeper")


async def test_a_server_that_hangs_up_is_asked_ever_more_rarely() -> None:
    connections, again = 0, asyncio.Event()

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if connections > 1:
            again.set()
        writer.close()

    listener = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    host = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    began = time.monotonic()
    async with hasty(host) as backend, watched(backend) as events:
        await event(events, lambda e: isinstance(e.error, UnreachableError))
        await asyncio.sleep(1.5)
        async with asyncio.timeout(20):
            await again.wait()
        assert connections <= 5 + 3 * (time.monotonic() - began)
    listener.close()


async def serving(ensemble: ZooKeeperEnsemble, session: int) -> ZooKeeper:
    """The running member that holds the session's connection."""
    async with asyncio.timeout(40):
        while True:
            for member in ensemble.members:
                if f"sid=0x{session:x}," in await member.command("cons"):
                    return member


async def hears(backend: ZooKeeperBackend) -> bool:
    try:
        await backend.fetch(Query("greeter", consistency="consistent"), None)
    except UnreachableError:
        return False
    return True


@pytest.mark.timeout(120)
async def test_of_three_the_leader_is_killed_and_then_its_own_frozen() -> None:
    # A silent server is left within half of the session, and the rest is for finding another.
    options = {"session_timeout": 15.0, "connect_timeout": 5.0, "timeout": 1.0}
    async with (
        ZooKeeperEnsemble() as ensemble,
        hasty(ensemble.hosts, **options) as backend,
        registered(backend),
        watched(backend) as events,
    ):
        await event(events, lambda e: ids(e) == ["one"])
        leader = await ensemble.leader()
        owner = await until_stands(leader)
        leader.kill()
        assert await until_stands(await ensemble.leader()) == owner, "the session goes on"
        async with registered(backend, replace(ME, id="two", port=8082)):
            found = await event(events, lambda e: len(ids(e)) == 2 and not e.stale)
            assert ids(found) == ["one", "two"]

        await leader.start()
        its_own = await serving(ensemble, owner)
        await until(lambda: hears(backend))  # From here on the session counts.
        its_own.freeze()
        after = await serving(ensemble, owner)
        async with registered(backend, replace(ME, id="three", port=8083)):
            found = await event(events, lambda e: "three" in ids(e) and not e.stale)
            assert ids(found) == ["one", "three"]
        assert await until_stands(after) == owner, "with another server, in the same session"
