"""Both clients, and an agent for those tests that need no more."""

from collections.abc import AsyncIterator

import pytest

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
