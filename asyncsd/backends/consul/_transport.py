"""The pooled HTTP transport under both clients."""

import asyncio
import base64
import socket
from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from urllib.parse import quote, urlencode

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError
from yarl import URL

from asyncsd._errors import ClosedError, ProtocolError, UnreachableError
from asyncsd._protocols import Clock
from asyncsd.backends._shared._http import reason
from asyncsd.backends._shared._tls import TLS

from ._answers import SHOWN, Answer
from ._slots import Slots
from ._token import TokenSource
from ._url import Address
from ._wire import go_duration

if TYPE_CHECKING:
    import ssl

__all__ = ["Agent", "Params", "Transport", "quoted", "segment"]

Params: TypeAlias = Sequence[tuple[str, str]]

DEADLINE = 10.0
"""Seconds for an answer beyond the time that the agent was asked to wait."""
WHOLE = 60.0
"""Seconds for a body that keeps flowing; one that stops for DEADLINE has failed."""
AFTER_REFUSAL = (0.05, 0.25, 1.0)
"""Seconds before each new try of a write that a 429 refused: a closed connection is forgotten in a moment."""
LONG = 1 << 20
"""Bytes of an answer for whose like room is made at once."""
READS = 32
"""Reads that don't wait, at a time."""
PROBES = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""The kernel asks a connection on which nothing came for 15 s whether it lives, three times in 15 s."""


def segment(text: str) -> str:
    """`text` as one segment of a path."""
    # Dots alone would be another directory.
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")


def quoted(path: str) -> str:
    """A path as it goes into a URL."""
    return quote(path, safe="/:")


def _target(path: str, params: Params) -> str:
    return f"{path}?{urlencode(params, quote_via=quote)}" if params else path


class _Request(NamedTuple):
    address: Address
    method: str
    path: str
    target: str
    """The path with its parameters."""
    body: bytes | None = None
    waits: bool = False
    """Whether it is a blocking query."""
    apart: bool = False
    """Whether it doesn't stand in line with other reads."""

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
        self._timeout = aiohttp.ClientTimeout(
            total=None,
            # A lent session may have a limited pool, whose queue isn't the agent's fault.
            connect=None if session is not None else connect_timeout,
            sock_connect=connect_timeout,
        )
        self._sessions: dict[str | None, aiohttp.ClientSession] = {}
        if session is not None and not isinstance(session, aiohttp.ClientSession):
            raise TypeError("ConsulBackend.session is an aiohttp.ClientSession")
        connector = None if session is None else session.connector
        if connector is not None:
            # What waits leaves half of a limited pool to the rest: a heartbeat must never queue behind it.
            limits = [limit for limit in (connector.limit, connector.limit_per_host) if limit]
            max_watches = min([max_watches, *(max(1, limit // 2) for limit in limits)])
        self.slots: Slots = Slots(max_watches, clock=clock)
        self._reads = asyncio.Semaphore(READS)
        self._answers = 0
        self._long: dict[str, int] = {}
        """Room for the next answer, by the path of long ones: one that grows step by step is copied often."""
        self._failing: set[Address] = set()

    def __repr__(self) -> str:
        return f"Transport({len(self._sessions)} sessions, {self.slots!r})"

    async def open(self, addresses: Iterable[Address]) -> None:
        """Make the sessions.

        Raises ValueError for certificate files that can't be used, and for a unix socket that a lent session
        can't reach.
        """
        if self._tls:
            self._ssl = await asyncio.to_thread(self._tls.build)
        paths = {address.socket for address in addresses}
        if self._lent is None:
            self._sessions = {path: _session(path) for path in paths}
        elif paths != {None} and not isinstance(self._lent.connector, aiohttp.UnixConnector):
            raise ValueError(
                "ConsulBackend.session reaches no unix socket: give it an aiohttp.UnixConnector, or lend none"
            )

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
        apart: bool = False,
    ) -> Answer:
        """One request; `path` is quoted already. With `wait`, a blocking query of so many seconds at most.

        `apart` is for a read that doesn't stand in line with others: its caller sees to their number.
        """
        if wait is not None:
            answer = await self.slots.run(wait, partial(self._wait, address, path, params))
            if answer.status == 429:
                self.slots.refused()
            return answer
        request = _Request(address, method, path, _target(path, params), body, apart=apart)
        answer = await self._ask(request)
        for pause in AFTER_REFUSAL:
            if answer.status != 429 or "Retry-After" in answer.headers:
                break
            # The agent takes no more connections from this machine. Some of them are ours, and only wait.
            self.slots.refused()
            if method == "GET":
                break  # Whoever reads tries again, at a pace of its own.
            async with self.slots.one_less():
                await self._clock.sleep(pause)
                answer = await self._ask(request)
        return answer

    async def _ask(self, request: _Request) -> Answer:
        if request.method != "GET" or request.apart:
            return await self._deliver(request, DEADLINE)
        await self._stand_in_line(request)
        try:
            return await self._deliver(request, DEADLINE)
        finally:
            self._reads.release()

    async def _stand_in_line(self, request: _Request) -> None:
        """Have one of the READS: wait for it as long as the line moves, for there may be thousands in it."""
        while True:
            answers = self._answers
            try:
                async with self._clock.timeout(DEADLINE):
                    await self._reads.acquire()
                    return
            except TimeoutError as exc:
                if self._answers == answers:
                    raise UnreachableError(f"no answer in {DEADLINE:g} s", url=request.shown) from exc

    def _wait(self, address: Address, path: str, params: Params, wait: float) -> Coroutine[Any, Any, Answer]:
        target = _target(path, [*params, ("wait", go_duration(wait))])
        asked = _Request(address, "GET", path, target, waits=True)
        # Consul adds up to a sixteenth to the wait, so that not all come back at once (agent/consul/rpc.go).
        return self._deliver(asked, wait + wait / 16 + DEADLINE)

    async def _deliver(self, request: _Request, deadline: float) -> Answer:
        # No exit stack, nor another context than it takes: thousands of these may wait, for a minute each.
        response: aiohttp.ClientResponse | None = None
        answered = False
        try:
            async with self._clock.timeout(deadline):
                token = await self._token.get()
                response = await self._send(request, token)
                if response.status in (401, 403):
                    other = await self._token.another(token)
                    if other is not None:
                        token = other
                        response.release()
                        response = await self._send(request, token)
            answered = True
            content = await self._content(response, request.path)
            self._failing.discard(request.address)
            self._answers += 1
            if token is not None and not 200 <= response.status < 300:
                content = content.replace(token.encode(), b"***")
            return Answer(response.status, response.headers, content, request.shown)
        except aiohttp.ServerTimeoutError as exc:
            raise UnreachableError(
                f"no connection in {self._connect_timeout:g} s", url=request.shown
            ) from exc
        except TimeoutError as exc:
            late = f"no answer in {deadline:g} s"
            if answered:
                late = f"the answer stopped for {DEADLINE:g} s, or took more than {WHOLE:g} s"
            raise UnreachableError(late, url=request.shown) from exc
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as exc:
            wrong = _told(exc)
        except (aiohttp.ClientError, OSError) as exc:
            if isinstance(exc.__cause__, ContentEncodingError):
                raise ProtocolError("the answer can't be unpacked: it says gzip", url=request.shown) from exc
            self._failing.add(request.address)
            raise UnreachableError(reason(exc), url=request.shown) from exc
        finally:
            if response is not None and not response.closed:
                response.release()  # What wasn't read to its end closes its connection.
        # Not its cause, and raised out here: it holds the request's headers, and the secrets in them.
        raise ProtocolError(f"the answer isn't HTTP{wrong}", url=request.shown)

    def _send(self, request: _Request, token: str | None) -> Awaitable[aiohttp.ClientResponse]:
        address = request.address
        session = self._lent or self._sessions.get(address.socket)
        once = request.waits or address in self._failing
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
        return session.request(
            request.method,
            URL(request.url, encoded=True),
            data=request.body,
            headers=headers,
            ssl=self._ssl,
            allow_redirects=False,
            raise_for_status=False,
            middlewares=(_once,) if once and self._lent is None else None,
            timeout=self._timeout,
        )

    async def _content(self, response: aiohttp.ClientResponse, path: str) -> bytes:
        """The body, for as long as it flows."""
        if response.content.is_eof():  # A short one came with its headers: there is no time to watch.
            self._long.pop(path, None)
            return response.content.read_nowait()
        content = BytesIO()  # It gives its bytes without a copy.
        if (room := self._long.get(path)) is not None:
            content.seek(room)
            content.write(b"\0")
            content.seek(0)
        async with self._clock.timeout(WHOLE):
            while True:
                async with self._clock.timeout(DEADLINE):
                    chunk = await response.content.readany()
                if not chunk:
                    break
                content.write(chunk)
        size = content.tell()
        content.truncate(size)
        if size >= LONG:
            self._long[path] = size + size // 500
        else:
            self._long.pop(path, None)
        return content.getvalue()


class Agent:
    """One agent on the pooled transport."""

    def __init__(self, transport: Transport, address: Address) -> None:
        self._transport = transport
        self.address = address

    def __repr__(self) -> str:
        return f"Agent({self.address})"

    def get(
        self, path: str, params: Params = (), *, wait: float | None = None, apart: bool = False
    ) -> Coroutine[Any, Any, Answer]:
        return self._transport.request(self.address, "GET", path, params, wait=wait, apart=apart)

    def put(self, path: str, params: Params = (), body: bytes = b"") -> Coroutine[Any, Any, Answer]:
        return self._transport.request(self.address, "PUT", path, params, body=body)


def _session(path: str | None) -> aiohttp.ClientSession:
    # No limit of the pool's own: the slots bound what waits.
    connector = (
        aiohttp.TCPConnector(limit=0, socket_factory=_probed)
        if path is None
        else aiohttp.UnixConnector(path, limit=0)
    )
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def _probed(info: tuple[Any, ...]) -> socket.socket:
    """A socket whose connection ends within half a minute once nothing answers at its other end.

    A query that waits sends nothing: where a machine or a network is gone, it would wait to its deadline.
    """
    family, kind, protocol = info[:3]
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in PROBES.items():
        if hasattr(socket, name):  # Not everywhere: without them it is the system's own two hours.
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made


class _Cut(aiohttp.ClientError):
    """A connection that ended while a blocking query waited on it."""


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Ask once: aiohttp repeats a request whose kept connection was cut, by itself and at once.

    That mends a connection that had been idle too long. Those that wait are cut because their agent ended,
    and all of them would ask it again in one moment. One that has failed before has no idle connections, and
    is probed at a pace.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as exc:
        raise _Cut(reason(exc)) from exc


def _told(exc: Exception) -> str:
    """What aiohttp says of an answer, in one line."""
    text = exc.message if isinstance(exc, aiohttp.ClientResponseError) else str(exc)
    line = " ".join(text.split())[:SHOWN]
    return f": {line}" if line else ""
