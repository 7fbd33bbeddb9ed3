"""Composites of real servers: Consul's datacenters, and Consul beside etcd."""

import asyncio
import time

import pytest

from asyncsd import Discovery, Query, UnreachableError
from asyncsd.backends.composite import Failover, Merge
from asyncsd.backends.consul import ConsulBackend
from asyncsd.backends.etcd import EtcdBackend
from tests.composite.watching import QUICK, registration, watching
from tests.support.consul import ConsulAgent, ConsulDatacenters
from tests.support.etcd import EtcdServer

DOWN, BACK = 1.0, 1.0


@pytest.mark.server("consul", "etcd")
async def test_consul_and_etcd_are_one_though_one_of_them_dies_and_comes_back() -> None:
    async with ConsulAgent() as consul, EtcdServer() as etcd:
        east, west = ConsulBackend(consul.url, client="direct"), EtcdBackend(etcd.url)
        async with (
            Discovery(east, **QUICK) as consuls,
            Discovery(west, **QUICK) as etcds,
            consuls.register(registration("a"), required=True),
            etcds.register(registration("b"), required=True),
            watching(Merge({"east": east, "west": west}, **QUICK)) as seen,
        ):
            good = await seen.serves(a="east", b="west")
            etcd.kill()
            event = await seen.until(lambda seen: seen.latest.error)
            assert isinstance(event.error, UnreachableError)
            assert str(event.error).startswith("west: ")
            assert not event.stale
            async with consuls.register(registration("c"), required=True):
                await seen.serves(a="east", b="west", c="east")
            await seen.serves(a="east", b="west")
            await etcd.start()
            await seen.until(lambda seen: seen.latest.error is None)
            async with etcds.register(registration("d"), required=True):
                await seen.serves(a="east", b="west", d="west")
            consul.kill()
            await seen.until(lambda seen: str(seen.latest.error).startswith("east: "))
            await consul.start()  # It has lost all its data.
            await seen.until(lambda seen: seen.latest.error is None)
            await seen.serves(a="east", b="west")
            assert set(seen.removed_since(good)) == {"c", "d"}


@pytest.mark.server("consul", "etcd")
async def test_one_process_in_two_registries_is_one_instance_until_both_have_lost_it() -> None:
    async with ConsulAgent() as consul, EtcdServer() as etcd:
        east, west = ConsulBackend(consul.url, client="direct"), EtcdBackend(etcd.url)
        async with (
            Discovery(east, **QUICK) as consuls,
            Discovery(west, **QUICK) as etcds,
            watching(Merge({"east": east, "west": west}, **QUICK)) as seen,
        ):
            async with consuls.register(registration("a"), required=True):
                await seen.serves(a="east")
                async with etcds.register(registration("a"), required=True):
                    async with asyncio.timeout(20):
                        while not await etcds.instances("users"):
                            pass
                    assert await consuls.instances("users")
                assert [len(event.snapshot or ()) for event in seen.events if event.snapshot] == [1]
            await seen.serves()


async def put(agent: ConsulAgent, name: str) -> None:
    """Register the host `name` on an agent with a check that passes until it is told otherwise."""
    check = {"TTL": "1h", "Status": "passing"}
    body = {"Name": "users", "ID": name, "Address": name, "Port": 80, "Check": check}
    await agent.put("/v1/agent/service/register", body)


@pytest.mark.server("consul")
async def test_one_agent_fails_over_between_datacenters() -> None:
    async with ConsulDatacenters() as (one, other):
        await put(one, "a")
        await put(other, "b")
        failover = Failover(
            ConsulBackend(one.url, client="direct", datacenter="dc1"),
            ConsulBackend(one.url, client="direct", datacenter="dc2"),
            down=DOWN,
            back=BACK,
            **QUICK,
        )
        async with watching(failover) as seen:
            event = await seen.serves(a="dc1")
            await one.put("/v1/agent/check/fail/service:a")
            began = time.monotonic()
            event = await seen.serves(b="dc2")
            assert event.snapshot is not None
            assert event.snapshot[0].datacenter == "dc2"
            await one.put("/v1/agent/check/pass/service:a")
            await seen.serves(a="dc1")
            assert time.monotonic() - began > BACK
            # The other datacenter dies: its agent can't be asked, and this one says so.
            other.kill()
            event = await seen.until(lambda seen: seen.latest.error)
            assert str(event.error).startswith("dc2: ")
            assert (event.stale, seen.hosts) == (False, {"a": "dc1"})


@pytest.mark.server("consul")
async def test_a_datacenter_that_dies_is_left_and_taken_again() -> None:
    async with ConsulDatacenters() as (one, other):
        await put(one, "a")
        await put(other, "b")
        failover = Failover(
            ConsulBackend(other.url, client="direct", datacenter="dc1"),
            ConsulBackend(other.url, client="direct", datacenter="dc2"),
            down=DOWN,
            back=BACK,
            **QUICK,
        )
        async with watching(failover) as seen:
            await seen.serves(a="dc1")
            one.kill()
            await seen.until(lambda seen: seen.latest.stale)
            assert seen.hosts == {"a": "dc1"}, "what is remembered serves on at first"
            await seen.serves(b="dc2")
            assert not seen.latest.stale


@pytest.mark.server("consul")
async def test_names_are_those_of_both_datacenters() -> None:
    async with ConsulDatacenters() as (one, other):
        await put(one, "a")
        await other.put("/v1/agent/service/register", {"Name": "orders", "Tags": ["v1"]})
        backends = [ConsulBackend(one.url, datacenter=name) for name in ("dc1", "dc2")]
        async with Merge(*backends) as merge:
            async with asyncio.timeout(20):
                while "orders" not in (names := await merge.fetch_names(None)).services:
                    pass
            assert names.services == {"consul": (), "orders": ("v1",), "users": ()}
            assert [each.origin for each in (await merge.fetch(Query("users"), None)).instances] == ["dc1"]
