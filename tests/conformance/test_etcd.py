import asyncio
from collections.abc import Iterator

import pytest

from asyncsd.backends.etcd import EtcdBackend, _watch
from asyncsd.testing import BackendConformance
from tests.support.etcd import EtcdServer


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.server(name)) for name in ("etcd", "etcd34")]
)
def program(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def url(program: str) -> Iterator[str]:
    """One server for all: every test has service names of its own."""
    server = EtcdServer(program=program)
    asyncio.run(server.start())
    yield server.url
    server.stop()


class TestEtcd(BackendConformance):
    expires = True

    @pytest.fixture(autouse=True)
    def _server(self, url: str, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url = url
        if program == "etcd34":
            # Both ways to wait pass: here all share one watch, and on the other server nobody does.
            monkeypatch.setattr(_watch, "FEW", 0)

    def make_backend(self, *, wait: float = 30.0) -> EtcdBackend:
        return EtcdBackend(self.url, wait=wait, timeout=15.0, connect_timeout=15.0)
