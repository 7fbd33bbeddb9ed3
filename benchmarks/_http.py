"""A bare HTTP client, so that a server's rate isn't that of the one who asks."""

import asyncio
import json
from types import TracebackType
from typing import Self

__all__ = ["Connection", "message"]


def message(method: str, path: str, body: object = None) -> bytes:
    """A request as it is sent."""
    content = b"" if body is None else json.dumps(body).encode()
    return f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


class Connection:
    """One kept connection, and one request at a time on it: `async with Connection(port) as connection:`."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**24)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    async def ask(self, request: bytes) -> tuple[dict[bytes, bytes], bytes]:
        """The headers, by lower-case names, and the body; AssertionError unless the status is 200."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status, *lines = head[:-4].split(b"\r\n")
        assert b" 200 " in status, head
        headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines)}
        if (length := headers.get(b"content-length")) is not None:
            return headers, await self._reader.readexactly(int(length))
        return headers, await self._chunked()

    async def _chunked(self) -> bytes:
        body = bytearray()
        while True:
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            body += (await self._reader.readexactly(size + 2))[:-2]
            if size == 0:
                return bytes(body)
