"""Faults between a program and an agent, and what tries to connect meanwhile."""

import asyncio
import ctypes
import socket
import struct
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

__all__ = ["Attempts", "Link", "resetting"]

SO_ATTACH_FILTER = 26
SOL_PACKET, PACKET_STATISTICS, PACKET_IGNORE_OUTGOING = 263, 6, 23
"""Of Linux: <linux/if_packet.h> and its like; the socket module doesn't name them."""


class Attempts:
    """`with Attempts(port) as attempts:` counts the connections that this machine tries to make to a port.

    Those that are refused count too: the kernel counts the packets that open one, as they come in. Raises
    PermissionError to a program that may not have them seen (CAP_NET_RAW).
    """

    def __init__(self, port: int) -> None:
        self._seen = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self._filter(port)
        # A packet of loopback would be seen as it goes out, too.
        self._seen.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self._seen.bind(("lo", 0x0800))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._seen.close()

    def _filter(self, port: int) -> None:
        program = [
            (0x30, 0, 0, 9),  # the protocol
            (0x15, 0, 6, 6),  # is TCP
            (0xB1, 0, 0, 0),  # behind the IP header
            (0x48, 0, 0, 2),  # the port that it goes to
            (0x15, 0, 3, port),
            (0x50, 0, 0, 13),  # its flags
            (0x54, 0, 0, 0x12),
            (0x15, 1, 0, 0x02),  # SYN without ACK
            (0x06, 0, 0, 0),
            (0x06, 0, 0, 64),
        ]
        code = b"".join(struct.pack("HBBI", *line) for line in program)
        # The kernel copies the program while it is told of it.
        buffer = (ctypes.c_char * len(code)).from_buffer_copy(code)
        told = struct.pack("HP", len(program), ctypes.addressof(buffer))
        self._seen.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, told)

    def seen(self) -> int:
        """How many since the last call, or the beginning: the kernel counts those that have no room, too."""
        told = self._seen.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        return struct.unpack("II", told)[0]


@asynccontextmanager
async def resetting(port: int) -> AsyncGenerator[None, None]:
    """Listen in an agent's place, and reset each connection at once."""

    def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    server = await asyncio.start_server(reset, "127.0.0.1", port)
    async with server:
        yield


class Link:
    """A way to a port of this machine. Stalled, it keeps its connections, takes more, and swallows all.

    `async with Link(agent.port) as link:` listens on `link.port`.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._stalled_at: float | None = None
        self._ends: set[_End] = set()
        self.tried: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        """How many seconds after the stall the first new connection came."""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _End(self._ends, self._came), "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for end in self._ends:
            end.transport.abort()

    def stall(self) -> None:
        self._stalled_at = time.monotonic()
        for end in self._ends:
            end.other = None

    async def _came(self, near: "_End") -> None:
        if self._stalled_at is None:
            loop = asyncio.get_running_loop()
            _, far = await loop.create_connection(lambda: _End(self._ends), "127.0.0.1", self._target)
            near.other, far.other = far, near
            near.transport.resume_reading()
        elif not self.tried.done():
            self.tried.set_result(time.monotonic() - self._stalled_at)


class _End(asyncio.Protocol):
    """One of the two connections of a way; `came` is for that which somebody has made."""

    transport: asyncio.Transport
    other: "_End | None" = None
    coming: asyncio.Task[None]

    def __init__(
        self, ends: "set[_End]", came: Callable[["_End"], Coroutine[Any, Any, None]] | None = None
    ) -> None:
        self._ends = ends
        self._came = came

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._ends.add(self)
        if self._came is not None:
            transport.pause_reading()
            self.coming = asyncio.create_task(self._came(self))

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ends.discard(self)
        if self.other is not None:
            self.other.transport.close()
