"""What people do to a registration by hand, and what other datacenters have."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from asyncsd import BackendError, Discovery, Query, Registration, RoundRobin, TTLCheck
from asyncsd.backends.consul import ConsulBackend
from tests.e2e.support import calling, eventually, fresh, greeter, watching
from tests.support.consul import AgentProcess, ClientKind, ConsulAgent
from tests.support.process import free_ports

pytestmark = pytest.mark.server("consul")


def users(port: int | None) -> Registration:
    return Registration(service="users", host="127.0.0.1", port=port or 0, check=TTLCheck(ttl=90.0))


async def test_maintenance_by_hand_is_respected_and_a_deregistration_is_undone(
    agent: AgentProcess, client: ClientKind
) -> None:
    async with AsyncExitStack() as stack:
        sd = await stack.enter_async_context(Discovery(ConsulBackend(agent.url, client=client)))
        servers = [await stack.enter_async_context(greeter()) for _ in range(2)]
        one, two = [await stack.enter_async_context(sd.register(users(server.port))) for server in servers]
        seen = await stack.enter_async_context(watching(sd, "users"))
        await seen.until(fresh(2))
        calls = await stack.enter_async_context(calling(sd.balancer("users", RoundRobin())))

        await agent.put(f"/v1/agent/service/maintenance/{one.id}?enable=true&reason=by+hand")
        event = await seen.until(fresh(1))
        assert [instance.id for instance in event.snapshot or ()] == [two.id]
        before = calls.answered[one.registration.port]
        await eventually(lambda: calls.answered[two.registration.port] >= before + 20)
        assert calls.answered[one.registration.port] <= before + 1, "but for the call that was on its way"
        await agent.put(f"/v1/agent/service/maintenance/{one.id}?enable=false")
        await seen.until(fresh(2))

        await agent.put(f"/v1/agent/service/deregister/{two.id}")
        loop = asyncio.get_running_loop()
        began = loop.time()
        await seen.until(
            lambda event: fresh(2)(event) and two.id in {i.id for i in event.snapshot or ()}, within=25.0
        )
        assert loop.time() - began < 20.0, "no heartbeat is due for 27 seconds"
        calls.answered.clear()
        await eventually(lambda: len(calls.answered) == 2)
        assert not calls.failed
        assert 0 not in seen.counts


async def test_another_datacenter_is_watched_and_its_end_costs_neither_it_nor_the_own(
    client: ClientKind,
) -> None:
    ports = free_ports(5)
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(ConsulAgent(ports=ports))
        there = ConsulAgent(
            datacenter="dc2",
            node_name="there",
            retry_join_wan=[f"127.0.0.1:{ports[3]}"],
            retry_interval_wan="1s",
        )
        await stack.enter_async_context(there)

        async def joined() -> bool:
            return "dc2" in await here.get("/v1/catalog/datacenters")

        await eventually(joined, within=20.0)
        server = await stack.enter_async_context(greeter())
        sd = await stack.enter_async_context(Discovery(ConsulBackend(here.url, client=client, wait=2.0)))
        over = await stack.enter_async_context(Discovery(ConsulBackend(there.url, client=client)))
        await stack.enter_async_context(over.register(users(server.port), linger=0.2))
        far_users = Query("users", datacenter="dc2")
        far = await stack.enter_async_context(watching(sd, far_users))
        event = await far.until(fresh(1))
        assert [instance.datacenter for instance in event.snapshot or ()] == ["dc2"]
        own = await stack.enter_async_context(watching(sd, "users"))
        await own.until(fresh(0))
        nowhere = await stack.enter_async_context(watching(sd, Query("users", datacenter="nowhere")))
        event = await nowhere.until(lambda event: event.error is not None)
        assert isinstance(event.error, BackendError)
        assert "No path to datacenter" in str(event.error)
        assert event.snapshot is None
        calls = await stack.enter_async_context(calling(sd.balancer(far_users, RoundRobin())))
        there.kill()
        event = await far.until(lambda event: event.stale, within=30.0)
        assert len(event.snapshot or ()) == 1
        await stack.enter_async_context(sd.register(users(server.port)))
        await own.until(fresh(1))
        await eventually(lambda: calls.answered.total() >= 50)
        assert not calls.failed
        assert 0 not in far.counts
