"""One question to one name server, by UDP or TCP.

dnspython reads and writes the messages. The sockets are ours: a connected one hears at once that nobody
listens, and asyncio.wait_for, which dnspython's own use, may swallow a cancellation.
"""

import asyncio
import importlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import dns.exception
import dns.message

from asyncsd._errors import ProtocolError, UnreachableError
from asyncsd._protocols import Clock
from asyncsd.backends._shared._http import reason

from ._servers import NameServer

__all__ = ["PAYLOAD", "Exchange", "TruncatedError"]

PAYLOAD = 1232
"""Bytes of an answer by UDP: what passes every network in one piece (DNS Flag Day 2020)."""
SENDINGS = 3
"""A question is sent so often by UDP, for datagrams get lost."""
QUICK = 4096
"""An answer of more bytes is read in a thread: of 9,700, with 200 records, that takes 13 ms."""

# dnspython imports the code of each type with the first record of it: that would be on the loop.
for _type in ("IN.A", "IN.AAAA", "IN.SRV", "ANY.CNAME", "ANY.NS", "ANY.OPT", "ANY.SOA", "ANY.TXT"):
    importlib.import_module(f"dns.rdtypes.{_type}")


class TruncatedError(Exception):
    """The answer didn't fit into a datagram, and says so."""


class Exchange:
    """Asks a name server, which has `timeout` seconds for the whole answer.

    Raises UnreachableError where none comes, and ProtocolError for one that isn't DNS.
    """

    def __init__(self, clock: Clock, timeout: float) -> None:
        self._clock = clock
        self._timeout = timeout

    async def udp(self, server: NameServer, query: dns.message.Message) -> dns.message.Message:
        """The answer by UDP. Raises TruncatedError where it says that it isn't whole."""
        loop = asyncio.get_running_loop()
        async with self._asking(server):
            transport, datagrams = await loop.create_datagram_endpoint(
                lambda: _Datagrams(query.id), remote_addr=(server.host, server.port)
            )
            try:
                return await self._answered(transport, datagrams, query)
            finally:
                transport.close()

    async def tcp(self, server: NameServer, query: dns.message.Message) -> dns.message.Message:
        """The answer by TCP, on a connection of its own.

        None is kept: dnsmasq answers on each from a copy of what it knew when it was opened.
        """
        async with self._asking(server):
            reader, writer = await asyncio.open_connection(server.host, server.port)
            try:
                writer.write(query.to_wire(prepend_length=True))
                length = int.from_bytes(await reader.readexactly(2), "big")
                wire = await reader.readexactly(length)
            finally:
                writer.close()
            parse = dns.message.from_wire
            answer = await asyncio.to_thread(parse, wire) if len(wire) > QUICK else parse(wire)
            if not query.is_response(answer):
                raise ProtocolError("this is the answer to another question", url=str(server))
            return answer

    async def _answered(
        self, transport: asyncio.DatagramTransport, datagrams: "_Datagrams", query: dns.message.Message
    ) -> dns.message.Message:
        """Send until the answer comes; one to another question is passed over, for it may be forged."""
        wire = query.to_wire()
        for _ in range(SENDINGS):
            transport.sendto(wire)
            with suppress(TimeoutError):
                async with self._clock.timeout(self._timeout / SENDINGS):
                    while True:
                        try:
                            answer = dns.message.from_wire(await datagrams.next(), raise_on_truncation=True)
                        except dns.message.Truncated as cut:
                            if query.is_response(_what_came(cut)):
                                raise TruncatedError from None
                        else:
                            if query.is_response(answer):
                                return answer
        raise TimeoutError

    @asynccontextmanager
    async def _asking(self, server: NameServer) -> AsyncGenerator[None, None]:
        """Within the deadline, and with the network's and dnspython's errors as ours."""
        url = str(server)
        try:
            async with self._clock.timeout(self._timeout):
                yield
        except TimeoutError as exc:
            raise UnreachableError(f"no answer in {self._timeout:g} s", url=url) from exc
        except asyncio.IncompleteReadError as exc:
            text = "the connection was closed before the answer was whole"
            raise UnreachableError(text, url=url) from exc
        except OSError as exc:
            raise UnreachableError(reason(exc), url=url) from exc
        except dns.exception.DNSException as exc:
            text = f"the answer isn't DNS: {type(exc).__name__}: is it a name server?"
            raise ProtocolError(text, url=url) from exc


def _what_came(cut: Any) -> dns.message.Message:
    """As much of the answer as fitted; dnspython has no type for it."""
    message: dns.message.Message = cut.message()
    return message


class _Datagrams(asyncio.DatagramProtocol):
    """Those that carry the question's id, and the error that the system reports."""

    def __init__(self, id: int) -> None:
        self._id = id.to_bytes(2, "big")
        self._came: asyncio.Queue[bytes | Exception] = asyncio.Queue(16)

    def datagram_received(self, data: bytes, addr: object) -> None:
        if data[:2] == self._id:
            self._put(data)

    def error_received(self, exc: Exception) -> None:
        self._put(exc)

    def _put(self, item: bytes | Exception) -> None:
        with suppress(asyncio.QueueFull):
            self._came.put_nowait(item)

    async def next(self) -> bytes:
        """The next datagram. Raises OSError where nobody listens."""
        item = await self._came.get()
        if isinstance(item, Exception):
            raise item
        return item
