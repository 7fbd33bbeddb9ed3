"""What Consul's DNS says, as instances."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from asyncsd import Discovery, Instance, Query
from asyncsd.backends.dns import DNSBackend
from tests.dns.watching import on
from tests.support.consul import ConsulAgent
from tests.support.running import fetched

pytestmark = pytest.mark.server("consul")


@pytest.fixture
async def agent() -> AsyncIterator[ConsulAgent]:
    async with ConsulAgent() as agent:
        yield agent


def asking(agent: ConsulAgent, **options: Any) -> DNSBackend:
    return on(f"127.0.0.1:{agent.dns_port}", **{"domain": "service.consul", **options})


async def register(agent: ConsulAgent, number: int, **values: Any) -> None:
    body = {"ID": f"u{number}", "Name": "users", "Address": f"10.0.0.{number}", "Port": 80, **values}
    await agent.put("/v1/agent/service/register", body)


def hosts(instances: tuple[Instance, ...]) -> list[str]:
    return sorted(instance.host for instance in instances)


async def test_instances_come_with_their_weights_and_go_with_their_checks(agent: ConsulAgent) -> None:
    check = {"CheckID": "beat", "TTL": "60s", "Status": "passing"}
    await register(agent, 1, Weights={"Passing": 7, "Warning": 2})
    await register(agent, 2, Check=check)
    async with asking(agent) as backend:
        reply = await fetched(backend, "users", lambda found: len(found) == 2)
        assert {i.host: i.weight for i in reply.instances} == {"10.0.0.1": 7, "10.0.0.2": 1}
        assert [i.node for i in reply.instances] == ["0a000001.addr.dc1.consul", "0a000002.addr.dc1.consul"]
        await agent.put("/v1/agent/check/fail/beat")
        reply = await backend.fetch(Query("users"), reply.cursor)
        assert hosts(reply.instances) == ["10.0.0.1"]
        await agent.put("/v1/agent/service/deregister/u1")
        assert (await backend.fetch(Query("users"), reply.cursor)).instances == ()


async def test_all_come_though_consul_cuts_its_answers_by_udp_without_a_word(agent: ConsulAgent) -> None:
    for number in range(1, 101):
        await register(agent, number, Meta={"text": "x" * 100})
    async with asking(agent) as backend:
        for _ in range(3):
            assert len((await backend.fetch(Query("users"), None)).instances) == 100
        for number in range(6, 101):
            await agent.put(f"/v1/agent/service/deregister/u{number}")
        await fetched(backend, "users", lambda found: hosts(found) == [f"10.0.0.{n}" for n in range(1, 6)])


@pytest.mark.parametrize("count", [4, 8, 12, 16, 20])
async def test_no_number_of_instances_is_cut(agent: ConsulAgent, count: int) -> None:
    """Whatever fits: a name is in an answer several times, so that longer ones fill it sooner."""
    for length in (1, 20, 50):
        name = "n" * length
        for number in range(count):
            await register(agent, number + 1, ID=f"{name}{number}", Name=name)
        async with asking(agent) as backend:
            assert len((await backend.fetch(Query(name), None)).instances) == count, length


async def test_a_tag_and_a_datacenter_stand_in_the_domain(agent: ConsulAgent) -> None:
    await register(agent, 1, Tags=["v1"])
    await register(agent, 2, Tags=["v2"])
    async with asking(agent, domain="v2.{service}.service.dc1.consul") as backend:
        assert hosts((await backend.fetch(Query("users"), None)).instances) == ["10.0.0.2"]
    async with asking(agent, domain="_{service}._tcp.service.consul") as backend:
        assert hosts((await backend.fetch(Query("users"), None)).instances) == ["10.0.0.1", "10.0.0.2"]


async def test_an_agent_that_lost_everything_is_doubted_and_then_believed(agent: ConsulAgent) -> None:
    await register(agent, 1)
    async with Discovery(asking(agent)) as sd, sd.watch("users") as events:
        async with asyncio.timeout(30):
            assert len((await events.get()).snapshot or ()) == 1
            agent.kill()
            event = await events.get()
            while not event.stale:
                event = await events.get()
            assert len(event.snapshot or ()) == 1
            await agent.start()
            await register(agent, 2)
            while event.snapshot is None or hosts(event.snapshot.instances) != ["10.0.0.1", "10.0.0.2"]:
                event = await events.get()
            assert event.stale
            assert event.reason == "reset"
