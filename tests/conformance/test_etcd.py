import asyncio
from collections.abc import Iterator

import pytest

from asyncsd import RegistryBackend, TTLCheck
from asyncsd.backends.etcd import EtcdBackend
from asyncsd.testing import BackendConformance
from asyncsd.testing._conformance._suite import record
from tests.support.etcd import EtcdServer


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.server(name)) for name in ("etcd", "etcd34")]
)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """One server for all: every test has service names of its own."""
    server = EtcdServer(program=request.param)
    asyncio.run(server.start())
    yield server.url
    server.stop()


class TestEtcd(BackendConformance):
    @pytest.fixture(autouse=True)
    def _server(self, url: str) -> None:
        self.url = url

    def make_backend(self, *, wait: float = 30.0) -> EtcdBackend:
        return EtcdBackend(self.url, wait=wait)

    async def test_a_ttl_that_is_not_renewed_turns_critical(
        self, backend: RegistryBackend, service: str
    ) -> None:
        """Nobody is there to turn it critical: it goes with its lease."""
        lease = await backend.register(record(service, checks=(TTLCheck(ttl=1.0),)))
        await self.renew(backend, lease)
        await self.until(backend, service, lambda found: [i.status for i in found] == ["passing"])
        await self.until(backend, service, lambda found: not found)
