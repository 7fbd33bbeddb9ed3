"""A name server in the test: it says whatever the test wants it to, by UDP and TCP."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from tests.support.process import free_ports

__all__ = ["FakeNameServer", "answer"]


def answer(
    query: dns.message.Message,
    *records: str,
    authority: str | None = None,
    additional: tuple[str, ...] = (),
    rcode: str = "NOERROR",
) -> dns.message.Message:
    """An answer to `query`: records are "name ttl type data"."""
    told = dns.message.make_response(query, recursion_available=True)
    told.set_rcode(dns.rcode.from_text(rcode))
    told.answer.extend(_rrset(record) for record in records)
    if authority is not None:
        told.authority.append(_rrset(authority))
    told.additional.extend(_rrset(record) for record in additional)
    return told


def _rrset(text: str) -> dns.rrset.RRset:
    name, ttl, kind, data = text.split(maxsplit=3)
    return dns.rrset.from_text(f"{name}.", int(ttl), "IN", kind, data)


class FakeNameServer(asyncio.DatagramProtocol):
    """`async with FakeNameServer(tell) as server:` answers what `tell(query)` returns.

    That is a message, or bytes, or several of them in a list; None is no answer. `asked` has the names and
    types in order, each with "udp" or "tcp". Without `tcp` nobody listens there.
    """

    def __init__(self, tell: Callable[[dns.message.Message], Any], *, tcp: bool = True) -> None:
        self.tell = tell
        self.port = free_ports(1)[0]
        self.address = f"127.0.0.1:{self.port}"
        self.asked: list[tuple[str, str, str]] = []
        self._tcp = tcp

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=("127.0.0.1", self.port)
        )
        self._server: asyncio.Server | None = None
        if self._tcp:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._transport.close()
        if self._server is not None:
            self._server.close()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        for wire in self._told(data, "udp"):
            self._transport.sendto(wire, addr)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            length = int.from_bytes(await reader.readexactly(2), "big")
            for wire in self._told(await reader.readexactly(length), "tcp"):
                writer.write(len(wire).to_bytes(2, "big") + wire)
        writer.close()

    def _told(self, data: bytes, transport: str) -> list[bytes]:
        query = dns.message.from_wire(data)
        question = query.question[0]
        kind = question.to_text().split()[-1]
        self.asked.append((question.name.to_text(omit_final_dot=True), kind, transport))
        told = self.tell(query)
        items = told if isinstance(told, list) else [] if told is None else [told]
        return [item if isinstance(item, bytes) else item.to_wire(max_size=65535) for item in items]
