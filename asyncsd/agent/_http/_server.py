"""The HTTP server: it listens, bounds what clients may take, and cuts them off."""

import asyncio
import errno
import ipaddress
import logging
import os
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from asyncsd._tasks import finish

from ._errors import HTTPError

__all__ = ["Handle", "Server"]

Handle: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

logger = logging.getLogger("asyncsd.agent")

TOO_MANY = b"Your IP is issuing too many concurrent connections, please rate limit your calls\n"
REFUSAL = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%s" % (len(TOO_MANY), TOO_MANY)
)
"""What Consul says to a client that holds as many connections as it may, byte by byte."""

REFUSED_TIMEOUT = 1.0
"""Seconds for a client to read that it was refused."""

HEAD_TIMEOUT, BODY_TIMEOUT, IDLE_TIMEOUT = 30.0, 30.0, 3600.0
"""Seconds for the head of a connection's first request, for a request's body, and between two requests.

Consul bounds none of them. A shorter idle time would cut a pool's connection just when it is used again.
"""

HEAD_SIZE = 64 * 1024
"""Bytes of a request's line, for a long `filter`, and of a header; Consul takes 1 MB for all of them."""

ACCEPT_TURNS, MOST_TURNS, CLOSE_TIMEOUT, LINGER = 4, 50, 0.05, 2.0
"""Turns of the loop in which accepted connections are made, and those that were cut end by themselves;
seconds for those that don't, and for all."""

BACKLOG = 1024


class Server:
    """Serves `handle` on one address, which it keeps when it is opened again."""

    def __init__(self, handle: Handle, *, host: str, port: int, connections: int, body_size: int) -> None:
        self._handle = handle
        self.host = host
        self.port = port
        self._most = connections
        self._body_size = body_size
        self._serving: _Serving | None = None

    def __repr__(self) -> str:
        held = f"{len(self._serving.protocols.connections)} connections" if self._serving else "not open"
        return f"Server({self.host}:{self.port}, {held})"

    @property
    def is_open(self) -> bool:
        """Whether it listens."""
        return self._serving is not None

    async def open(self) -> None:
        """Listen. OSError if that can't be, with the reason and the remedy. On cancellation it isn't open."""
        loop = asyncio.get_running_loop()
        listening = await self._bind(loop)
        self.port = listening.getsockname()[1]
        protocols = _Protocols(self._handle, self._most, self._body_size)
        try:
            listener = await loop.create_server(
                protocols, sock=listening, backlog=BACKLOG, start_serving=False
            )
        except BaseException:
            listening.close()
            raise
        self._serving = _Serving(listening, listener, protocols)
        try:
            await listener.start_serving()
        except BaseException:
            await self.aclose()
            raise

    def cut(self) -> None:
        """Cut all connections, without an answer."""
        if self._serving is not None:
            self._serving.protocols.cut()

    async def aclose(self) -> None:
        """Stop listening and cut all connections. Idempotent; on cancellation it is done all the same."""
        serving, self._serving = self._serving, None
        if serving is not None:
            await finish(serving.aclose(), LINGER, role="close", service="agent")

    async def _bind(self, loop: asyncio.AbstractEventLoop) -> socket.socket:
        family, address = await self._address(loop)
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setblocking(False)
            if os.name == "posix":  # Elsewhere this would share the port with whoever has it.
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except OSError as exc:
            listening.close()
            raise OSError(exc.errno, self._why(exc)) from exc
        return listening

    async def _address(self, loop: asyncio.AbstractEventLoop) -> tuple[int, Any]:
        try:
            version = ipaddress.ip_address(self.host).version
        except ValueError:
            found = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            return found[0][0], found[0][4]
        return (socket.AF_INET6 if version == 6 else socket.AF_INET), (self.host, self.port)

    def _why(self, exc: OSError) -> str:
        if exc.errno == errno.EADDRINUSE:
            return (
                f"port {self.port} of {self.host} is taken, perhaps by another agent: choose another port, "
                "or 0 for any that is free"
            )
        if exc.errno == errno.EACCES:
            return (
                f"port {self.port} is for the superuser: choose one from 1024 on, or 0 for any that is free"
            )
        if exc.errno == errno.EADDRNOTAVAIL:
            return f"{self.host} is no address of this machine: choose one that is, or 127.0.0.1"
        return f"can't listen on port {self.port} of {self.host}: {exc.strerror}"


class _Serving(NamedTuple):
    """What is open: the socket that listens, who accepts from it, and the connections."""

    listening: socket.socket
    listener: asyncio.Server
    protocols: "_Protocols"

    async def aclose(self) -> None:
        """Close it, and return once the tasks of all connections have ended."""
        # No more are accepted, but those that were have yet to be made: a listener that is closed before
        # that trips over them and leaves their sockets open.
        with suppress(NotImplementedError):
            asyncio.get_running_loop().remove_reader(self.listening)
        self.protocols.close()
        await _turns(ACCEPT_TURNS)
        self.listener.close()
        self.listening.close()
        await self.protocols.ended()


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class _Protocols(web.Server):
    """aiohttp's server, with bounds: connections of a client, size of a body, and time for both."""

    def __init__(self, handle: Handle, most: int, body_size: int) -> None:
        super().__init__(
            self._answer,
            request_factory=self._request,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=IDLE_TIMEOUT,
            lingering_time=1.0,
            max_line_size=HEAD_SIZE,
            max_field_size=HEAD_SIZE,
            logger=_Log(),
        )
        self._handle = handle
        self._most = most
        self._body_size = body_size
        self._loop = asyncio.get_running_loop()
        self._held: Counter[str] = Counter()
        self._clients: dict[RequestHandler, tuple[str, asyncio.Transport]] = {}
        self._refused: dict[RequestHandler, asyncio.Transport] = {}
        self._timers: dict[RequestHandler, asyncio.TimerHandle] = {}
        self._closed = False

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if self._closed:
            transport.abort()
            return
        client = (transport.get_extra_info("peername") or ("",))[0]
        if self._held[client] >= self._most:
            self._refuse(handler, transport)
            return
        self._held[client] += 1
        self._clients[handler] = client, transport
        self._timers[handler] = self._loop.call_later(HEAD_TIMEOUT, transport.abort)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._stop_timer(handler)
        self._refused.pop(handler, None)
        client, _ = self._clients.pop(handler, ("", None))
        if client:
            self._held[client] -= 1
            if not self._held[client]:
                del self._held[client]

    def cut(self) -> None:
        """Cut all connections, without an answer."""
        for transport in [*(transport for _, transport in self._clients.values()), *self._refused.values()]:
            transport.abort()

    def close(self) -> None:
        """Cut all connections, and those that are still being made."""
        self._closed = True
        self.cut()

    async def ended(self) -> None:
        """Return once the tasks of the connections that were cut have ended."""
        for _ in range(MOST_TURNS):
            if not self.connections:
                return
            await asyncio.sleep(0)
        await self.shutdown(CLOSE_TIMEOUT)

    def _refuse(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        if len(self._refused) >= self._most:
            transport.abort()
            return
        # What the client sends is read and dropped: closed with something unread, the connection would be
        # reset, and the client would often lose the answer.
        transport.write(REFUSAL)
        if transport.can_write_eof():
            transport.write_eof()
        handler.close()
        self._refused[handler] = transport
        self._timers[handler] = self._loop.call_later(REFUSED_TIMEOUT, transport.abort)

    def _stop_timer(self, handler: RequestHandler) -> None:
        if timer := self._timers.pop(handler, None):
            timer.cancel()

    def _request(
        self, message: Any, payload: Any, protocol: RequestHandler, writer: Any, task: Any
    ) -> web.BaseRequest:
        return web.BaseRequest(
            message, payload, protocol, writer, task, self._loop, client_max_size=self._body_size
        )

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self._stop_timer(request.protocol)
        try:
            await self._read(request)
        except HTTPError as exc:
            answer = web.Response(status=exc.status, text=exc.text)
            answer.force_close()  # The rest of the body may never come.
            return answer
        return await self._handle(request)

    async def _read(self, request: web.BaseRequest) -> None:
        """Read the body, so that an endpoint has it at once. HTTPError if it is too large, slow or broken."""
        if not request.body_exists:
            return
        most = self._body_size
        if (request.content_length or 0) > most:
            raise HTTPError(
                413, f"Request body({request.content_length} bytes) too large, max size: {most} bytes."
            )
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise HTTPError(413, f"Request body too large, max size: {most} bytes.") from None
        except TimeoutError:
            raise HTTPError(408, f"The request's body took longer than {BODY_TIMEOUT:.0f} s") from None
        except (HttpProcessingError, web.RequestPayloadError) as exc:
            raise HTTPError(400, f"Request decode failed: {exc}") from exc


class _Log(logging.Logger):
    """aiohttp's log: a client that doesn't speak HTTP is no error of the agent's."""

    def __init__(self) -> None:
        super().__init__("asyncsd.agent.http")
        self.parent = logger

    def debug(self, msg: object, *args: object, exc_info: Any = None, **kwargs: Any) -> None:
        super().debug(msg, *args, **kwargs)

    def exception(self, msg: object, *args: object, exc_info: Any = True, **kwargs: Any) -> None:
        if isinstance(exc_info, HttpProcessingError | web.RequestPayloadError):
            self.debug("no HTTP request: %s", exc_info)
        else:
            self.error(msg, *args, exc_info=exc_info, **kwargs)
