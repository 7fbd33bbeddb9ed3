"""Our agent, new for each test, and one real Consul for all of them, emptied after each."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from asyncsd.agent import Agent
from tests.agent.parity import NODE, Both, Client
from tests.support.consul import ConsulAgent
from tests.support.process import free_ports


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def consul_ports() -> AsyncIterator[list[int]]:
    """The ports of a real Consul that runs as long as the tests; the first is that of its API."""
    ports = free_ports(5)
    async with ConsulAgent(ports=ports, node_name=NODE, check_update_interval="0s") as agent:
        async with asyncio.timeout(30):
            while True:  # the agent enters its own node, with meta, a while after the leader did
                found = await agent.get(f"/v1/catalog/node/{NODE}")
                if found and found["Node"]["Meta"]:
                    break
                await asyncio.sleep(0.05)
        yield ports


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector, timeout=aiohttp.ClientTimeout(total=45), auto_decompress=True
    ) as session:
        yield session


@pytest.fixture
async def ours(http: aiohttp.ClientSession) -> AsyncIterator[Client]:
    """Our agent alone."""
    async with Agent(node=NODE, check_update_interval=0) as agent:
        yield Client(agent.url, [int(agent.url.rpartition(":")[2])], http)


@pytest.fixture
async def consul(http: aiohttp.ClientSession, consul_ports: list[int]) -> AsyncIterator[Client]:
    """The real Consul alone."""
    client = Client(f"http://127.0.0.1:{consul_ports[0]}", consul_ports, http)
    yield client
    await client.clean()


@pytest.fixture
def both(ours: Client, consul: Client) -> Both:
    """Our agent and the real Consul, compared."""
    return Both(ours, consul)


@pytest.fixture(params=["agent", pytest.param("consul", marks=pytest.mark.server("consul"))])
def server(request: pytest.FixtureRequest) -> Client:
    """Each of the two alone, one after the other."""
    client: Client = request.getfixturevalue("ours" if request.param == "agent" else "consul")
    return client
