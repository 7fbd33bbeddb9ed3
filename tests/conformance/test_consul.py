import asyncio
from collections.abc import Iterator
from typing import Literal

import pytest

from asyncsd.backends.consul import ConsulBackend
from asyncsd.testing import BackendConformance
from tests.support.consul import ConsulAgent
from tests.support.crowded import Crowded


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """One agent for all: every test has service names of its own."""
    agent = ConsulAgent()
    asyncio.run(agent.start())
    yield agent.url
    asyncio.run(agent.__aexit__(None, None, None))


@pytest.mark.server("consul")
class ConsulConformance(BackendConformance):
    client: Literal["aio", "direct"]

    @pytest.fixture(autouse=True)
    def _agent(self, url: str) -> None:
        self.url = url

    def make_backend(self, *, wait: float = 30.0) -> ConsulBackend:
        return ConsulBackend(self.url, client=self.client, wait=wait)


class TestConsulAio(ConsulConformance):
    client = "aio"


class TestConsulDirect(ConsulConformance):
    client = "direct"


class FedConformance(ConsulConformance):
    """More fetches wait than may be held: a feed tells of changes."""

    max_watches = 8

    def make_backend(self, *, wait: float = 30.0) -> ConsulBackend:
        return Crowded(self.url, client=self.client, wait=wait, max_watches=self.max_watches)


class TestConsulAioFed(FedConformance):
    client = "aio"


class TestConsulDirectFed(FedConformance):
    client = "direct"


class TestConsulDirectSwept(FedConformance):
    """As in a large fleet, where the nodes are too many to be followed one by one."""

    client = "direct"
    max_watches = 1
