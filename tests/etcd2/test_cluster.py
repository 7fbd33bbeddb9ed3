"""Three real servers of one cluster."""

import asyncio

import pytest

from asyncsd import BackendError, Query, Registration, TTLCheck
from asyncsd.backends.etcd2 import Etcd2Backend, _backend, _stream
from tests.support.etcd import V2, EtcdCluster
from tests.support.running import fetched, fetched_at_last, running, until

pytestmark = pytest.mark.server("etcd34")

ME = Registration(service="greeter", host="10.0.0.7", port=80, id="g1", check=TTLCheck(ttl=15.0))
OTHER = Registration(service="greeter", host="10.0.0.8", port=80, id="g2", check=TTLCheck(ttl=60.0))


def cluster_of_three() -> EtcdCluster:
    return EtcdCluster("etcd34", V2)


async def has_left(backend: Etcd2Backend, url: str) -> bool:
    """Whether another server is asked first; that may be so before this one is frozen."""
    await asyncio.sleep(0.02)
    return str(backend._transport.endpoint) != url


async def test_a_killed_leader_costs_no_registration_and_those_who_wait_hear_nothing_of_it() -> None:
    async with cluster_of_three() as cluster:
        leader = await cluster.leader()
        # The one that will be killed is asked first.
        urls = [cluster.urls[leader], *(url for url in cluster.urls if url != cluster.urls[leader])]
        async with Etcd2Backend(urls, timeout=4.0) as backend, running(backend, ME) as registrar:
            await registrar.ready()
            reply = await fetched(backend, "greeter", lambda found: [i.status for i in found] == ["passing"])
            waiting = asyncio.create_task(backend.fetch(Query("greeter"), reply.cursor))
            await cluster.servers[leader].listened()
            cluster.servers[leader].kill()
            lists: list[list[str]] = []
            errors: list[BackendError] = []
            async with asyncio.timeout(20):
                while len(lists) < 10:
                    try:
                        reply = await backend.fetch(Query("greeter", consistency="consistent"), None)
                    except BackendError as exc:
                        errors.append(exc)
                    else:
                        lists.append([instance.id for instance in reply.instances])
            assert lists == [["g1"]] * 10
            assert not any(error.permanent for error in errors)
            await backend.register(OTHER.record(id="g2", host="10.0.0.8"))
            async with asyncio.timeout(20):
                # The long poll went on with the next server where it was.
                while len((reply := await waiting).instances) < 2:
                    waiting = asyncio.create_task(backend.fetch(Query("greeter"), reply.cursor))
            assert registrar.state == "registered"


async def test_a_frozen_server_is_left_for_the_next_though_the_heartbeat_is_short() -> None:
    me = Registration(service="greeter", host="10.0.0.7", port=80, id="g1", check=TTLCheck(ttl=3.0))
    async with cluster_of_three() as cluster:
        leader = await cluster.leader()
        follower = next(number for number in range(3) if number != leader)
        urls = [cluster.urls[follower], *(url for url in cluster.urls if url != cluster.urls[follower])]
        async with Etcd2Backend(urls) as backend, running(backend, me) as registrar:
            await registrar.ready()
            cluster.servers[follower].freeze()
            try:
                await until(lambda: has_left(backend, cluster.urls[follower]))
                await registrar.wait_for("registered")
                await fetched_at_last(
                    backend, "greeter", lambda found: [i.status for i in found] == ["passing"]
                )
            finally:
                cluster.servers[follower].thaw()


async def test_without_a_quorum_reads_fail_unless_they_may_be_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stream, "SILENCE", 1.0)
    monkeypatch.setattr(_stream, "ELECTION", 1.0)
    monkeypatch.setattr(_backend, "POLL", 1.0)
    async with cluster_of_three() as cluster:
        async with Etcd2Backend(cluster.urls[0], timeout=4.0, wait=30.0) as backend:
            await backend.register(OTHER.record(id="g2", host="10.0.0.8"))
            before = await backend.fetch(Query("greeter"), None)
            waiting = asyncio.create_task(backend.fetch(Query("greeter"), before.cursor))
            stale = Query("greeter", consistency="stale")
            patient = asyncio.create_task(backend.fetch(stale, before.cursor))
            await cluster.servers[0].listened()
            cluster.servers[1].kill()
            cluster.servers[2].kill()
            async with asyncio.timeout(20):
                # The server is there, and answers: but it has lost its leader, and would hear of nothing.
                with pytest.raises(BackendError, match="no leader") as told:
                    await waiting
            assert not told.value.permanent
            with pytest.raises(BackendError, match="no leader"):
                await backend.fetch(Query("greeter"), None)
            assert [instance.id for instance in (await backend.fetch(stale, None)).instances] == ["g2"]
            async with asyncio.timeout(20):
                assert [instance.id for instance in (await patient).instances] == ["g2"]
            await asyncio.gather(*(cluster.servers[number].start() for number in (1, 2)))
            await fetched_at_last(backend, "greeter", bool)
