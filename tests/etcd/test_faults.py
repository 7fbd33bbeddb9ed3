"""A real server that is killed, stopped, frozen and wiped under a registrar and a watch."""

import asyncio
from dataclasses import replace

import pytest

from asyncsd import BackendError, Discovery, Health, Query, Registration, TTLCheck, UnreachableError
from asyncsd.backends.etcd import EtcdBackend, _streams
from asyncsd.testing import FakeClock
from tests.etcd.running import both
from tests.support.etcd import EtcdServer
from tests.support.running import fetched, fetched_at_last, running, until

pytestmark = pytest.mark.server("etcd")

ME = Registration(service="greeter", host="10.0.0.7", port=80, id="g1", check=TTLCheck(ttl=10.0))


def passing(found: object) -> bool:
    return [instance.status for instance in found] == ["passing"]  # type: ignore[attr-defined]


@both
async def test_a_server_killed_and_restarted_costs_nothing(server: EtcdServer) -> None:
    async with Discovery(EtcdBackend(server.url)) as sd, sd.register(ME, required=True) as registration:
        balancer = sd.balancer("greeter")
        async with balancer.acquire(timeout=5.0):
            pass
        server.kill()
        assert balancer.pick().id == "g1"
        await server.start()
        async with asyncio.timeout(20):
            await registration.wait_for("registered")
        assert balancer.pick().id == "g1"
        assert list(await server.keys()) == ["/services/greeter/g1"]
    assert await server.keys() == {}


@both
async def test_a_waiting_fetch_ends_when_its_server_does(
    server: EtcdServer, backend: EtcdBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One that is asked to stop leaves watches open for 5 s, and takes no new connections.
    monkeypatch.setattr(_streams, "SILENCE", 0.5)
    for end in (server.kill, server.terminate):
        reply = await backend.fetch(Query("greeter"), None)
        waiting = asyncio.create_task(backend.fetch(Query("greeter"), reply.cursor))
        await server.watched()
        await asyncio.to_thread(end)
        async with asyncio.timeout(20):
            with pytest.raises(UnreachableError, match=server.url):
                await waiting
        await server.start()


async def test_a_frozen_server_is_noticed_by_a_waiting_fetch(
    server: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_streams, "SILENCE", 0.5)
    async with EtcdBackend(server.url, timeout=2.0) as backend:
        reply = await backend.fetch(Query("greeter"), None)
        waiting = asyncio.create_task(backend.fetch(Query("greeter"), reply.cursor))
        await server.watched()
        server.freeze()
        try:
            async with asyncio.timeout(15):  # Long before the wait's end, and the connection stays open.
                with pytest.raises(UnreachableError):
                    await waiting
        finally:
            server.thaw()
        await fetched_at_last(backend, "greeter", lambda found: not found)


async def test_a_registration_comes_back_after_a_freeze_longer_than_its_lease(server: EtcdServer) -> None:
    me = replace(ME, check=TTLCheck(ttl=2.0))
    async with EtcdBackend(server.url, timeout=1.0) as backend, running(backend, me) as registrar:
        await registrar.ready()
        server.freeze()
        await registrar.wait_for("failing")
        server.thaw()
        await registrar.wait_for("registered")
        await fetched_at_last(backend, "greeter", passing)


@both
async def test_wiped_data_is_registered_again_and_told_by_the_index(server: EtcdServer) -> None:
    async with EtcdBackend(server.url) as backend, running(backend, ME) as registrar:
        for number in range(20):
            await server.put(f"/other/{number}", "x")
        await registrar.ready()
        before = await fetched(backend, "greeter", passing)
        waiting = asyncio.create_task(backend.fetch(Query("greeter"), before.cursor))
        await server.watched(2)  # The registrar's is the other.
        server.kill()
        with pytest.raises(UnreachableError):
            await waiting
        server.wipe()
        await server.start()
        # A watch from a revision that isn't reached yet would be silent for as long.
        async with asyncio.timeout(20):
            after = await backend.fetch(Query("greeter"), before.cursor)
        assert after.index is not None
        assert before.index is not None
        assert after.index < before.index
        await fetched(backend, "greeter", passing)


async def test_the_next_server_is_asked_and_the_dead_one_left(server: EtcdServer) -> None:
    async with EtcdBackend(["http://127.0.0.1:1", server.url]) as backend:
        lease = await backend.register(ME.record(id="g1", host="10.0.0.7"))
        assert lease.where == server.url
        await backend.renew(lease, Health("passing"))
        await fetched(backend, "greeter", passing)


async def test_a_server_that_is_away_is_named_with_the_reason() -> None:
    async with EtcdBackend(["http://127.0.0.1:1", "http://127.0.0.1:2"]) as backend:
        with pytest.raises(UnreachableError, match=r"none of 2 .*127\.0\.0\.1:1/.*127\.0\.0\.1:2/"):
            await backend.fetch(Query("greeter"), None)


async def test_a_watch_on_a_dead_server_is_no_busy_loop(server: EtcdServer) -> None:
    clock = FakeClock()
    async with (
        Discovery(EtcdBackend(server.url, clock=clock), clock=clock) as sd,
        sd.watch("greeter") as events,
    ):
        await events.get()
        server.kill()
        coming = asyncio.create_task(events.get())
        async with asyncio.timeout(20):
            while not coming.done():
                await clock.advance(0.1)
        assert (await coming).stale
        fetches = events.health().fetches
        for _ in range(60):
            await clock.advance(1.0)
        assert 10 <= events.health().fetches - fetches <= 100


async def test_a_full_store_is_an_error_that_says_so() -> None:
    async with EtcdServer("--quota-backend-bytes", "16384") as server, EtcdBackend(server.url) as backend:
        refused: list[BackendError] = []

        async def is_full() -> bool:
            try:
                await backend.register(ME.record(id="g1", host="10.0.0.7"))
            except BackendError as exc:
                refused.append(exc)
            return bool(refused)

        await until(is_full)
        assert "space" in str(refused[0])
        assert not refused[0].permanent
        # What was granted for nothing isn't left to pile up.
        assert len(await server.leases()) <= 3
