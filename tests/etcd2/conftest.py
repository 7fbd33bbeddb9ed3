"""A server for all tests of a file that leave it whole, and a backend on it with a prefix of its own."""

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from asyncsd.backends.etcd2 import Etcd2Backend
from tests.support.etcd import V2, EtcdServer


@pytest.fixture
async def server() -> AsyncIterator[EtcdServer]:
    """One for this test alone, to break."""
    async with EtcdServer(V2, program="etcd34") as server:
        yield server


@pytest.fixture(scope="module")
def shared_server() -> Iterator[EtcdServer]:
    server = EtcdServer(V2, program="etcd34")
    server.launch()
    server.wait_ready()
    yield server
    server.stop()


@pytest.fixture
def root() -> str:
    """A folder that no other test uses."""
    return f"/test-{secrets.token_hex(4)}"


@pytest.fixture
async def backend(shared_server: EtcdServer, root: str) -> AsyncIterator[Etcd2Backend]:
    async with Etcd2Backend(shared_server.url, prefix=root, timeout=15.0, connect_timeout=15.0) as backend:
        yield backend
