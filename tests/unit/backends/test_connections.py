"""The pool of connections that the HTTP backends have."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from asyncsd import ClosedError, UnreachableError
from asyncsd.backends._shared._connections import Connections
from asyncsd.backends._shared._tls import TLS
from asyncsd.testing import FakeClock

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(serve: Serve) -> AsyncIterator[str]:
    """A server that does with a connection what `serve` says; its URL."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def opened(clock: FakeClock) -> AsyncIterator[Connections]:
    connections = Connections(
        "EtcdBackend", tls=TLS("EtcdBackend"), clock=clock, timeout=5, connect_timeout=3
    )
    await connections.open()
    try:
        yield connections
    finally:
        await connections.aclose()


methods = pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])


@methods
async def test_a_request_on_a_connection_that_was_closed_meanwhile_is_sent_once_more(method: str) -> None:
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        with suppress(asyncio.IncompleteReadError):
            requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with served(serve) as url, opened(FakeClock()) as connections:
        for _ in range(2):
            async with connections.in_time(url), await connections.send(method, url) as response:
                assert await response.read() == b"ok"
    assert len(requests) == 3


@methods
async def test_a_server_that_always_hangs_up_is_asked_twice(method: str) -> None:
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with served(serve) as url, opened(FakeClock()) as connections:
        with pytest.raises(UnreachableError, match="closed before the answer was whole"):
            async with connections.in_time(url):
                await connections.send(method, url)
    assert len(requests) == 2


async def test_a_late_answer_is_an_error_that_says_how_long_it_was_waited_for() -> None:
    clock, asked, end = FakeClock(), asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await end.wait()
        writer.close()

    async with served(serve) as url, opened(clock) as connections:

        async def ask() -> None:
            async with connections.in_time(url, hint=": it hangs"):
                await connections.send("GET", url)

        asking = asyncio.create_task(ask())
        await asked.wait()
        await clock.advance(5)
        with pytest.raises(UnreachableError, match=r"no answer in 5 s: it hangs"):
            await asking
        end.set()


async def test_a_closed_pool_says_whose_it_is_and_closes_once_more() -> None:
    async with opened(FakeClock()) as connections:
        await connections.aclose()
        with pytest.raises(ClosedError, match="EtcdBackend was closed"):
            await connections.send("GET", "http://127.0.0.1:1/")
