"""A registrar on a real agent, whatever happens to the agent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from asyncsd import Backoff, Health, PermissionDeniedError, Query, Registration, TTLCheck, UnreachableError
from asyncsd._registrar import Registrar
from asyncsd.backends.consul import ConsulBackend
from asyncsd.testing import FakeClock
from tests.support.consul import AgentProcess, ClientKind, ConsulAgent
from tests.support.process import free_ports

pytestmark = pytest.mark.server("consul")

ME = Registration(service="greeter", host="127.0.0.1", port=8080, tags=("v1",), check=TTLCheck(ttl=6.0))
MANAGEMENT = "6f4b3f0e-1f2c-4f6e-9c57-0d4f8f3d9a11"


@asynccontextmanager
async def running(backend: ConsulBackend, me: Registration = ME, **options: Any) -> AsyncIterator[Registrar]:
    registrar = Registrar(backend, me, **options)
    task = asyncio.get_running_loop().create_task(registrar.run())
    try:
        async with asyncio.timeout(50):
            yield registrar
    finally:
        task.cancel()
        await asyncio.wait((task,))
    assert task.cancelled()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask a real server again and again until it `holds`."""
    async with asyncio.timeout(25):
        while not await holds():
            pass


async def statuses(agent: AgentProcess, id: str) -> dict[str, str]:
    """The checks of an instance, read beside the code under test; empty while it isn't there."""
    checks = await agent.get("/v1/agent/checks")
    return {name: check["Status"] for name, check in checks.items() if check["ServiceID"] == id}


async def test_it_registers_and_turns_passing_and_is_gone_after(
    agent: AgentProcess, backend: ConsulBackend
) -> None:
    async with running(backend, replace(ME, host=None), health=lambda: ("passing", "fine")) as registrar:
        await registrar.ready()
        [instance] = (await backend.fetch(Query("greeter"), None)).instances
        assert (instance.id, instance.host, instance.status) == (registrar.id, "127.0.0.1", "passing")
        assert registrar.where == agent.url
        checks = await agent.get("/v1/agent/checks")
        assert [check["Output"] for check in checks.values()] == ["fine"]
    assert registrar.state == "deregistered"
    assert await agent.get("/v1/agent/services") == {}


async def test_it_stays_passing_past_its_ttl(agent: AgentProcess, backend: ConsulBackend) -> None:
    # Two thirds of it are what a busy machine may stop for.
    async with running(backend, replace(ME, check=TTLCheck(ttl=5.0))) as registrar:
        await registrar.ready()
        reply = await backend.fetch(Query("greeter"), None)
        change = asyncio.ensure_future(backend.fetch(Query("greeter"), reply.cursor))
        done, _ = await asyncio.wait((change,), timeout=7.0)
        assert not done, "nothing changes, for longer than the TTL"
        assert [instance.status for instance in reply.instances] == ["passing"]
        change.cancel()


async def test_health_becomes_the_status_of_the_check(agent: AgentProcess, backend: ConsulBackend) -> None:
    says = [Health("warning", "queue is long")]
    async with running(backend, health=lambda: says[0]) as registrar:
        await registrar.ready()
        reply = await backend.fetch(Query("greeter"), None)
        assert [instance.status for instance in reply.instances] == ["warning"]
        says[0] = Health("critical", "no disk")
        async with asyncio.timeout(15):
            while [instance.status for instance in reply.instances] != ["critical"]:
                reply = await backend.fetch(Query("greeter"), reply.cursor)


async def test_an_agent_killed_and_back_empty_has_it_again(
    agent: AgentProcess, backend: ConsulBackend
) -> None:
    async with running(backend, replace(ME, check=TTLCheck(ttl=30.0))) as registrar:
        await registrar.ready()
        before = registrar.id
        agent.kill()
        await agent.start()

        async def is_back() -> bool:
            return "passing" in (await statuses(agent, before)).values()

        await until(is_back)
        assert await registrar.wait_for("registered") == "registered"
        assert list(await agent.get("/v1/agent/services")) == [before]


async def test_a_heartbeat_notices_that_the_agent_is_away_and_back(
    agent: AgentProcess, backend: ConsulBackend
) -> None:
    async with running(backend, replace(ME, check=TTLCheck(ttl=1.5))) as registrar:
        await registrar.ready()
        agent.kill()
        await registrar.wait_for("failing")
        assert isinstance(registrar.error, UnreachableError)
        await agent.start()
        await registrar.ready()
        assert list(await agent.get("/v1/agent/services")) == [registrar.id]


async def test_deregistered_by_hand_it_is_back_at_once(agent: AgentProcess, backend: ConsulBackend) -> None:
    async with running(backend, replace(ME, check=TTLCheck(ttl=600.0))) as registrar:
        await registrar.ready()
        for _ in range(2):
            lost = asyncio.ensure_future(registrar.wait_for("failing"))
            await agent.put(f"/v1/agent/service/deregister/{registrar.id}")
            async with asyncio.timeout(20):  # The next heartbeat is minutes away: the agent's hash tells.
                await lost
                await registrar.ready()
            assert set((await statuses(agent, registrar.id)).values()) == {"passing"}


async def test_tags_change_in_place_with_no_moment_of_absence_or_of_critical(
    agent: AgentProcess, backend: ConsulBackend
) -> None:
    async with running(backend) as registrar:
        await registrar.ready()
        seen: list[tuple[tuple[str, ...], str]] = []
        done = asyncio.Event()

        async def read_tightly() -> None:
            while not done.is_set():
                reply = await backend.fetch(Query("greeter"), None)
                assert len(reply.instances) == 1, "absent"
                seen.append((reply.instances[0].tags, reply.instances[0].status))

        reading = asyncio.ensure_future(read_tightly())
        for number in range(2, 22):
            await registrar.update(tags=(f"v{number}",), weight=number)
        done.set()
        await reading
        assert {status for _, status in seen} == {"passing"}
        assert len({tags for tags, _ in seen}) > 2, "the reader wasn't tight"
        service = await agent.get(f"/v1/agent/service/{registrar.id}")
        assert (service["Tags"], service["Weights"]["Passing"]) == (["v21"], 21)


async def test_a_drain_is_seen_by_others_as_critical_before_it_goes(
    agent: AgentProcess, backend: ConsulBackend
) -> None:
    seen: list[list[str]] = []
    first = asyncio.Event()

    async def watch() -> None:
        reply = await backend.fetch(Query("greeter"), None)
        while reply.instances or not seen:
            seen.append([instance.status for instance in reply.instances])
            first.set()
            reply = await backend.fetch(Query("greeter"), reply.cursor)

    async with running(backend, drain=4.0) as registrar:
        await registrar.ready()
        watching = asyncio.ensure_future(watch())
        await first.wait()
    async with asyncio.timeout(20):
        await watching
    assert seen[0] == ["passing"]
    assert seen[-1] == ["critical"]
    assert await agent.get("/v1/agent/checks") == {}, "no maintenance is left for the next of this id"


async def test_a_fixed_id_that_was_drained_is_passing_the_next_time(
    agent: AgentProcess, backend: ConsulBackend
) -> None:
    for _ in range(2):
        async with running(backend, replace(ME, id="greeter-1"), drain=0.1) as registrar:
            await registrar.ready()
            assert set((await statuses(agent, "greeter-1")).values()) == {"passing"}


async def test_an_agent_absent_at_the_start_is_not_the_end(client: ClientKind) -> None:
    agent = ConsulAgent(ports=free_ports(5))
    async with ConsulBackend(agent.url, client=client) as backend:
        async with running(backend, replace(ME, host=None)) as registrar:
            await registrar.wait_for("failing")
            assert isinstance(registrar.error, UnreachableError)
            async with agent:
                await registrar.ready()
                assert set((await statuses(agent, registrar.id)).values()) == {"passing"}


async def has_acls(agent: AgentProcess) -> bool:
    """They come a moment after the leader."""
    try:
        await agent.get("/v1/agent/services", token=MANAGEMENT)
    except OSError:
        return False
    return True


async def test_403_is_raised_at_once_and_a_mended_token_registers(client: ClientKind) -> None:
    acl = {"enabled": True, "default_policy": "deny", "tokens": {"initial_management": MANAGEMENT}}
    token = ["00000000-dead-beef-0000-000000000000"]
    async with ConsulAgent(acl=acl) as agent:
        await until(partial(has_acls, agent))
        async with ConsulBackend(agent.url, client=client, token=lambda: token[0]) as backend:
            async with running(backend, backoff=Backoff(initial=0.2, maximum=0.2)) as registrar:
                with pytest.raises(PermissionDeniedError) as error:
                    await registrar.ready()
                assert token[0] not in str(error.value)
                token[0] = MANAGEMENT
                await registrar.wait_for("registered")
                services = await agent.get("/v1/agent/services", token=MANAGEMENT)
                assert list(services) == [registrar.id]
        assert await agent.get("/v1/agent/services", token=MANAGEMENT) == {}


async def advance_until(clock: FakeClock, witness: ConsulAgent, done: Callable[[], bool]) -> None:
    """Move the clock in steps that leave real requests their time, until `done`."""
    async with asyncio.timeout(30):
        while not done():
            await clock.advance(0.5)
            for _ in range(3):
                await witness.get("/v1/agent/services")


async def test_it_moves_when_its_agent_stays_away_and_leaves_nothing_behind(client: ClientKind) -> None:
    clock = FakeClock()
    me = replace(ME, check=TTLCheck(ttl=60.0))
    async with ConsulAgent() as first, ConsulAgent() as second:
        async with ConsulBackend([first.url, second.url], client=client, clock=clock) as backend:
            async with running(backend, me, clock=clock) as registrar:
                until = partial(advance_until, clock, second)
                await registrar.ready()
                assert registrar.where == first.url
                first.freeze()
                await until(lambda: registrar.state == "failing")
                since = clock.time()
                await until(lambda: registrar.where == second.url)
                assert clock.time() - since >= 60.0, "a blip moves nothing"
                await until(lambda: registrar.state == "registered")
                assert set((await statuses(second, registrar.id)).values()) == {"passing"}
                first.thaw()
                async with asyncio.timeout(20):
                    while registrar.id in await first.get("/v1/agent/services"):
                        await clock.advance(0.5)
                assert registrar.id in await second.get("/v1/agent/services")
        assert await second.get("/v1/agent/services") == {}


@pytest.mark.parametrize("turns", [1, 3, 6, 10, 15, 25])
async def test_cancelled_while_registering_it_leaves_nothing_on_the_agent(
    agent: AgentProcess, backend: ConsulBackend, turns: int
) -> None:
    task = asyncio.get_running_loop().create_task(Registrar(backend, ME).run())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()
    assert await agent.get("/v1/agent/services") == {}
