"""Requests to the servers: pooled, with deadlines, a login, TLS, and the next server where one fails."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from urllib.parse import urlencode

import msgspec

from asyncsd._errors import PermissionDeniedError, ProtocolError, UnreachableError
from asyncsd._protocols import Clock
from asyncsd.backends._shared._connections import Connections
from asyncsd.backends._shared._credentials import BasicLogin
from asyncsd.backends._shared._rotation import Rotation

from ._answers import UnavailableError, refusal
from ._messages import encode
from ._servers import Server

__all__ = ["Transport"]

log = logging.getLogger("asyncsd.eureka")

T = TypeVar("T")

LARGE = 100_000
"""Bytes of an answer that is decoded off the loop."""


class Transport:
    """Connections to the servers. Each keeps a list of its own, which it replicates to the others.

    Every failure of the network is an UnreachableError. A request goes to the server that answered last, and
    to the others in turn while one can't be reached or can't serve.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        *,
        login: BasicLogin,
        connections: Connections,
        clock: Clock,
    ) -> None:
        self._login = login
        self._connections = connections
        self._rotation = Rotation(
            servers,
            what="Eureka",
            clock=clock,
            log=log,
            passes_on=(UnreachableError, UnavailableError),
        )

    @property
    def servers(self) -> Sequence[Server]:
        return self._rotation.servers

    @property
    def server(self) -> Server:
        """The server that is asked first."""
        return self._rotation.first

    async def open(self) -> None:
        """Make the session. Raises ValueError for certificate files that can't be used."""
        await self._connections.open()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._connections.aclose()

    async def ask(self, ask: Callable[[Server], Awaitable[T]]) -> T:
        """What `ask(server)` gives for the first server that can serve."""
        return await self._rotation.ask(ask)

    async def get(self, server: Server, path: str, kind: type[T]) -> T:
        """The `kind` that stands at `path`. AbsentError where nothing does."""
        body = await self._call(server, "GET", path, None)
        try:
            if len(body) > LARGE:
                return await asyncio.to_thread(_decode, body, kind)
            return _decode(body, kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise ProtocolError(
                f"the answer isn't what Eureka gives: {exc}: is it a Eureka server?", url=f"{server}{path}"
            ) from exc

    async def send(
        self, method: str, path: str, body: object = None, parameters: dict[str, str] | None = None
    ) -> None:
        """Tell something to the first server that can be told. All that is sent may be sent twice."""
        where = f"{path}?{urlencode(parameters)}" if parameters else path
        data = None if body is None else encode(body)
        await self._rotation.ask(lambda server: self._call(server, method, where, data))

    async def _call(self, server: Server, method: str, path: str, data: bytes | None) -> bytes:
        header = await self._login.header()
        try:
            return await self._ask(server, method, path, data, header)
        except PermissionDeniedError as exc:
            if exc.status != 401 or (header := await self._login.renewed(header)) is None:
                raise
        return await self._ask(server, method, path, data, header)

    async def _ask(
        self, server: Server, method: str, path: str, data: bytes | None, authorization: str | None
    ) -> bytes:
        """One request to one server."""
        url = f"{server}{path}"
        headers = {"Accept": "application/json"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        if authorization is not None:
            headers["Authorization"] = authorization
        async with (
            self._connections.in_time(url),
            await self._connections.send(method, url, body=data, headers=headers) as response,
        ):
            body = await response.read()
        if not 200 <= response.status < 300:
            after = response.headers.get("Retry-After", "")
            retry_after = float(after) if after.isdecimal() else None
            raise refusal(method, response.status, body, url, retry_after=retry_after)
        return body


def _decode(body: bytes, kind: type[T]) -> T:
    # Not strict: long numbers are strings.
    return msgspec.json.decode(body, type=kind, strict=False)
