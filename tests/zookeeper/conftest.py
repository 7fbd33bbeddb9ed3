from collections.abc import AsyncIterator

import pytest

from tests.support.zookeeper import ZooKeeper


@pytest.fixture
async def server() -> AsyncIterator[ZooKeeper]:
    """A server of the test's own, to be killed, frozen and wiped."""
    async with ZooKeeper() as server:
        yield server
