"""Agents for the tests that only register under names of their own, and both clients on each."""

from collections.abc import AsyncIterator

import pytest

from asyncsd.backends.consul import ConsulBackend
from tests.support.consul import AGENTS, AgentProcess, ClientKind


@pytest.fixture(params=["aio", "direct"])
def client(request: pytest.FixtureRequest) -> ClientKind:
    kind: ClientKind = request.param
    return kind


@pytest.fixture(params=AGENTS)
async def agent(request: pytest.FixtureRequest) -> AsyncIterator[AgentProcess]:
    """A real Consul's agent, and then asyncsd's own in its place."""
    async with AGENTS[request.param]() as agent:
        yield agent


@pytest.fixture
async def backend(agent: AgentProcess, client: ClientKind) -> AsyncIterator[ConsulBackend]:
    async with ConsulBackend(agent.url, client=client) as backend:
        yield backend
