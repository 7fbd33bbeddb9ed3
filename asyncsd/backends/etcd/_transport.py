"""Requests to the servers: pooled, with deadlines, a login, TLS, and the next server where one fails."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import aiohttp

from asyncsd._errors import BackendError, PermissionDeniedError, UnreachableError
from asyncsd._protocols import Clock
from asyncsd.backends._shared._connections import Connections
from asyncsd.backends._shared._endpoints import Endpoint
from asyncsd.backends._shared._http import as_backend_error
from asyncsd.backends._shared._rotation import Rotation

from ._answers import LoggedOutError, UnavailableError, refusal
from ._login import Login
from ._messages import Token, decode, encode

__all__ = ["Transport"]

log = logging.getLogger("asyncsd.etcd")

T = TypeVar("T")

BUFFER = 1 << 20
"""Bytes that are read ahead of a stream."""


class Transport:
    """Connections to the servers of one cluster.

    Every failure of the network is an UnreachableError. A request goes to the server that answered last, and
    to the others in turn while one can't be reached or can't serve.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        login: Login,
        connections: Connections,
        clock: Clock,
    ) -> None:
        self._servers = Rotation(
            endpoints, what="etcd", clock=clock, log=log, passes_on=(UnreachableError, UnavailableError)
        )
        self._login = login
        self._connections = connections
        self._clock = clock
        self._heard: dict[Endpoint, float] = {}
        self._probing: dict[Endpoint, asyncio.Lock] = {}

    def __repr__(self) -> str:
        return f"Transport({self.endpoint}, {len(self._servers.servers)} endpoints)"

    @property
    def endpoint(self) -> Endpoint:
        """The server that is asked first."""
        return self._servers.first

    async def open(self) -> None:
        """Make the session. Raises ValueError for certificate files that can't be used."""
        await self._connections.open()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._connections.aclose()

    async def call(self, path: str, message: object, kind: type[T]) -> T:
        """The answer to a request, of the first server that can give one."""
        body = encode(message)

        async def ask(endpoint: Endpoint) -> T:
            return decode(kind, await self._authorized(endpoint, path, body), f"{endpoint}{path}")

        return await self._servers.ask(ask)

    @asynccontextmanager
    async def stream(
        self, endpoint: Endpoint, path: str, message: object, *, leader: bool
    ) -> AsyncGenerator[aiohttp.StreamReader, None]:
        """The body of an answer that doesn't end; `leader`: it ends when the server has lost its leader.

        Raises what `call` raises, and the body's own errors as UnreachableError.
        """
        headers = {"Grpc-Metadata-Hasleader": "true"} if leader else {}
        token = await self.token(endpoint)
        url = f"{endpoint}{path}"
        async with self._connections.in_time(url):
            response = await self._send(endpoint, path, encode(message), token, headers)
        try:
            if response.status != 200:
                async with self._connections.in_time(url):
                    raise refusal(response.status, await response.read(), url)
            with as_backend_error(url):
                yield response.content
        finally:
            response.close()

    async def alive(self, endpoint: Endpoint, within: float) -> None:
        """See that a server lives that wasn't heard for `within` seconds; one look serves all who wait.

        Raises UnreachableError where it doesn't answer.
        """
        async with self._probing.setdefault(endpoint, asyncio.Lock()):
            if self._clock.time() - self._heard.get(endpoint, float("-inf")) >= within:
                try:
                    await self._ask(endpoint, "/version", None, None)
                except UnreachableError:
                    raise
                except BackendError as exc:
                    log.debug("%s has no version to tell, and lives: %s", endpoint, exc)

    def heard(self, endpoint: Endpoint) -> None:
        """Something came from this server."""
        self._heard[endpoint] = self._clock.time()

    def avoid(self, endpoint: Endpoint) -> None:
        """Ask the next server first, where this one is the first."""
        self._servers.avoid(endpoint)

    async def token(self, endpoint: Endpoint) -> str | None:
        """The token of the login, None without one. Logs in where there is none yet."""

        async def ask(credentials: dict[str, str]) -> str | None:
            path = "/v3/auth/authenticate"
            try:
                answer = await self._ask(endpoint, path, encode(credentials), None)
            except BackendError as exc:
                if "authentication is not enabled" in str(exc):
                    return None  # Whoever switches it on later is answered by a login.
                if "authentication failed" in str(exc):
                    raise PermissionDeniedError(
                        "etcd doesn't know the user, or the password is another",
                        url=exc.url,
                        status=exc.status,
                    ) from exc
                raise
            return decode(Token, answer, f"{endpoint}{path}").token

        return await self._login.token(ask)

    def logged_out(self) -> None:
        """The token is no good any more: log in again before the next request."""
        self._login.reset()

    async def _authorized(self, endpoint: Endpoint, path: str, body: bytes) -> bytes:
        token = await self.token(endpoint)
        try:
            return await self._ask(endpoint, path, body, token)
        except PermissionDeniedError as exc:
            if not self._login or not _wants_login(exc, token):
                raise
            self._login.forget(token)
        return await self._ask(endpoint, path, body, await self.token(endpoint))

    async def _ask(self, endpoint: Endpoint, path: str, body: bytes | None, token: str | None) -> bytes:
        """One request to one server, without a `body` by GET."""
        url = f"{endpoint}{path}"
        async with (
            self._connections.in_time(url),
            await self._send(endpoint, path, body, token, {}) as response,
        ):
            answer = await response.read()
        self.heard(endpoint)
        if response.status != 200:
            raise refusal(response.status, answer, url)
        return answer

    async def _send(
        self, endpoint: Endpoint, path: str, body: bytes | None, token: str | None, headers: dict[str, str]
    ) -> aiohttp.ClientResponse:
        if token is not None:
            headers = {**headers, "Authorization": token}
        method = "GET" if body is None else "POST"
        return await self._connections.send(
            method, f"{endpoint}{path}", body=body, headers=headers, ahead=BUFFER
        )


def _wants_login(error: BackendError, token: str | None) -> bool:
    """Whether another token might do: this one died, or there was none while authentication was off."""
    return isinstance(error, LoggedOutError) or (
        isinstance(error, PermissionDeniedError) and token is None and "wants a login" in str(error)
    )
