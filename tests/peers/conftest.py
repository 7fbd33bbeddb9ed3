"""Programs that were written for Consul: nothing that they tell of our agent differs from a real one."""

from collections.abc import AsyncIterator

import pytest

from tests.support.consul import AgentProcess, ConsulAgent, EmbeddedAgent


@pytest.fixture(params=["embedded", pytest.param("consul", marks=pytest.mark.server("consul"))])
async def agent(request: pytest.FixtureRequest) -> AsyncIterator[AgentProcess]:
    async with EmbeddedAgent() if request.param == "embedded" else ConsulAgent() as agent:
        yield agent
