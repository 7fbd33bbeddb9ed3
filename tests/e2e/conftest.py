"""Both clients, and one dev agent for those tests that need no more."""

from collections.abc import AsyncIterator

import pytest

from tests.support.consul import ClientKind, ConsulAgent


@pytest.fixture(params=["aio", "direct"])
def client(request: pytest.FixtureRequest) -> ClientKind:
    kind: ClientKind = request.param
    return kind


@pytest.fixture
async def agent() -> AsyncIterator[ConsulAgent]:
    async with ConsulAgent() as agent:
        yield agent
