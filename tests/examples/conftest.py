"""One dev agent for the examples of a module; each test has services of its own, or waits for their end."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.consul import ConsulAgent


@pytest.fixture(scope="module")
def agent() -> Iterator[ConsulAgent]:
    agent = ConsulAgent()
    asyncio.run(agent.__aenter__())
    yield agent
    asyncio.run(agent.__aexit__(None, None, None))
