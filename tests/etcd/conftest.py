"""Servers that the tests share, and a backend on one."""

from collections.abc import AsyncIterator, Iterator

import pytest

from asyncsd.backends.etcd import EtcdBackend
from tests.support.etcd import EtcdCluster, EtcdServer


@pytest.fixture(scope="session")
def programs() -> Iterator[dict[str, EtcdServer]]:
    """The servers that were started, by the program's name."""
    started: dict[str, EtcdServer] = {}
    yield started
    for server in started.values():
        server.stop()


@pytest.fixture
def program(request: pytest.FixtureRequest) -> str:
    """The newest, unless the test says `@both`."""
    name: str = getattr(request, "param", "etcd")
    return name


@pytest.fixture
async def server(program: str, programs: dict[str, EtcdServer]) -> EtcdServer:
    """One that is shared and empty; it may be killed, frozen and wiped."""
    if program not in programs:
        programs[program] = EtcdServer(program=program)
    await programs[program].renew()
    return programs[program]


@pytest.fixture
async def backend(server: EtcdServer) -> AsyncIterator[EtcdBackend]:
    async with EtcdBackend(server.url, timeout=15.0, connect_timeout=15.0) as backend:
        yield backend


@pytest.fixture(scope="module")
def clusters() -> Iterator[dict[str, EtcdCluster]]:
    """The clusters that were started, by the program's name."""
    started: dict[str, EtcdCluster] = {}
    yield started
    for cluster in started.values():
        cluster.stop()


@pytest.fixture
async def cluster(program: str, clusters: dict[str, EtcdCluster]) -> EtcdCluster:
    """Three servers that are shared and empty."""
    if program not in clusters:
        clusters[program] = EtcdCluster(program)
    await clusters[program].renew()
    return clusters[program]
