"""One request, and what is answered to it."""

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from asyncsd._protocols import Clock
from asyncsd.agent._decoding._json import DecodeError, parse
from asyncsd.agent._filter import FilterError, Keep, Kind, create_filter
from asyncsd.agent._registry import Registry
from asyncsd.agent._state._blocking import Wait, blocking
from asyncsd.agent._state._found import Found

from ._errors import HTTPError
from ._query import Query, parse_query

__all__ = ["CACHED", "Call", "found_headers"]

T = TypeVar("T")

CACHED = {"X-Cache": "HIT", "Age": "0"}
"""How Consul's agent says that it had the answer in its cache, and how old it is."""

NOTHING_READ = MappingProxyType(
    {
        "X-Consul-Index": "1",
        "X-Consul-KnownLeader": "false",
        "X-Consul-LastContact": "0",
        "X-Consul-Query-Backend": "blocking-query",
    }
)
"""What Consul says of a read that failed before it came to the catalog."""


class Call:
    """One request as its endpoint sees it.

    `rest` is what the path has behind the endpoint's own, with its escapes resolved.
    """

    __slots__ = ("registry", "request", "rest")

    def __init__(self, request: web.BaseRequest, rest: str, registry: Registry) -> None:
        self.request = request
        self.rest = rest
        self.registry = registry

    @property
    def clock(self) -> Clock:
        """The agent's clock."""
        return self.registry.clock

    @property
    def rng(self) -> random.Random:
        """The agent's source of chance."""
        return self.registry.rng

    # What is asked

    def param(self, name: str) -> str:
        """The first value of a parameter, "" when it isn't there."""
        return self.request.query.get(name, "")

    def params(self, name: str) -> list[str]:
        """All values of a parameter."""
        return self.request.query.getall(name, [])

    def flag(self, name: str) -> bool:
        """Whether a parameter is there, with a value or without."""
        return name in self.request.query

    def named(self, what: str) -> str:
        """The `rest` of the path. HTTPError if there is none: "Missing service name"."""
        if not self.rest:
            raise HTTPError(400, f"Missing {what}")
        return self.rest

    async def body(self) -> Any:
        """The JSON of the body. HTTPError for what isn't JSON."""
        try:
            return parse(await self.request.read())
        except DecodeError as exc:
            raise HTTPError(400, f"Request decode failed: {exc}") from None

    def query(self) -> Query:
        """What all reads may be asked. HTTPError for what makes no sense."""
        return parse_query(self.request.query, self.request.headers)

    def wait(self) -> Wait:
        """What `index` and `wait` ask for."""
        return self.query().wait

    def keep(self, query: Query, kind: Kind, headers: Mapping[str, str] = NOTHING_READ) -> Keep:
        """What `filter` keeps. HTTPError for one that doesn't fit, and for an unknown datacenter."""
        self.check_datacenter(query, headers)
        try:
            return create_filter(query.filter, kind)
        except FilterError as exc:
            raise HTTPError(500, str(exc), headers) from None

    def check_datacenter(self, query: Query, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        """HTTPError if `dc` names another than this one."""
        if query.datacenter not in ("", self.registry.config.datacenter):
            raise HTTPError(500, "No path to datacenter", headers)

    async def found(self, read: Callable[[], Found[T]], query: Query | None = None) -> Found[T]:
        """What `read` finds, once the caller's wait is over."""
        wait = (query or self.query()).wait
        return await blocking(self.registry.catalog, read, wait, clock=self.clock, rng=self.rng)

    # What is answered

    def answer(
        self, value: object, *, status: int = 200, headers: dict[str, str] | None = None
    ) -> web.Response:
        """`value` as JSON, indented if the caller asks for `pretty`."""
        text = msgspec.json.encode(value)
        if self.flag("pretty"):
            text = msgspec.json.format(text, indent=4) + b"\n"
        return web.Response(body=text, status=status, headers=headers, content_type="application/json")

    def answer_found(
        self, found: Found[Any], value: object, query: Query, *, cache: bool = False, streaming: bool = False
    ) -> web.Response:
        """`value`, with the headers of what was read."""
        headers = found_headers(found, query, streaming=streaming)
        return self.answer(value, headers=headers | CACHED if cache and query.cached else headers)


def found_headers(found: Found[Any], query: Query, *, streaming: bool = False) -> dict[str, str]:
    """The headers of a read of the catalog.

    `streaming`: as Consul's streaming backend answers, which never says that it knows a leader.
    """
    return {
        "X-Consul-Effective-Consistency": query.consistency,
        "X-Consul-Index": str(found.index),
        "X-Consul-KnownLeader": "false" if streaming else "true",
        "X-Consul-LastContact": "0",
        "X-Consul-Query-Backend": "streaming" if streaming else "blocking-query",
    }
