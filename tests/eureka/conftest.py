"""A server, which all share that don't break it, a backend on it, and a name of one's own."""

import secrets
from collections.abc import AsyncIterator

import pytest

from asyncsd.backends.eureka import EurekaBackend
from tests.support.eureka import EurekaServer, guarded_server, shared_server

INTERVAL = 0.1


@pytest.fixture
async def server() -> EurekaServer:
    server = shared_server()
    await server.ready()
    return server


@pytest.fixture
async def backend(server: EurekaServer) -> AsyncIterator[EurekaBackend]:
    async with EurekaBackend(server.url, interval=INTERVAL, timeout=20.0) as backend:
        yield backend


@pytest.fixture
def service() -> str:
    """A name that nobody has used."""
    return f"greeter-{secrets.token_hex(4)}"


@pytest.fixture
async def guarded() -> AsyncIterator[EurekaServer]:
    """A server that wants a login. A test may break it: it runs again for the next."""
    server = guarded_server()
    if not server.running:
        server.launch()
    await server.ready()
    yield server
    server.thaw()
