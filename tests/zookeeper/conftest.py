import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.zookeeper import ZooKeeper
from tests.zookeeper.watching import remove_all


@pytest.fixture(scope="package")
def shared() -> Iterator[ZooKeeper]:
    """A server for all tests that let it live."""
    server = ZooKeeper()
    asyncio.run(server.start())
    yield server
    server.stop()


@pytest.fixture
async def server(shared: ZooKeeper) -> AsyncIterator[ZooKeeper]:
    """The shared server, with no nodes on it. It may be frozen."""
    await remove_all(shared.host)
    yield shared
    shared.thaw()


@pytest.fixture
async def mortal() -> AsyncIterator[ZooKeeper]:
    """A server of the test's own, to be killed and wiped."""
    async with ZooKeeper() as server:
        yield server
