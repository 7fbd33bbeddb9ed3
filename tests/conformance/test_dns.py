import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from asyncsd import Lease, Query, Record, Reply
from asyncsd.backends.dns import DNSBackend
from asyncsd.testing import BackendConformance
from tests.support.consul import ConsulAgent

pytestmark = pytest.mark.server("consul")


@pytest.fixture(scope="module")
def agent() -> Iterator[ConsulAgent]:
    """One agent for all: every test has service names of its own."""
    agent = ConsulAgent()
    asyncio.run(agent.start())
    yield agent
    agent.stop()


class Named(DNSBackend):
    """With the ids that instances were registered with: in DNS they have none."""

    def __init__(self, ids: dict[tuple[str, str, int], str], port: int, wait: float) -> None:
        super().__init__(f"127.0.0.1:{port}", domain="service.consul", min_ttl=0.05, wait=wait, timeout=10.0)
        self.ids = ids

    async def fetch(self, query: Query, cursor: Any) -> Reply:
        reply = await super().fetch(query, cursor)
        named = (replace(i, id=self.ids[i.service, i.host, i.port]) for i in reply.instances)
        return replace(reply, instances=tuple(named))


class TestDNS(BackendConformance):
    """Consul's records, which are changed over its HTTP API."""

    registers = False
    pushes = False
    carries = frozenset()

    @pytest.fixture(autouse=True)
    def _agent(self, agent: ConsulAgent) -> None:
        self.agent = agent
        self.ids: dict[tuple[str, str, int], str] = {}

    def make_backend(self, *, wait: float = 30.0) -> DNSBackend:
        return Named(self.ids, self.agent.dns_port, wait)

    async def put(self, backend: Any, record: Record) -> Lease:
        self.ids[record.service, record.host, record.port] = record.id
        body = {
            "ID": record.id,
            "Name": record.service,
            "Address": record.host,
            "Port": record.port,
            "Weights": {"Passing": record.weight, "Warning": 1},
        }
        await self.agent.put("/v1/agent/service/register", body)
        return Lease(record, where=self.agent.url)

    async def drop(self, backend: Any, lease: Lease) -> None:
        await self.agent.put(f"/v1/agent/service/deregister/{quote(lease.record.id, safe='')}")
