"""A server, and a backend on it."""

from collections.abc import AsyncIterator

import pytest

from asyncsd.backends.etcd import EtcdBackend
from tests.support.etcd import EtcdServer


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.server(name)) for name in ("etcd", "etcd34")])
def program(request: pytest.FixtureRequest) -> str:
    """The newest etcd, and the oldest that is supported."""
    name: str = request.param
    return name


@pytest.fixture
async def server(program: str) -> AsyncIterator[EtcdServer]:
    async with EtcdServer(program=program) as server:
        yield server


@pytest.fixture
async def backend(server: EtcdServer) -> AsyncIterator[EtcdBackend]:
    async with EtcdBackend(server.url) as backend:
        yield backend
