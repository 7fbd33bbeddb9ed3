import asyncio
from collections.abc import Iterator

import pytest

from asyncsd.backends.zookeeper import ZooKeeperBackend
from asyncsd.testing import BackendConformance
from tests.support.zookeeper import ZooKeeper
from tests.zookeeper.watching import patient


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """One server for all: every test has service names of its own."""
    server = ZooKeeper()
    asyncio.run(server.start())
    yield server.host
    server.stop()


@pytest.mark.server("zookeeper")
class TestZooKeeper(BackendConformance):
    @pytest.fixture(autouse=True)
    def _server(self, host: str) -> None:
        self.host = host

    def make_backend(self, *, wait: float = 30.0) -> ZooKeeperBackend:
        return patient(self.host, wait=wait)
