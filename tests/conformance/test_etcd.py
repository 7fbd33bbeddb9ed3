import asyncio
from collections.abc import Iterator

import pytest

from asyncsd.backends.etcd import EtcdBackend
from asyncsd.testing import BackendConformance
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
    expires = True

    @pytest.fixture(autouse=True)
    def _server(self, url: str) -> None:
        self.url = url

    def make_backend(self, *, wait: float = 30.0) -> EtcdBackend:
        return EtcdBackend(self.url, wait=wait)
