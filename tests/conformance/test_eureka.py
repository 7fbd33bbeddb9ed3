import asyncio

import pytest

from asyncsd.backends.eureka import EurekaBackend
from asyncsd.testing import BackendConformance
from tests.support.eureka import shared_server

pytestmark = pytest.mark.server("eureka")


@pytest.fixture(scope="module")
def url() -> str:
    """One server for all: every test has service names of its own."""
    asyncio.run(shared_server().ready())
    return shared_server().url


class TestEureka(BackendConformance):
    expires = True
    deadline = 20.0  # Its server has a cache, and is slow on a busy machine.

    @pytest.fixture(autouse=True)
    def _server(self, url: str) -> None:
        self.url = url

    # It polls, and often enough here for the tests of those that push.
    def make_backend(self, *, wait: float = 30.0) -> EurekaBackend:
        return EurekaBackend(self.url, wait=wait, interval=0.1, timeout=15.0, connect_timeout=15.0)
