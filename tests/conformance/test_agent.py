from collections.abc import AsyncIterator
from typing import Literal

import pytest

from asyncsd.agent import Agent
from asyncsd.backends.consul import ConsulBackend
from asyncsd.testing import BackendConformance
from tests.support.crowded import Crowded


class AgentConformance(BackendConformance):
    client: Literal["aio", "direct"]

    @pytest.fixture(autouse=True)
    async def _agent(self) -> AsyncIterator[None]:
        async with Agent() as agent:
            self.url = agent.url
            yield

    def make_backend(self, *, wait: float = 30.0) -> ConsulBackend:
        return ConsulBackend(self.url, client=self.client, wait=wait)


class TestAgentAio(AgentConformance):
    client = "aio"


class TestAgentDirect(AgentConformance):
    client = "direct"


class TestAgentDirectFed(AgentConformance):
    """More fetches wait than may be held: a feed tells of changes."""

    client = "direct"

    def make_backend(self, *, wait: float = 30.0) -> ConsulBackend:
        return Crowded(self.url, client=self.client, wait=wait)
