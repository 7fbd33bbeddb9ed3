"""Requests to the servers: pooled, with deadlines, a login, TLS, and the next server where one fails."""

import logging
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from asyncsd._errors import UnreachableError
from asyncsd._protocols import Clock
from asyncsd.backends._shared._connections import Connections
from asyncsd.backends._shared._credentials import BasicLogin
from asyncsd.backends._shared._endpoints import Endpoint
from asyncsd.backends._shared._http import as_backend_error, read_body
from asyncsd.backends._shared._rotation import Rotation

from ._answers import Answer, UnavailableError, decode, refusal

__all__ = ["Listening", "Transport"]

T = TypeVar("T")

log = logging.getLogger("asyncsd.etcd2")

FORM = "application/x-www-form-urlencoded"
LEADER = "/v2/members/leader"
INDEX = "X-Etcd-Index"
HANGS = ": the server hangs, or its cluster has no leader"


@dataclass(frozen=True, slots=True)
class Listening:
    """A long poll that stands on a server. `index` is the store's as it began."""

    endpoint: Endpoint
    index: int
    response: aiohttp.ClientResponse


class Transport:
    """Connections to the servers of one cluster.

    Every failure of the network is an UnreachableError. A request goes to the server that answered last, and
    to the others in turn while one can't be reached or can't serve.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        login: BasicLogin,
        connections: Connections,
        clock: Clock,
    ) -> None:
        self._servers = Rotation(
            endpoints, what="etcd", clock=clock, log=log, passes_on=(UnreachableError, UnavailableError)
        )
        self._login = login
        self._connections = connections
        self._clock = clock
        self.index = 0
        """The store's index in the last answer."""

    @property
    def endpoint(self) -> Endpoint:
        """The server that is asked first."""
        return self._servers.first

    def avoid(self, endpoint: Endpoint) -> None:
        """Ask the next server first, where this one is the first."""
        self._servers.avoid(endpoint)

    async def open(self) -> None:
        """Make the session. Raises ValueError for certificate files that can't be used."""
        await self._connections.open()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._connections.aclose()

    async def get(self, key: str, *, exact: bool) -> Answer:
        """What stands at and under a key or a folder. `exact`: as the cluster knows it, not only the server.

        Raises MissingError where nothing does.
        """
        return await self._call("GET", key, {"quorum": str(exact).lower(), **_recursive(key)})

    async def put(self, key: str, fields: Mapping[str, str | bytes]) -> Answer:
        """Write a key; `fields` say what and on which condition. Raises ConflictError and MissingError."""
        return await self._call("PUT", key, {}, fields)

    async def delete(self, key: str, index: int | None = None) -> None:
        """Remove a key, if need be only while `index` is that of its last change."""
        await self._call("DELETE", key, {} if index is None else {"prevIndex": str(index)})

    async def listen(self, scope: str, after: int, *, anew: bool) -> Listening:
        """Begin a long poll for the first change of a folder or a key that is newer than the index `after`.

        `anew`: see first that the server has a leader, without which it would hear of nothing. Raises
        ClearedError where the server has forgotten what came after.
        """
        query = {"wait": "true", "waitIndex": str(after + 1), **_recursive(scope)}

        async def begin(endpoint: Endpoint) -> Listening:
            response = await self._authorized("GET", _url(endpoint, scope, query), None)
            if response.status != 200:
                async with response:
                    self._decode(response, await read_body(response, str(response.url)))
            return Listening(endpoint, self._note(response), response)

        async def ask(endpoint: Endpoint) -> Listening:
            if anew:
                await self.see_leader(endpoint)
            return await self._in_time(_url(endpoint, scope, query), begin(endpoint))

        return await self._servers.ask(ask)

    async def heard(self, listening: Listening, within: float) -> bytes | None:
        """The next piece that a long poll tells; b"" at its end, None if nothing comes `within` seconds."""
        with as_backend_error(str(listening.response.url)):
            try:
                async with self._clock.timeout(within):
                    return await listening.response.content.readany()
            except TimeoutError:
                return None

    def told(self, listening: Listening, body: bytes) -> Answer:
        """What a long poll has told, whole. Its own index is older than what it tells of."""
        response = listening.response
        told = decode(response.status, response.headers.get(INDEX), body, str(response.url))
        self.index = max(self.index, told.node.modified_index)
        return told

    async def see_leader(self, endpoint: Endpoint) -> None:
        """See that a server lives and knows a leader: UnreachableError, UnavailableError where not."""
        url = URL(f"{endpoint}{LEADER}", encoded=True)

        async def look() -> None:
            async with await self._authorized("GET", url, None) as response:
                body = await read_body(response, str(url))
                if response.status != 200:
                    raise refusal(response.status, None, body, str(url))

        await self._in_time(url, look())

    async def _call(
        self, method: str, key: str, query: dict[str, str], fields: Mapping[str, str | bytes] | None = None
    ) -> Answer:
        body = None if fields is None else urlencode(fields).encode()

        async def exchange(url: URL) -> Answer:
            async with await self._authorized(method, url, body) as response:
                return self._decode(response, await read_body(response, str(response.url)))

        async def ask(endpoint: Endpoint) -> Answer:
            url = _url(endpoint, key, query)
            return await self._in_time(url, exchange(url))

        return await self._servers.ask(ask)

    async def _in_time(self, url: URL, asking: Awaitable[T]) -> T:
        """What `asking` gives, with the network's errors as ours."""
        async with self._connections.in_time(str(url), hint=HANGS):
            return await asking

    async def _authorized(self, method: str, url: URL, body: bytes | None) -> aiohttp.ClientResponse:
        """The response to a request with the login, which is read anew where it is refused."""
        header = await self._login.header()
        response = await self._send(method, url, body, header)
        if response.status != 401:
            return response
        try:
            other = await self._login.renewed(header)
        except BaseException:
            response.close()
            raise
        if other is None:
            return response
        response.close()
        return await self._send(method, url, body, other)

    async def _send(
        self, method: str, url: URL, body: bytes | None, authorization: str | None
    ) -> aiohttp.ClientResponse:
        headers = {} if authorization is None else {"Authorization": authorization}
        if body is not None:
            headers["Content-Type"] = FORM
        return await self._connections.send(method, url, body=body, headers=headers)

    def _decode(self, response: aiohttp.ClientResponse, body: bytes) -> Answer:
        self._note(response)
        return decode(response.status, response.headers.get(INDEX), body, str(response.url))

    def _note(self, response: aiohttp.ClientResponse) -> int:
        """The store's index, as the response tells it."""
        told = response.headers.get(INDEX, "")
        if told.isdecimal():
            self.index = int(told)
        return self.index


def _recursive(path: str) -> dict[str, str]:
    """With the slash at its end a folder is covered by a role's right to all that is in it."""
    return {"recursive": "true"} if path.endswith("/") else {}


def _url(endpoint: Endpoint, key: str, query: Mapping[str, str]) -> URL:
    """The address of a key or a folder, whose own "%" are quoted too."""
    path = f"/v2/keys{quote(key)}"
    return URL(f"{endpoint}{path}{'?' if query else ''}{urlencode(query)}", encoded=True)
