"""More watches than an agent gives one program connections."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from asyncsd import Discovery, Event, Registration, StateChange, TTLCheck
from asyncsd.backends.consul import ConsulBackend
from tests.e2e.support import fresh, held_connections, watching
from tests.support.consul import AgentProcess, ClientKind

pytestmark = pytest.mark.server("consul")

SERVICES = 250
MAX_WATCHES = 100
"""ConsulBackend's own default; the agent takes 200 connections of a client."""
READS = 40
"""Its reads that don't wait, and the few that register and renew."""


def is_tagged(event: Event) -> bool:
    return [instance.tags for instance in event.snapshot or ()] == [("v2",)]


async def put(agent: AgentProcess, number: int, *tags: str) -> None:
    """Register by hand, as another program does, over a connection of its own."""
    body = {"Name": f"service-{number}", "ID": f"{number}", "Address": "127.0.0.1", "Port": 9, "Tags": tags}
    await agent.put("/v1/agent/service/register", body)


async def test_more_watches_than_the_agent_takes_connections_are_all_live_beside_a_heartbeat(
    agent: AgentProcess, client: ClientKind, caplog: pytest.LogCaptureFixture
) -> None:
    # Debugging makes 250 watches so slow that a busy machine has no time left for the heartbeat.
    asyncio.get_running_loop().set_debug(False)
    changes: list[StateChange] = []
    held: list[int] = []
    me = Registration(service="me", host="127.0.0.1", port=9, check=TTLCheck(ttl=15.0))

    async def count_connections() -> None:
        while True:
            held.append(held_connections(agent.port))
            await asyncio.sleep(0.1)

    async with AsyncExitStack() as stack:
        sd = await stack.enter_async_context(Discovery(ConsulBackend(agent.url, client=client)))
        counting = asyncio.ensure_future(count_connections())
        stack.callback(counting.cancel)
        for number in range(SERVICES):
            await put(agent, number)
        await stack.enter_async_context(sd.register(me, required=True, on_change=changes.append))
        loop = asyncio.get_running_loop()
        watches = [
            await stack.enter_async_context(watching(sd, f"service-{number}")) for number in range(SERVICES)
        ]
        await asyncio.gather(*(seen.until(fresh(1), 30.0) for seen in watches))
        for number in range(SERVICES):
            await put(agent, number, "v2")
        began = loop.time()
        await asyncio.gather(*(seen.until(is_tagged, 30.0) for seen in watches))
        last = loop.time() - began
        health = sd.health().watches.values()
        assert last < 20.0
        assert [watch.state for watch in health] == ["live"] * SERVICES
        assert sum(watch.failures for watch in health) == 0
        assert {change.after for change in changes} == {"registered"}
        assert max(held) <= MAX_WATCHES + READS
        await agent.get("/v1/agent/self")  # Other programs of this machine are served too.
    assert not [one for one in caplog.records if one.name.startswith("asyncsd") and one.levelname != "INFO"]
