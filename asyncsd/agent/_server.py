"""The HTTP server: it listens, bounds what clients may take, and cuts them off."""

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

__all__ = ["Server"]

logger = logging.getLogger("asyncsd.agent")

TOO_MANY = "Your IP is issuing too many concurrent connections, please rate limit your calls\n"
"""What Consul says to a client that holds as many connections as it may."""

BACKLOG = 1024


class Server:
    """Serves `handle` on one address, which it keeps when it is opened again."""

    def __init__(
        self,
        handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        host: str,
        port: int,
        connections: int,
        body_size: int,
    ) -> None:
        self._handle = handle
        self.host = host
        self.port = port
        self._most = connections
        self._body_size = body_size
        self._runner: web.ServerRunner | None = None
        self._protocol: _Protocols | None = None

    def __repr__(self) -> str:
        held = len(self._protocol.connections) if self._protocol else "not open"
        return f"Server({self.host}:{self.port}, {held})"

    async def open(self) -> None:
        """Listen. OSError if the address is taken."""
        self._protocol = _Protocols(self._handle, self._most, self._body_size)
        self._runner = web.ServerRunner(self._protocol, handle_signals=False, shutdown_timeout=0.01)
        await self._runner.setup()
        listening = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((self.host, self.port))
            self.port = listening.getsockname()[1]
            await web.SockSite(self._runner, listening, backlog=BACKLOG).start()
        except BaseException:
            listening.close()
            await self._runner.cleanup()
            raise

    def cut(self) -> None:
        """Cut all connections, without an answer."""
        if self._protocol is not None:
            for handler in list(self._protocol.connections):
                if isinstance(transport := handler.transport, asyncio.Transport):
                    transport.abort()

    async def aclose(self) -> None:
        """Stop listening and cut all connections. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            self.cut()
            await runner.cleanup()


class _Protocols(web.Server):
    """aiohttp's server, with a limit of connections for each client."""

    def __init__(
        self,
        handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        most: int,
        body_size: int,
    ) -> None:
        super().__init__(handle, access_log=None, handler_cancellation=True)
        self._most = most
        self._held: Counter[str] = Counter()
        self._peers: dict[RequestHandler, str] = {}

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        peer = (transport.get_extra_info("peername") or ("",))[0]
        self._peers[handler] = peer
        self._held[peer] += 1
        if self._held[peer] > self._most:
            body = TOO_MANY.encode()
            head = (
                f"HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            transport.write(head.encode() + body)
            transport.close()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        peer = self._peers.pop(handler, None)
        if peer is not None:
            self._held[peer] -= 1
            if not self._held[peer]:
                del self._held[peer]
