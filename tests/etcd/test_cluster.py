"""Three real servers of one cluster, of which some die, freeze or can't be reached."""

import asyncio
from contextlib import suppress

import pytest

from asyncsd import BackendError, Discovery, Query, Registration, TTLCheck, UnreachableError
from asyncsd.backends.etcd import EtcdBackend, _feed, _streams
from tests.etcd.running import both
from tests.support.etcd import EtcdCluster
from tests.support.running import fetched, fetched_at_last, running, until
from tests.support.toxiproxy import Toxiproxy

pytestmark = pytest.mark.server("etcd")

ME = Registration(service="greeter", host="10.0.0.7", port=80, id="g1", check=TTLCheck(ttl=15.0))
OTHER = Registration(service="greeter", host="10.0.0.8", port=80, id="g2", check=TTLCheck(ttl=60.0))


def beginning_with(cluster: EtcdCluster, number: int) -> list[str]:
    """The servers' URLs, the one with that number first."""
    return [*cluster.urls[number:], *cluster.urls[:number]]


async def has_left(backend: EtcdBackend, url: str) -> bool:
    """Whether another server is asked first; that may be so before this one is frozen."""
    await asyncio.sleep(0.02)
    return str(backend._transport.endpoint) != url


@both
async def test_a_killed_leader_costs_no_registration_and_no_wrong_list(cluster: EtcdCluster) -> None:
    leader = await cluster.leader()
    async with EtcdBackend(beginning_with(cluster, leader)) as backend, running(backend, ME) as registrar:
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


@both
async def test_many_waits_outlive_the_server_of_their_watch(
    cluster: EtcdCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_feed, "BRIEF", 0.0)
    leader = await cluster.leader()
    number = next(number for number in range(3) if number != leader)
    async with EtcdBackend(beginning_with(cluster, number)) as backend:
        before = await backend.fetch(Query("greeter"), None)
        waits = [asyncio.create_task(backend.fetch(Query("greeter"), before.cursor)) for _ in range(20)]
        await cluster.servers[number].watched(9)
        cluster.servers[number].kill()
        # The first eight have watches of their own, and read again.
        await asyncio.gather(*waits[:8])
        await cluster.servers[(number + 1) % 3].watched()
        assert not any(wait.done() for wait in waits[8:])
        await backend.register(OTHER.record(id="g2", host="10.0.0.8"))
        async with asyncio.timeout(20):
            assert [len((await wait).instances) for wait in waits] == [0] * 8 + [1] * 12


async def test_a_frozen_server_is_left_for_the_next_though_the_heartbeat_is_short(
    cluster: EtcdCluster,
) -> None:
    me = Registration(service="greeter", host="10.0.0.7", port=80, id="g1", check=TTLCheck(ttl=3.0))
    leader = await cluster.leader()
    follower = next(number for number in range(3) if number != leader)
    async with EtcdBackend(beginning_with(cluster, follower)) as backend, running(backend, me) as registrar:
        await registrar.ready()
        cluster.servers[follower].freeze()
        await until(lambda: has_left(backend, cluster.urls[follower]))
        await registrar.wait_for("registered")
        await fetched_at_last(backend, "greeter", lambda found: [i.status for i in found] == ["passing"])


async def test_a_frozen_leader_is_left_once_another_leads(
    cluster: EtcdCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_streams, "SILENCE", 0.5)
    leader = await cluster.leader()
    urls = beginning_with(cluster, leader)
    async with (
        Discovery(EtcdBackend(urls, timeout=1.5)) as sd,
        sd.register(ME, required=True) as registration,
        sd.watch("greeter") as events,
        asyncio.timeout(40),
    ):
        while not (await events.get()).snapshot:
            pass
        cluster.servers[leader].freeze()
        with suppress(UnreachableError):  # Where that took too long, it is tried again.
            await registration.update(weight=3)
        while [instance.weight for instance in (await events.get()).snapshot or ()] != [3]:
            pass


async def test_without_a_quorum_reads_fail_unless_they_may_be_stale(cluster: EtcdCluster) -> None:
    async with EtcdBackend(cluster.urls[0], timeout=4.0) as backend:
        await backend.register(OTHER.record(id="g2", host="10.0.0.8"))
        before = await backend.fetch(Query("greeter"), None)
        waiting = asyncio.create_task(backend.fetch(Query("greeter"), before.cursor))
        await cluster.servers[0].watched()
        cluster.servers[1].kill()
        cluster.servers[2].kill()
        async with asyncio.timeout(20):
            # The server is there, and answers: but it has lost its leader, and would hear of nothing.
            with pytest.raises(BackendError) as told:
                await waiting
        assert not told.value.permanent
        stale = await backend.fetch(Query("greeter", consistency="stale"), None)
        assert [instance.id for instance in stale.instances] == ["g2"]
        await asyncio.gather(*(cluster.servers[number].start() for number in (1, 2)))
        await fetched_at_last(backend, "greeter", bool)


@pytest.mark.server("toxiproxy")
async def test_a_client_cut_off_serves_what_it_knows_and_is_back_once_the_way_is(
    cluster: EtcdCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_streams, "SILENCE", 0.5)
    me = Registration(service="greeter", host="10.0.0.7", port=80, id="g1", check=TTLCheck(ttl=5.0))
    async with Toxiproxy() as toxiproxy:
        links = [await toxiproxy.link(url.removeprefix("http://")) for url in cluster.urls]
        backend = EtcdBackend([link.address for link in links], timeout=1.0)
        async with (
            EtcdBackend(cluster.urls) as witness,
            Discovery(backend) as sd,
            sd.register(me, required=True) as registration,
            sd.watch("greeter") as events,
            asyncio.timeout(40),
        ):
            while [instance.id for instance in (await events.get()).snapshot or ()] != ["g1"]:
                pass
            # One server after the other can't be reached: the next one will do.
            await links[0].stall()
            with suppress(UnreachableError):  # Where that took too long, it is tried again.
                await registration.update(weight=3)
            await fetched(witness, "greeter", lambda found: [i.weight for i in found] == [3])
            # None can: what is known serves on, though the lease runs out meanwhile.
            await asyncio.gather(*(link.stall() for link in links[1:]))
            while not (event := await events.get()).stale:
                pass
            assert [instance.id for instance in event.snapshot or ()] == ["g1"]
            await fetched(witness, "greeter", lambda found: not found)
            await asyncio.gather(*(link.mend() for link in links))
            await registration.wait_for("registered")
            await fetched(witness, "greeter", lambda found: [i.status for i in found] == ["passing"])
            # It may be read before it is registered again.
            while (event := await events.get()).stale or not event.snapshot:
                pass
            assert [instance.id for instance in event.snapshot] == ["g1"]
