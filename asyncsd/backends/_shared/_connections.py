"""Connections to a registry's HTTP servers: pooled, with TLS and deadlines."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from asyncsd._errors import ClosedError, UnreachableError
from asyncsd._protocols import Clock

from ._http import as_backend_error
from ._tls import TLS

__all__ = ["Connections"]


class Connections:
    """One pool for all servers. `owner` is the backend, for errors; the times are in seconds.

    There is no limit to them: watches, heartbeats and long lists must never queue behind each other.
    """

    def __init__(self, owner: str, *, tls: TLS, clock: Clock, timeout: float, connect_timeout: float) -> None:
        self._owner = owner
        self._tls = tls
        self._clock = clock
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the pool. Raises ValueError for certificate files that can't be used."""
        context = await asyncio.to_thread(self._tls.build) if self._tls else True
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=context),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def aclose(self) -> None:
        """Close them all. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(
        self,
        method: str,
        url: str | URL,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        ahead: int | None = None,
    ) -> aiohttp.ClientResponse:
        """A request, and once again where a kept connection was closed meanwhile: it may be received twice.

        `ahead` is how many bytes of the answer are read before they are asked for. Only connecting has a
        deadline here. Raises aiohttp's own errors, and ClosedError without a pool.
        """
        try:
            return await self._request(method, url, body, headers, ahead)
        except aiohttp.ServerDisconnectedError:
            if method != "POST":
                raise  # aiohttp itself has tried it twice.
            return await self._request(method, url, body, headers, ahead)

    @asynccontextmanager
    async def in_time(self, url: str, *, hint: str = "") -> AsyncGenerator[None, None]:
        """Around a request and the reading of its answer: the network's errors and a lateness as ours."""
        with as_backend_error(url):
            try:
                async with self._clock.timeout(self._timeout):
                    yield
            except aiohttp.ClientError:  # Some of these are TimeoutErrors, of a connection.
                raise
            except TimeoutError as exc:
                raise UnreachableError(f"no answer in {self._timeout:g} s{hint}", url=url) from exc

    async def _request(
        self,
        method: str,
        url: str | URL,
        body: bytes | None,
        headers: Mapping[str, str] | None,
        ahead: int | None,
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            raise ClosedError(f"the {self._owner} was closed")
        return await self._session.request(
            method,
            url,
            data=body,
            headers=headers,
            allow_redirects=False,
            read_bufsize=ahead,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout),
        )
