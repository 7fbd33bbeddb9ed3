"""One dev agent for the tests that only register under names of their own, and both clients on it."""

from collections.abc import AsyncIterator

import pytest

from asyncsd.backends.consul import ConsulBackend
from tests.support.consul import ClientKind, ConsulAgent


@pytest.fixture(params=["aio", "direct"])
def client(request: pytest.FixtureRequest) -> ClientKind:
    kind: ClientKind = request.param
    return kind


@pytest.fixture
async def agent() -> AsyncIterator[ConsulAgent]:
    async with ConsulAgent() as agent:
        yield agent


@pytest.fixture
async def backend(agent: ConsulAgent, client: ClientKind) -> AsyncIterator[ConsulBackend]:
    async with ConsulBackend(agent.url, client=client) as backend:
        yield backend
