"""A Consul agent that misbehaves, as a real HTTP server on loopback."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeAlias
from urllib.parse import parse_qs, urlsplit


class Fault(NamedTuple):
    """What goes over the wire in place of an answer, and what becomes of the connection then."""

    data: bytes = b""
    hang: bool = False


Mode: TypeAlias = Callable[["Registry"], Fault]


def http(
    status: int, body: bytes, headers: dict[str, str] | None = None, *, length: int | None = None
) -> bytes:
    """A response as it goes over the wire; `length` is what its header claims."""
    lines = {
        "Content-Type": "application/json",
        "X-Consul-KnownLeader": "true",
        "X-Consul-LastContact": "0",
        **(headers or {}),
        "Content-Length": str(len(body) if length is None else length),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + body


def entry(id: str) -> dict[str, object]:
    """An instance as /v1/health/service tells it."""
    return {
        "Node": {"Node": "n1", "Address": "127.0.0.1", "Datacenter": "dc1", "Meta": {}},
        "Service": {
            "ID": id,
            "Service": "users",
            "Address": "10.0.0.1",
            "Port": 8080,
            "Tags": [],
            "Meta": {},
            "Weights": {"Passing": 1, "Warning": 1},
        },
        "Checks": [{"CheckID": f"service:{id}", "ServiceID": id, "Status": "passing"}],
    }


class Registry:
    """Answers /v1/health/service/users, well until `mode` is set.

    A blocking query is held until the index grows or the mode changes. `requests` has the time of each
    request.
    """

    def __init__(self) -> None:
        self.instances: tuple[str, ...] = ("a", "b")
        self.index = 100
        self.requests: list[float] = []
        self.url = ""
        self._mode: Mode | None = None
        self._changed = asyncio.Event()
        self._asked = asyncio.Event()
        self._connections: set[asyncio.StreamWriter] = set()

    def set(self, *instances: str) -> None:
        """Change the list, as an agent does: with a higher index."""
        self.instances = instances
        self.index += 1
        self._wake()

    def restart(self) -> None:
        """Forget everything; the index starts anew."""
        self.instances, self.index = (), 1
        self.cut()
        self._wake()

    def misbehave(self, mode: Mode | None) -> None:
        """Answer so from now on, queries in flight too; None is well."""
        self._mode = mode
        self._wake()

    def cut(self) -> None:
        """Close all connections."""
        for writer in self._connections:
            writer.close()

    async def asked(self, more: int) -> None:
        """Return once so many more requests have come."""
        wanted = len(self.requests) + more
        async with asyncio.timeout(20.0):
            while len(self.requests) < wanted:
                await self._asked.wait()

    def most_in_a_second(self) -> int:
        """How many requests came in the busiest second."""
        return max(sum(start <= when < start + 1.0 for when in self.requests) for start in self.requests)

    def body(self, *more: object) -> bytes:
        return json.dumps([*map(entry, self.instances), *more]).encode()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _answer(self) -> Fault:
        if self._mode is not None:
            return self._mode(self)
        return Fault(http(200, self.body(), {"X-Consul-Index": str(self.index)}))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target = urlsplit(head.split(b" ", 2)[1].decode())
                self.requests.append(time.monotonic())
                asked, self._asked = self._asked, asyncio.Event()
                asked.set()
                assert target.path == "/v1/health/service/users", target
                index = parse_qs(target.query).get("index")
                if self._mode is None and index == [str(self.index)]:
                    await self._changed.wait()
                fault = self._answer()
                writer.write(fault.data)
                await writer.drain()
                if fault.hang:
                    await self._changed.wait()
                if fault.hang or not fault.data or b"Content-Length: 99999" in fault.data:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._connections.discard(writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def registry() -> AsyncGenerator[Registry, None]:
    """A Registry that listens."""
    agent = Registry()
    server = await asyncio.start_server(agent._serve, "127.0.0.1", 0)
    agent.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield agent
    finally:
        server.close()
        agent.misbehave(None)
        agent.cut()
        await server.wait_closed()


def _index(value: object) -> dict[str, str]:
    return {"X-Consul-Index": str(value)}


def _truncated(agent: Registry) -> Fault:
    body = agent.body()
    return Fault(http(200, body[: len(body) // 2], _index(agent.index)))


def _growing(agent: Registry) -> Fault:
    agent.index += 1
    return Fault(http(200, agent.body(), _index(agent.index)))


def _lower(agent: Registry) -> Fault:
    agent.index = max(1, agent.index - 1)
    return Fault(http(200, agent.body(), _index(agent.index)))


def _bad_item(agent: Registry) -> Fault:
    bad = entry("bad")
    bad["Service"] = {"ID": 7, "Port": "http"}
    return Fault(http(200, agent.body(bad), _index(agent.index)))


def _just(status: int, body: bytes, headers: dict[str, str] | None = None) -> Mode:
    return lambda _: Fault(http(status, body, headers))


ERRORS: dict[str, Mode] = {
    "500": _just(500, b"rpc error: No cluster leader"),
    "429": _just(429, b"please rate limit your calls"),
    "429 with Retry-After": _just(429, b"please rate limit your calls", {"Retry-After": "1"}),
    "HTML": _just(200, b"<!doctype html><title>Sign in</title>", {"Content-Type": "text/html"} | _index(9)),
    "truncated JSON": _truncated,
    "null": _just(200, b"null", _index(101)),
    "another shape": _just(200, b'{"Services": []}', _index(101)),
    "no body": _just(200, b"", _index(101)),
    "not HTTP": lambda _: Fault(b"-ERR unknown command\r\n\r\n"),
    "connection closed": lambda _: Fault(),
    "connection closed in the body": lambda _: Fault(http(200, b"[{", _index(101), length=99999)),
}
HANGING: dict[str, Mode] = {
    "never answers": lambda _: Fault(hang=True),
    "stalls in the body": lambda _: Fault(http(200, b"[{", _index(101), length=99999), hang=True),
}
TOLERATED: dict[str, Mode] = {
    "index 0": lambda agent: Fault(http(200, agent.body(), _index(0))),
    "index lower each time": _lower,
    "index growing without a change": _growing,
    "index not a number": lambda agent: Fault(http(200, agent.body(), _index("many"))),
    "index missing": lambda agent: Fault(http(200, agent.body())),
    "one bad item": _bad_item,
}
RESETS: dict[str, Mode] = {
    "empty without a leader": lambda agent: Fault(
        http(200, b"[]", {"X-Consul-KnownLeader": "false"} | _index(agent.index + 1))
    ),
    "empty with a lower index": _just(200, b"[]", _index(1)),
    "empty with index 0": _just(200, b"[]", _index(0)),
}
