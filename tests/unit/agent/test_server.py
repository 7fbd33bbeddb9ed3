"""What an agent takes from clients that are many, slow, broken or hostile: it lives, and bounds them."""

import asyncio
import contextlib
import gc
import io
import json
import logging
import socket
import tracemalloc
import zlib

import aiohttp
import pytest

from asyncsd.agent import Agent
from asyncsd.agent._http import _server as server

from .waiting import until

REQUEST = b"GET /v1/status/leader HTTP/1.1\r\nHost: x\r\n\r\n"
REGISTER = b"PUT /v1/agent/service/register HTTP/1.1\r\nHost: x\r\n"

# As a real Consul sends it, byte by byte.
TOO_MANY = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\nContent-Length: 81\r\n"
    b"Connection: close\r\n\r\n"
    b"Your IP is issuing too many concurrent connections, please rate limit your calls\n"
)


def port_of(agent: Agent) -> int:
    return int(agent.url.rpartition(":")[2])


async def say(agent: Agent, data: bytes, *, end: bool = False) -> bytes:
    """What the agent answers until it closes the connection."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(agent))
        try:
            writer.write(data)
            if end:
                writer.write_eof()
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()


async def lives(agent: Agent) -> bool:
    async with aiohttp.request("GET", agent.url + "/v1/status/leader") as answer:
        return answer.status == 200


def complaints(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What was logged as a warning or with a traceback; asyncio's word on a busy machine is none."""
    records = [record for record in caplog.records if record.name != "asyncio" or record.exc_info]
    return [record for record in records if record.exc_info or record.levelno > logging.INFO]


async def test_who_holds_as_many_connections_as_allowed_gets_consuls_429() -> None:
    async with Agent(connections=3) as agent:
        held = [await asyncio.open_connection("127.0.0.1", port_of(agent)) for _ in range(3)]
        await until(lambda: "3 connections" in repr(agent._server))
        for data in (b"", REQUEST, REGISTER + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000):
            assert await say(agent, data) == TOO_MANY
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        await until(lambda: "0 connections" in repr(agent._server))
        assert await lives(agent)


async def test_a_library_of_clients_reads_the_429() -> None:
    async with Agent(connections=1) as agent, aiohttp.ClientSession() as session:
        _, writer = await asyncio.open_connection("127.0.0.1", port_of(agent))
        for _ in range(20):
            async with session.get(agent.url + "/v1/status/leader") as answer:
                assert answer.status == 429
                assert "too many concurrent connections" in await answer.text()
        writer.close()


async def test_refused_connections_are_bounded_too() -> None:
    async with Agent(connections=2) as agent:
        clients = [await asyncio.open_connection("127.0.0.1", port_of(agent)) for _ in range(20)]
        answers: list[bytes] = []
        for reader, _ in clients[2:]:
            with contextlib.suppress(ConnectionError):
                answers.append(await reader.read())
        assert answers.count(TOO_MANY) == 2
        assert set(answers) <= {TOO_MANY, b""}
        for _, writer in clients:
            writer.close()


async def test_a_body_has_a_bound() -> None:
    async with Agent() as agent, aiohttp.ClientSession() as session:
        for size, status in ((500_000, 200), (600_000, 413), (20_000_000, 413)):
            body = io.BytesIO(json.dumps({"Name": "web", "Tags": ["x" * size]}).encode())
            async with session.put(agent.url + "/v1/agent/service/register", data=body) as answer:
                assert answer.status == status


async def test_a_body_that_does_not_tell_its_size_has_the_same_bound() -> None:
    async with Agent() as agent:
        part = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        answer = await say(agent, REGISTER + b"Transfer-Encoding: chunked\r\n\r\n" + part * 100)
        assert answer.startswith(b"HTTP/1.1 413 ") or not answer  # Or it was reset while it sent on.
        assert await lives(agent)


async def test_a_packed_body_is_not_unpacked() -> None:
    async with Agent() as agent, aiohttp.ClientSession() as session:
        url = agent.url + "/v1/agent/service/register"
        body = io.BytesIO(zlib.compress(b'{"Name": "web"}'))
        async with session.put(url, data=body, headers={"Content-Encoding": "deflate"}) as answer:
            assert answer.status == 400


GARBAGE = {
    "bytes": b"\x00\x01\x02\xff\xfe garbage\r\n\r\n",
    "TLS": bytes.fromhex("16030100200100001c0303") + b"\0" * 40,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "no method of HTTP": b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a huge header": REQUEST[:-2] + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
    "many headers": REQUEST[:-2] + b"X: 1\r\n" * 10_000 + b"\r\n",
    "a huge path": b"GET /v1/health/service/" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "no length": REGISTER + b"Content-Length: abc\r\n\r\n",
    "two lengths": REGISTER + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "no chunk": REGISTER + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
}
ODD = {
    "a bad escape": b"GET /v1/health/service/%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "no UTF-8 in the URL": b"GET /v1/health/service/%ff?tag=%fe HTTP/1.0\r\n\r\n",
    "control characters": b"GET /v1/health/service/a%00b%0a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "a whole URL": b"GET http://[oh HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "an asterisk": b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "CONNECT": b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "half a body": REGISTER + b'Connection: close\r\nContent-Length: 4\r\n\r\n{"N"',
    "no UTF-8": REGISTER + b"Connection: close\r\nContent-Length: 2\r\n\r\n\xff\xfe",
    "an upgrade": REQUEST[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n" + REQUEST,
    "many at once": REQUEST * 200 + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
async def test_what_is_no_request_gets_a_400_and_no_traceback(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with Agent() as agent:
        answer = await say(agent, data)
        assert answer[9:12] == b"400" or not answer  # Or it was reset while it sent on.
        assert b"Traceback" not in answer
        assert await lives(agent)
    assert not complaints(caplog)


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
async def test_an_odd_request_gets_an_answer_below_500(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with Agent() as agent:
        answer = await say(agent, data, end=data is ODD["an upgrade"])
        assert data is ODD["an upgrade"] or 200 <= int(answer[9:12]) < 500
        assert await lives(agent)
    assert not complaints(caplog)


async def test_a_client_that_goes_while_it_waits_leaves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with Agent() as agent:
        waiting = b"GET /v1/catalog/services?index=1000&wait=60s HTTP/1.1\r\nHost: x\r\n\r\n"
        waiters = agent._opened.catalog.waiters
        for leave in (socket.socket.close, lambda client: client.shutdown(socket.SHUT_WR)):
            client = socket.create_connection(("127.0.0.1", port_of(agent)))
            client.sendall(waiting)
            await until(lambda: len(waiters) == 1)
            leave(client)
            await until(lambda: len(waiters) == 0)
            client.close()
        await until(lambda: "0 connections" in repr(agent._server))
    assert not complaints(caplog)


async def test_a_client_that_goes_before_its_stream_begins_is_no_bug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Agent() as agent:
        for _ in range(50):
            await say(agent, b"GET /ui/events HTTP/1.1\r\nHost: x\r\n\r\n", end=True)
    assert not complaints(caplog)


@pytest.mark.parametrize("data", [b"", REQUEST[:20]], ids=["nothing", "half a head"])
async def test_a_client_that_never_asks_is_let_go(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_TIMEOUT", 0.05)
    async with Agent() as agent:
        assert await say(agent, data) == b""
        await until(lambda: "0 connections" in repr(agent._server))


async def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BODY_TIMEOUT", 0.05)
    async with Agent() as agent:
        answer = await say(agent, REGISTER + b"Content-Length: 100\r\n\r\n{")
        assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_connection_is_not_cut_between_its_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_TIMEOUT", 2.0)
    async with Agent() as agent, aiohttp.ClientSession() as session:
        for pause in (2.2, 0.0):
            async with session.get(agent.url + "/v1/status/leader") as answer:
                assert answer.status == 200
            await asyncio.sleep(pause)
            assert "1 connections" in repr(agent._server)
        assert agent.requests == 2


async def flood(agent: Agent, data: bytes, times: int) -> None:
    for _ in range(times):
        await asyncio.gather(*(say(agent, data) for _ in range(10)))
    await until(lambda: "0 connections" in repr(agent._server))
    gc.collect()


@pytest.mark.parametrize("kind", ["bytes", "a huge header", "many headers", "no chunk"])
async def test_a_flood_of_them_takes_no_memory(kind: str) -> None:
    asyncio.get_running_loop().set_debug(False)  # It keeps a traceback of each future.
    async with Agent() as agent:
        await flood(agent, GARBAGE[kind], 3)
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            await flood(agent, GARBAGE[kind], 15)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < 200_000
        assert await lives(agent)
