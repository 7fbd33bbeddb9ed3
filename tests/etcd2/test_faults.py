"""A real server that is killed, stopped, frozen and wiped under a registrar and a watch."""

import asyncio
from typing import Any

import pytest

from asyncsd import (
    Discovery,
    Event,
    Health,
    Query,
    Registration,
    TTLCheck,
    UnreachableError,
    WatchHealth,
)
from asyncsd.backends.etcd2 import Etcd2Backend, _stream
from tests.support.etcd import EtcdServer
from tests.support.running import fetched, fetched_at_last, running

pytestmark = pytest.mark.server("etcd34")

ME = Registration(service="greeter", host="10.0.0.7", port=80, id="g1", check=TTLCheck(ttl=10.0))
KEY = "/services/greeter/g1"


def passing(found: Any) -> bool:
    return [instance.status for instance in found] == ["passing"]


async def test_a_server_killed_and_restarted_costs_nothing(server: EtcdServer) -> None:
    async with Discovery(Etcd2Backend(server.url)) as sd, sd.register(ME, required=True) as registration:
        balancer = sd.balancer("greeter")
        async with balancer.acquire(timeout=5.0):
            pass
        server.kill()
        assert balancer.pick().id == "g1"
        await server.start()
        async with asyncio.timeout(20):
            await registration.wait_for("registered")
        assert balancer.pick().id == "g1"
        assert list(await server.keys_v2("/services")) == [KEY]
    assert await server.keys_v2("/services") == {}


async def test_a_waiting_fetch_ends_when_its_server_does(server: EtcdServer) -> None:
    async with Etcd2Backend(server.url) as backend:
        for end in (server.kill, server.terminate):
            reply = await backend.fetch(Query("greeter"), None)
            waiting = [asyncio.create_task(backend.fetch(Query("greeter"), reply.cursor)) for _ in range(3)]
            await server.listened()
            await asyncio.to_thread(end)
            async with asyncio.timeout(20):
                told = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(error) for error in told] == [UnreachableError] * 3
            assert all(server.url in str(error) for error in told)
            assert len(set(map(id, told))) == 3
            await server.start()


async def test_a_frozen_server_is_noticed_by_a_waiting_fetch(
    server: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_stream, "SILENCE", 1.0)
    async with Etcd2Backend(server.url, timeout=2.0) as backend:
        reply = await backend.fetch(Query("greeter"), None)
        waiting = asyncio.create_task(backend.fetch(Query("greeter"), reply.cursor))
        await server.listened()
        server.freeze()
        try:
            async with asyncio.timeout(15):  # Long before the wait's end, and the connection stays open.
                with pytest.raises(UnreachableError, match="no answer in 2 s"):
                    await waiting
        finally:
            server.thaw()
        await fetched_at_last(backend, "greeter", lambda found: not found)


async def test_a_registration_comes_back_after_a_freeze_longer_than_its_ttl(server: EtcdServer) -> None:
    me = Registration(service="greeter", host="10.0.0.7", port=80, id="g1", check=TTLCheck(ttl=1.0))
    async with Etcd2Backend(server.url, timeout=0.5) as backend, running(backend, me) as registrar:
        await registrar.ready()
        server.freeze()
        await registrar.wait_for("failing")
        server.thaw()
        await registrar.wait_for("registered")
        await fetched_at_last(backend, "greeter", passing)


async def test_wiped_data_is_registered_again_and_told_by_the_index(server: EtcdServer) -> None:
    async with Etcd2Backend(server.url) as backend, running(backend, ME) as registrar:
        for number in range(20):
            await server.v2("PUT", f"/keys/other/{number}", value="x")
        await registrar.ready()
        before = await fetched(backend, "greeter", passing)
        waiting = asyncio.create_task(backend.fetch(Query("greeter"), before.cursor))
        await server.listened()
        server.kill()
        with pytest.raises(UnreachableError):
            await waiting
        server.wipe()
        await server.start()
        # A long poll for an index that isn't reached yet would be silent for as long.
        async with asyncio.timeout(20):
            after = await backend.fetch(Query("greeter"), before.cursor)
        assert after.index is not None
        assert before.index is not None
        assert after.index < before.index
        await fetched(backend, "greeter", passing)
        # The registrar's long poll stands again by now: an old cursor isn't taken for a new one.
        await server.listened()
        async with asyncio.timeout(20):
            again = await backend.fetch(Query("greeter"), before.cursor)
        assert again.index is not None
        assert again.index < before.index


async def test_a_watch_sees_nobody_vanish_when_the_data_are_wiped(server: EtcdServer) -> None:
    async with Discovery(Etcd2Backend(server.url)) as sd, sd.register(ME, required=True):
        for number in range(20):
            await server.v2("PUT", f"/keys/other/{number}", value="x")
        told = asyncio.Queue[Event](100)
        async with sd.watch("greeter", queue=told) as events, asyncio.timeout(20):
            while not (await told.get()).snapshot:
                pass
            before = events.health().index
            server.kill()
            server.wipe()
            await server.start()
            # Where it is registered again before the watch reads anew, the list is the same, and no event.
            while not (await server.keys_v2("/services") and has_gone_back(events.health(), before)):
                pass
            assert events.snapshot
            while not told.empty():
                assert told.get_nowait().snapshot, "the list became empty"


def has_gone_back(health: WatchHealth, before: int | None) -> bool:
    return health.index is not None and before is not None and health.index < before


async def test_the_next_server_is_asked_and_the_dead_one_left(server: EtcdServer) -> None:
    async with Etcd2Backend(["http://127.0.0.1:1", server.url]) as backend:
        lease = await backend.register(ME.record(id="g1", host="10.0.0.7"))
        assert lease.where == server.url
        await backend.renew(lease, Health("passing"))
        await fetched(backend, "greeter", passing)


async def test_a_server_that_is_away_is_named_with_the_reason() -> None:
    async with Etcd2Backend(["http://127.0.0.1:1", "http://127.0.0.1:2"]) as backend:
        with pytest.raises(UnreachableError, match=r"none of 2 .*127\.0\.0\.1:1/.*127\.0\.0\.1:2/"):
            await backend.fetch(Query("greeter"), None)


async def test_a_watch_on_a_dead_server_is_no_busy_loop(server: EtcdServer) -> None:
    async with Discovery(Etcd2Backend(server.url)) as sd:
        async with sd.watch("greeter") as events:
            await events.get()
            await server.listened()
            server.kill()
            while not (await events.get()).stale:
                pass
            fetches = events.health().fetches
            done, _ = await asyncio.wait((asyncio.ensure_future(asyncio.sleep(2)),))
            assert done
            assert events.health().fetches - fetches <= 10
