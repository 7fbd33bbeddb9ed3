"""One request, and what is answered to it."""

import random
import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from asyncsd._protocols import Clock

from ._blocking import Wait, blocking
from ._catalog import Found
from ._registry import Registry

__all__ = ["Call", "HTTPError", "seconds"]

T = TypeVar("T")

UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
DURATION = re.compile(r"[+-]?(?:0|(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h))+")


def seconds(text: str) -> float:
    """The seconds of a duration as Go writes it: "1m30s", "100ms". ValueError for anything else."""
    if not DURATION.fullmatch(text):
        raise ValueError(f"time: invalid duration {text!r}")
    sign = -1 if text.startswith("-") else 1
    parts = re.findall(r"(\d+(?:\.\d*)?|\.\d+)([a-zµ]+)", text)
    return sign * sum(float(number) * UNITS[unit] for number, unit in parts)


class HTTPError(Exception):
    """A refusal: its status and its text, as the client gets them."""

    def __init__(self, status: int, text: str, **headers: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status
        self.text = text
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


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

    def param(self, name: str) -> str:
        """The first value of a parameter, "" when it isn't there."""
        return self.request.query.get(name, "")

    def flag(self, name: str) -> bool:
        """Whether a parameter is there, with a value or without."""
        return name in self.request.query

    async def body(self) -> Any:
        """The JSON of the body. HTTPError for what isn't JSON."""
        try:
            return msgspec.json.decode(await self.request.read())
        except msgspec.DecodeError as exc:
            raise HTTPError(400, f"Request decode failed: {exc}") from exc

    def wait(self) -> Wait:
        """What `index` and `wait` ask for."""
        try:
            wait = seconds(self.param("wait")) if self.param("wait") else Wait().seconds
        except ValueError:
            raise HTTPError(400, "Invalid wait time") from None
        index = self.param("index") or "0"
        if not (index.isascii() and index.isdigit() and int(index) < 2**64):
            raise HTTPError(400, "Invalid index")
        return Wait(int(index), wait)

    async def found(self, read: Callable[[], Found[T]]) -> Found[T]:
        """What `read` finds, once the caller's wait is over."""
        wait = self.wait()
        return await blocking(self.registry.catalog, read, wait, clock=self.clock, rng=self.rng)

    def answer(
        self, value: object, *, status: int = 200, headers: dict[str, str] | None = None
    ) -> web.Response:
        """`value` as JSON, indented if the caller asks for `pretty`."""
        text = msgspec.json.encode(value)
        if self.flag("pretty"):
            text = msgspec.json.format(text, indent=4) + b"\n"
        return web.Response(body=text, status=status, headers=headers, content_type="application/json")

    def answer_found(self, found: Found[Any], value: object) -> web.Response:
        """`value`, with the headers of a read of the catalog."""
        headers = {
            "X-Consul-Effective-Consistency": "leader",
            "X-Consul-Index": str(found.index),
            "X-Consul-KnownLeader": "true",
            "X-Consul-LastContact": "0",
            "X-Consul-Query-Backend": "blocking-query",
        }
        return self.answer(value, headers=headers)
