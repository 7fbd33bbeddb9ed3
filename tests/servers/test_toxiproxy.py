"""The faults that other tests rely on are what they say."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.toxiproxy import Link, Toxiproxy

pytestmark = pytest.mark.server("toxiproxy")

DEADLINE = 10.0


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    """A way to a server that sends back each line."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with Toxiproxy() as toxiproxy:
        yield await toxiproxy.link(f"{host}:{port}")
    server.close()


class Talk:
    """A connection over the link."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def over(cls, link: Link) -> "Talk":
        return cls(*await asyncio.open_connection("127.0.0.1", link.port))

    async def say(self, line: bytes) -> bytes:
        self.writer.write(line + b"\n")
        async with asyncio.timeout(DEADLINE):
            return await self.reader.readline()

    async def close(self) -> None:
        self.writer.close()


async def test_a_cut_closes_what_stands_and_refuses_what_comes(link: Link) -> None:
    talk = await Talk.over(link)
    assert await talk.say(b"a") == b"a\n"
    await link.cut()
    async with asyncio.timeout(DEADLINE):
        assert await talk.reader.read() == b""
    with pytest.raises(OSError, match="Connect call failed"):
        await Talk.over(link)
    await link.mend()
    again = await Talk.over(link)
    assert await again.say(b"b") == b"b\n"
    for each in (talk, again):
        await each.close()


async def test_a_stall_lets_nothing_through_and_closes_nothing(link: Link) -> None:
    talk = await Talk.over(link)
    assert await talk.say(b"a") == b"a\n"
    await link.stall()
    talk.writer.write(b"b\n")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await talk.reader.read(1)
    assert not talk.reader.at_eof()
    await talk.close()


async def test_a_slow_link_is_slow(link: Link) -> None:
    talk = await Talk.over(link)
    await link.slow(0.3)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await talk.say(b"a") == b"a\n"
    assert loop.time() - began >= 0.29
    await talk.close()


async def test_a_truncating_link_closes_after_so_many_bytes(link: Link) -> None:
    await link.truncate(3)
    talk = await Talk.over(link)
    talk.writer.write(b"abcdef\n")
    async with asyncio.timeout(DEADLINE):
        assert await talk.reader.read() == b"abc"
    await talk.close()
