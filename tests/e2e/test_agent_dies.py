"""One agent for everything, and it dies, comes late or stops to answer: the program goes on."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from asyncsd import (
    Balancer,
    Discovery,
    HTTPCheck,
    Instance,
    NoInstances,
    Registrar,
    Registration,
    RoundRobin,
    TTLCheck,
    UnreachableError,
)
from asyncsd.backends.consul import ConsulBackend
from tests.e2e.support import Seen, calling, counted, eventually, fresh, greeter, watching
from tests.support.consul import AgentProcess, ClientKind, ConsulAgent
from tests.support.process import free_ports
from tests.support.toxiproxy import Toxiproxy

pytestmark = pytest.mark.server("consul")

TTL = TTLCheck(ttl=18.0)
HTTP = HTTPCheck("/health", interval=1.0)
THREE = {"by-ttl": (TTL,), "by-http": (HTTP,), "by-both": (TTL, HTTP)}


@dataclass
class Program:
    """A program that has registered three services, watches them, and has a balancer of each."""

    sd: Discovery[ConsulBackend]
    registrars: list[Registrar]
    watches: dict[str, Seen]
    balancers: list[Balancer[Instance]]

    def indices(self) -> dict[str, int | None]:
        return {query.service: health.index for query, health in self.sd.health().watches.items()}

    def sizes(self) -> set[int]:
        """How long the lists of all services were."""
        return set().union(*(seen.counts for seen in self.watches.values()))

    async def recovered(self) -> dict[str, float]:
        """Wait until each list is trusted again; the seconds that this took."""
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def wait(seen: Seen) -> float:
            await seen.until(fresh(1))
            return loop.time() - began

        return dict(zip(self.watches, await asyncio.gather(*map(wait, self.watches.values())), strict=True))

    async def all_passing(self, agent: AgentProcess) -> None:
        """Wait until the agent, asked beside the code under test, has all as before."""

        async def holds() -> bool:
            checks = (await agent.get("/v1/agent/checks")).values()
            found = sorted((check["ServiceID"], check["Status"]) for check in checks)
            return found == wanted

        wanted = sorted(
            (registrar.id, "passing") for registrar in self.registrars for _ in registrar.registration.checks
        )
        await eventually(holds)
        await eventually(lambda: all(registrar.state == "registered" for registrar in self.registrars))


@asynccontextmanager
async def running(agent: AgentProcess, client: ClientKind) -> AsyncGenerator[Program, None]:
    async with AsyncExitStack() as stack:
        backend = ConsulBackend(agent.url, client=client)
        sd = await stack.enter_async_context(Discovery(backend))
        program = Program(sd, [], {}, [])
        for service, checks in THREE.items():
            server = await stack.enter_async_context(greeter())
            assert server.port is not None
            me = Registration(service=service, host="127.0.0.1", port=server.port, checks=checks)
            program.registrars.append(await stack.enter_async_context(sd.register(me)))
            program.watches[service] = await stack.enter_async_context(watching(sd, service))
            program.balancers.append(sd.balancer(service, RoundRobin()))
        for seen in program.watches.values():
            await seen.until(fresh(1))
        yield program


async def test_an_agent_killed_and_back_empty_costs_no_call_and_has_all_again(
    agent: AgentProcess, client: ClientKind
) -> None:
    for number in range(40):  # So that the index is a higher one than that of the agent's next life.
        await agent.put("/v1/catalog/register", {"Node": f"node-{number}", "Address": "10.0.0.9"})
    async with running(agent, client) as program:
        before = program.indices()
        async with calling(*program.balancers) as calls:
            with counted(agent.port) as attempts:
                agent.kill()
                for seen in program.watches.values():
                    event = await seen.until(lambda event: event.stale, within=10.0)
                    assert isinstance(event.error, UnreachableError)
                    assert event.age is not None
                await asyncio.sleep(10.0)
            # A probe a second from all watches and registrations together, and the three's heartbeats. On a
            # busy machine the time is longer than it was to be.
            assert len(attempts) <= 7 + attempts[-1] - attempts[0], attempts
            assert all(health.age > 10.0 for health in program.sd.health().watches.values())
            await agent.start()
            recovered = await program.recovered()
            await program.all_passing(agent)
            assert all(index < before[service] for service, index in program.indices().items())
        assert max(recovered.values()) < 10.0
        assert calls.good(100)
        assert program.sizes() == {1}


async def test_a_frozen_agent_that_thaws_loses_nothing(agent: AgentProcess, client: ClientKind) -> None:
    async with running(agent, client) as program, calling(*program.balancers) as calls:
        agent.freeze()
        await asyncio.sleep(7.0)  # Longer than a heartbeat's interval, and shorter than the TTL.
        agent.thaw()
        await program.all_passing(agent)
        body = {"Name": "by-ttl", "ID": "later", "Address": "127.0.0.1", "Port": 9}
        assert len(program.sd.balancer("by-ttl", RoundRobin()).instances) == 1
        await agent.put("/v1/agent/service/register", body)
        await program.watches["by-ttl"].until(fresh(2), within=10.0)
        await agent.put("/v1/agent/service/deregister/later")
        await program.watches["by-ttl"].until(fresh(1), within=10.0)
    assert 0 not in program.sizes()
    assert all(event.error is None for seen in program.watches.values() for event in seen.events)
    assert calls.good(100)


@pytest.mark.server("toxiproxy")
async def test_a_half_open_connection_is_noticed_by_its_deadline(agent: AgentProcess) -> None:
    async with AsyncExitStack() as stack:
        toxiproxy = await stack.enter_async_context(Toxiproxy())
        link = await toxiproxy.link(f"127.0.0.1:{agent.port}")
        server = await stack.enter_async_context(greeter())
        assert server.port is not None
        await put(agent, "one", server.port)
        backend = ConsulBackend(f"http://{link.address}", wait=1.0)
        sd = await stack.enter_async_context(Discovery(backend))
        seen = await stack.enter_async_context(watching(sd, "users"))
        await seen.until(fresh(1))
        calls = await stack.enter_async_context(calling(sd.balancer("users", RoundRobin())))
        loop = asyncio.get_running_loop()
        await link.stall()
        stalled = loop.time()
        noticed = await seen.until(lambda event: event.error is not None, within=30.0)
        assert isinstance(noticed.error, UnreachableError)
        assert loop.time() - stalled < 1.0 + 1.0 / 16 + 10.0 + 8.0, "the wait, its sixteenth, and ten seconds"
        await put(agent, "two", server.port)
        await link.mend()
        mended = loop.time()
        await seen.until(fresh(2))
        assert loop.time() - mended < 10.0
        assert calls.good(100)
        assert seen.counts == [1, 1, 2]


async def put(agent: AgentProcess, id: str, port: int) -> None:
    """Register by hand, without a check."""
    body = {"Name": "users", "ID": id, "Address": "127.0.0.1", "Port": port}
    await agent.put("/v1/agent/service/register", body)


async def test_an_agent_that_comes_late_is_used_at_once(client: ClientKind) -> None:
    agent = ConsulAgent(ports=free_ports(5))
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(greeter())
        me = Registration(service="users", port=server.port or 0, check=TTL)
        sd = await stack.enter_async_context(Discovery(ConsulBackend(agent.url, client=client)))
        registrar = await stack.enter_async_context(sd.register(me, timeout=0.1))
        assert registrar.state == "failing"
        users = sd.balancer("users", RoundRobin())
        with pytest.raises(
            NoInstances, match="nothing was ever heard of it; no good answer of the registry for"
        ):
            await users.call(lambda _: asyncio.sleep(0), timeout=0.2)
        waiting = asyncio.ensure_future(users.call(lambda instance: asyncio.sleep(0, instance), timeout=30.0))
        await stack.enter_async_context(agent)
        loop = asyncio.get_running_loop()
        came = loop.time()
        instance = await waiting
        assert loop.time() - came < 10.0
        assert (instance.id, instance.host, instance.port) == (registrar.id, "127.0.0.1", server.port)
        assert registrar.state == "registered"
