import asyncio
from collections.abc import Iterator

import pytest

from asyncsd.backends.etcd2 import Etcd2Backend
from asyncsd.testing import BackendConformance
from tests.support.etcd import V2, EtcdServer


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """One server for all: every test has service names of its own."""
    server = EtcdServer(V2, program="etcd34")
    asyncio.run(server.start())
    yield server.url
    server.stop()


@pytest.mark.server("etcd34")
class TestEtcd2(BackendConformance):
    expires = True

    @pytest.fixture(autouse=True)
    def _server(self, url: str) -> None:
        self.url = url

    def make_backend(self, *, wait: float = 30.0) -> Etcd2Backend:
        return Etcd2Backend(self.url, wait=wait, timeout=15.0, connect_timeout=15.0)
