"""Three real servers of one cluster."""

import asyncio

import pytest

from asyncsd import BackendError, Query, Registration, TTLCheck
from asyncsd.backends.etcd import EtcdBackend
from tests.etcd.running import fetched, running
from tests.support.etcd import EtcdCluster

pytestmark = pytest.mark.server("etcd")

ME = Registration(service="greeter", host="10.0.0.7", port=80, id="g1", check=TTLCheck(ttl=5.0))
OTHER = Registration(service="greeter", host="10.0.0.8", port=80, id="g2", check=TTLCheck(ttl=60.0))


async def test_a_killed_leader_costs_no_registration_and_no_wrong_list() -> None:
    async with EtcdCluster() as cluster:
        leader = await cluster.leader()
        # The one that will be killed is asked first.
        urls = [cluster.urls[leader], *(url for url in cluster.urls if url != cluster.urls[leader])]
        async with EtcdBackend(urls) as backend, running(backend, ME) as registrar:
            await registrar.ready()
            reply = await fetched(backend, "greeter", lambda found: [i.status for i in found] == ["passing"])
            waiting = asyncio.create_task(backend.fetch(Query("greeter"), reply.cursor))
            await cluster.servers[leader].watched(2)  # The registrar's is the other.
            cluster.servers[leader].kill()
            lists: list[list[str]] = []
            errors: list[BackendError] = []
            async with asyncio.timeout(20):
                await asyncio.wait((waiting,))
                while len(lists) < 10:
                    try:
                        reply = await backend.fetch(Query("greeter"), None)
                    except BackendError as exc:
                        errors.append(exc)
                    else:
                        lists.append([instance.id for instance in reply.instances])
            assert lists == [["g1"]] * 10
            assert not any(error.permanent for error in errors)
            coming = asyncio.create_task(fetched(backend, "greeter", lambda found: len(found) == 2))
            await backend.register(OTHER.record(id="g2", host="10.0.0.8"))
            await coming


async def test_a_frozen_server_is_left_for_the_next_though_the_heartbeat_is_short() -> None:
    me = Registration(service="greeter", host="10.0.0.7", port=80, id="g1", check=TTLCheck(ttl=3.0))
    async with EtcdCluster() as cluster:
        leader = await cluster.leader()
        follower = next(number for number in range(3) if number != leader)
        urls = [cluster.urls[follower], *(url for url in cluster.urls if url != cluster.urls[follower])]
        async with EtcdBackend(urls) as backend, running(backend, me) as registrar:
            await registrar.ready()
            cluster.servers[follower].freeze()
            try:
                await registrar.wait_for("failing")
                await registrar.wait_for("registered")
                await fetched(backend, "greeter", lambda found: [i.status for i in found] == ["passing"])
            finally:
                cluster.servers[follower].thaw()


async def test_without_a_quorum_reads_fail_unless_they_may_be_stale() -> None:
    async with EtcdCluster() as cluster:
        async with EtcdBackend(cluster.urls[0], timeout=3.0) as backend:
            await backend.register(OTHER.record(id="g2", host="10.0.0.8"))
            before = await backend.fetch(Query("greeter"), None)
            waiting = asyncio.create_task(backend.fetch(Query("greeter"), before.cursor))
            await cluster.servers[0].watched()
            cluster.servers[1].kill()
            cluster.servers[2].kill()
            async with asyncio.timeout(15):
                # The server is there, and answers: but it has lost its leader, and would hear of nothing.
                with pytest.raises(BackendError) as told:
                    await waiting
            assert not told.value.permanent
            stale = await backend.fetch(Query("greeter", consistency="stale"), None)
            assert [instance.id for instance in stale.instances] == ["g2"]
            await asyncio.gather(*(cluster.servers[number].start() for number in (1, 2)))
            await backend.fetch(Query("greeter"), None)
