"""The pooled HTTP transport under both clients."""

import asyncio
import base64
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from asyncsd._errors import ClosedError, ProtocolError, UnreachableError
from asyncsd._protocols import Clock

from ._answers import Answer
from ._slots import Slots
from ._tls import TLS
from ._token import TokenSource
from ._url import Address
from ._wire import go_duration

if TYPE_CHECKING:
    import ssl

__all__ = ["Agent", "Params", "Transport", "quoted", "segment"]

Params: TypeAlias = Sequence[tuple[str, str]]

DEADLINE = 10.0
"""Seconds for an answer beyond the time that the agent was asked to wait."""
READS = 32
"""Reads that don't wait, at a time."""


def segment(text: str) -> str:
    """`text` as one segment of a path."""
    return quote(text, safe="")


def quoted(path: str) -> str:
    """A path as it goes into a URL."""
    return quote(path, safe="/:")


class _Request(NamedTuple):
    address: Address
    method: str
    path: str
    params: Params
    body: bytes | None = None

    @property
    def target(self) -> str:
        return f"{self.path}?{urlencode(self.params, quote_via=quote)}" if self.params else self.path

    @property
    def url(self) -> str:
        return f"{self.address.url}{self.target}"

    @property
    def shown(self) -> str:
        """The URL as errors name it. Secrets travel in headers alone."""
        return f"{self.address}{self.target}"


class Transport:
    """Connections to agents: pooled, with deadlines, TLS, the token, and a cap on blocking queries.

    Every failure of the network is an UnreachableError, an answer that isn't HTTP a ProtocolError; an answer
    of any status is an Answer.
    """

    def __init__(
        self,
        *,
        token: TokenSource,
        tls: TLS,
        clock: Clock,
        max_watches: int,
        connect_timeout: float,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        self._token = token
        self._tls = tls
        self._ssl: ssl.SSLContext | bool = True
        self._clock = clock
        self._connect_timeout = connect_timeout
        self._lent = session
        self._sessions: dict[str | None, aiohttp.ClientSession] = {}
        if session is not None and session.connector is not None and session.connector.limit:
            # What waits leaves half of a limited pool to the rest: a heartbeat must never queue behind it.
            max_watches = min(max_watches, max(1, session.connector.limit // 2))
        self._slots = Slots(max_watches)
        self._reads = asyncio.Semaphore(READS)

    def __repr__(self) -> str:
        return f"Transport({len(self._sessions)} sessions, {self._slots!r})"

    async def open(self, addresses: Iterable[Address]) -> None:
        """Make the sessions. Raises ValueError for certificate files that can't be used."""
        if self._tls:
            self._ssl = await asyncio.to_thread(self._tls.build)
        if self._lent is None:
            self._sessions = {socket: _session(socket) for socket in {a.socket for a in addresses}}

    async def aclose(self) -> None:
        """Close the sessions, in a moment; a lent one stays open."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    async def request(
        self,
        address: Address,
        method: str,
        path: str,
        params: Params = (),
        *,
        body: bytes | None = None,
        wait: float | None = None,
    ) -> Answer:
        """One request; `path` is quoted already. With `wait`, a blocking query of so many seconds at most."""
        if wait is not None:
            return await self._slots.run(wait, partial(self._wait, address, path, params))
        room = self._reads if method == "GET" else nullcontext()
        return await self._deliver(_Request(address, method, path, params, body), DEADLINE, room)

    async def _wait(self, address: Address, path: str, params: Params, wait: float) -> Answer:
        asked = _Request(address, "GET", path, [*params, ("wait", go_duration(wait))])
        # Consul adds up to a sixteenth to the wait, so that not all come back at once (agent/consul/rpc.go).
        return await self._deliver(asked, wait + wait / 16 + DEADLINE, nullcontext())

    async def _deliver(
        self, request: _Request, deadline: float, room: AbstractAsyncContextManager[None]
    ) -> Answer:
        try:
            async with self._clock.timeout(deadline), room:
                token = await self._token.get()
                answer = await self._exchange(request, token)
                if answer.status in (401, 403) and await self._token.renewed():
                    answer = await self._exchange(request, await self._token.get())
                return answer
        except aiohttp.ServerTimeoutError as exc:
            raise UnreachableError(
                f"no connection in {self._connect_timeout:g} s", url=request.shown
            ) from exc
        except TimeoutError as exc:
            raise UnreachableError(f"no answer in {deadline:g} s", url=request.shown) from exc
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as exc:
            raise ProtocolError("the answer isn't HTTP", url=request.shown) from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise UnreachableError(_reason(exc), url=request.shown) from exc

    async def _exchange(self, request: _Request, token: str | None) -> Answer:
        address = request.address
        session = self._lent or self._sessions.get(address.socket)
        if session is None or session.closed:
            raise ClosedError(f"the session for {address} is closed")
        # Without a network between, to pack and unpack costs more than to send: a third of the time on 5,000
        # instances.
        headers = {"Accept-Encoding": "identity" if address.is_local else "gzip"}
        if token is not None:
            headers["X-Consul-Token"] = token
        if address.credentials is not None:
            headers["Authorization"] = (
                f"Basic {base64.b64encode(':'.join(address.credentials).encode()).decode()}"
            )
        async with session.request(
            request.method,
            URL(request.url, encoded=True),
            data=request.body,
            headers=headers,
            ssl=self._ssl,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(
                total=None,
                # A lent session may have a limited pool, whose queue isn't the agent's fault.
                connect=None if self._lent is not None else self._connect_timeout,
                sock_connect=self._connect_timeout,
            ),
        ) as response:
            content = await response.read()
        if token is not None and not 200 <= response.status < 300:
            content = content.replace(token.encode(), b"***")
        return Answer(response.status, response.headers, content, request.shown)


class Agent:
    """One agent on the pooled transport."""

    def __init__(self, transport: Transport, address: Address) -> None:
        self._transport = transport
        self.address = address

    def __repr__(self) -> str:
        return f"Agent({self.address})"

    async def get(self, path: str, params: Params = (), *, wait: float | None = None) -> Answer:
        return await self._transport.request(self.address, "GET", path, params, wait=wait)

    async def put(self, path: str, params: Params = (), body: bytes = b"") -> Answer:
        return await self._transport.request(self.address, "PUT", path, params, body=body)


def _session(socket: str | None) -> aiohttp.ClientSession:
    # No limit of the pool's own: the slots bound what waits.
    connector = aiohttp.TCPConnector(limit=0) if socket is None else aiohttp.UnixConnector(socket, limit=0)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def _reason(exc: Exception) -> str:
    match exc:
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate isn't trusted: {exc.certificate_error}"
        case aiohttp.ClientConnectorError():
            return f"can't connect: {exc.os_error.strerror or exc.os_error}"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return "the connection was closed before the answer was whole"
        case OSError(strerror=str(text)):
            return text
        case _:
            return str(exc) or type(exc).__name__
