"""One suite, two servers: the same request to our agent and to a real Consul, and what differs.

A test takes the fixture `both` and talks to it as to one server:

    @pytest.mark.server("consul")
    async def test_a_service_that_was_registered_is_listed(both: Both) -> None:
        await both.put("/v1/agent/service/register", {"Name": "web", "Port": 80})
        answer = await both.get("/v1/catalog/service/web")
        assert answer.json[0]["ServicePort"] == 80

Each call sends the request to both, compares the two answers (status, headers, body) and fails with the
fields that differ; it gives back our agent's answer. Both servers are empty when a test begins.

- Only the shape is compared of what no two servers share: indexes (both zero or neither), ids, hashes, ports
  of the servers' own, times. `aside={"Output"}` leaves out further keys, or headers, by their names.
- `await both.until(path, lambda answer: ...)` reads again until both answers satisfy the predicate, and
  compares those: for what happens by and by (checks, the catalog's following of `/v1/agent`).
- `both.get(path, wait="5s")` blocks from the index that each server gave in its last answer to `path`.
- `both.ours` and `both.consul` are each a `Client` of one server, for what must not be compared.

The fixture `server` runs a test on each server alone, as `test[agent]` and `test[consul]`, and gives its
`Client`; such a test says what is right itself, for both. Only the latter needs Consul.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

__all__ = ["Answer", "Both", "Client", "differences"]

NODE = "parity"
"""The name of the node of either server, so that it needs no leaving aside."""

PATIENCE = 15.0
"""Seconds until both servers must say what a test waits for."""

# How a message is carried, when and by whom: no part of the API.
CARRIAGE = {"connection", "content-encoding", "content-length", "date", "server", "transfer-encoding"}

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*(Z| ?[+-]\d\d:?\d\d( \w+)?)")
INDEXES = {"createindex", "modifyindex", "x-consul-index"}
HASHES = {"contenthash", "x-consul-contenthash"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said; `headers` go by lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes
    ports: frozenset[int] = field(repr=False)
    seconds: float = 0.0

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "backslashreplace")

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def index(self) -> int:
        return int(self.headers.get("x-consul-index", "0"))


class Client:
    """Sends requests to one server."""

    def __init__(self, url: str, ports: Collection[int], session: aiohttp.ClientSession) -> None:
        self.url = url
        self._ports = frozenset(ports)
        self._session = session
        self._indexes: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"Client({self.url})"

    async def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        wait: str | None = None,
    ) -> Answer:
        """Send `path` as it is, escapes too; a body that isn't bytes goes as JSON.

        With `wait`, block from the index of this server's last answer to `path`.
        """
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        asked = path
        if wait is not None:
            asked += f"{'&' if '?' in path else '?'}index={self._indexes.get(path, 1)}&wait={wait}"
        begun = asyncio.get_running_loop().time()
        async with self._session.request(
            method,
            URL(self.url + asked, encoded=True),
            data=data,
            headers={**({"X-Consul-Token": token} if token else {}), **(headers or {})},
            allow_redirects=False,
            skip_auto_headers=("Content-Type",),
        ) as response:
            answer = Answer(
                response.status,
                {name.lower(): value for name, value in response.headers.items()},
                await response.read(),
                self._ports,
                asyncio.get_running_loop().time() - begun,
            )
        if answer.index:
            self._indexes[path] = answer.index
        return answer

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.send("GET", path, **options)

    async def put(self, path: str, body: object = None, **options: Any) -> Answer:
        return await self.send("PUT", path, body, **options)

    async def until(self, path: str, accept: Callable[[Answer], bool], **options: Any) -> Answer:
        """GET `path` until `accept` takes the answer."""
        answer = None
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    answer = await self.get(path, **options)
                    if accept(answer):
                        return answer
                    await asyncio.sleep(0.02)
        except TimeoutError:
            said = answer and f"{answer.status} {answer.text}"
            raise AssertionError(f"{self.url}{path} still says, after {PATIENCE} s: {said}") from None

    async def clean(self) -> None:
        """Remove all that was registered."""
        await self.put("/v1/agent/maintenance?enable=false")
        for service in (await self.get("/v1/agent/services")).json:
            await self.put(f"/v1/agent/service/deregister/{_escaped(service)}")
        for check in (await self.get("/v1/agent/checks")).json:
            await self.put(f"/v1/agent/check/deregister/{_escaped(check)}")
        for node in (await self.get("/v1/catalog/nodes")).json:
            if node["Node"] != NODE:
                await self.put("/v1/catalog/deregister", {"Node": node["Node"]})
        here = (await self.get(f"/v1/catalog/node/{NODE}")).json
        for service in set(here["Services"]) - {"consul"}:
            await self.put("/v1/catalog/deregister", {"Node": NODE, "ServiceID": service})


class Both:
    """Sends each request to both servers at once, and compares what they say."""

    def __init__(self, ours: Client, consul: Client) -> None:
        self.ours = ours
        self.consul = consul

    async def each(self, do: Callable[[Client], Awaitable[Answer]]) -> tuple[Answer, Answer]:
        """What both say to the same thing, ours first; not compared."""
        ours, consul = await asyncio.gather(do(self.ours), do(self.consul))
        return ours, consul

    async def send(
        self, method: str, path: str, body: object = None, *, aside: Collection[str] = (), **options: Any
    ) -> Answer:
        ours, consul = await self.each(lambda client: client.send(method, path, body, **options))
        return same(f"{method} {path}", ours, consul, aside)

    async def get(self, path: str, *, aside: Collection[str] = (), **options: Any) -> Answer:
        return await self.send("GET", path, aside=aside, **options)

    async def put(
        self, path: str, body: object = None, *, aside: Collection[str] = (), **options: Any
    ) -> Answer:
        return await self.send("PUT", path, body, aside=aside, **options)

    async def until(
        self, path: str, accept: Callable[[Answer], bool], *, aside: Collection[str] = (), **options: Any
    ) -> Answer:
        """GET `path` from each until `accept` takes its answer, and compare these."""
        ours, consul = await self.each(lambda client: client.until(path, accept, **options))
        return same(f"GET {path}", ours, consul, aside)


def same(what: str, ours: Answer, consul: Answer, aside: Collection[str] = ()) -> Answer:
    """Our answer, if Consul's is the same; AssertionError with what differs otherwise."""
    __tracebackhide__ = True
    differ = list(differences(ours, consul, aside))
    if differ:
        raise AssertionError("\n  ".join([f"{what} differs (ours, Consul's):", *differ]))
    return ours


def differences(ours: Answer, consul: Answer, aside: Collection[str] = ()) -> Iterator[str]:
    """Where two answers differ, one line each."""
    if ours.status != consul.status:
        yield f"status: {ours.status} != {consul.status}"
    out = CARRIAGE | {name.lower() for name in aside}
    for name in sorted((ours.headers.keys() | consul.headers.keys()) - out):
        left = _plain(name, ours.headers.get(name), ours.ports)
        right = _plain(name, consul.headers.get(name), consul.ports)
        if left != right:
            yield f"{name}: {left!r} != {right!r}"
    yield from _compared("body", _content(ours), _content(consul), set(aside))


def _content(answer: Answer) -> Any:
    if answer.headers.get("content-type") == "application/json":
        try:
            return _normal(answer.json, answer.ports)
        except ValueError:
            pass
    return _plain("", answer.text, answer.ports)


def _compared(where: str, left: Any, right: Any, aside: set[str]) -> Iterator[str]:
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted((left.keys() | right.keys()) - aside):
            if key not in left or key not in right:
                yield f"{where}.{key}: {'only Consul has it' if key in right else 'only ours has it'}"
            else:
                yield from _compared(f"{where}.{key}", left[key], right[key], aside)
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for number, (one, other) in enumerate(zip(left, right, strict=True)):
            yield from _compared(f"{where}[{number}]", one, other, aside)
    elif left != right:
        yield f"{where}: {left!r} != {right!r}"


def _normal(value: Any, ports: frozenset[int], name: str = "") -> Any:
    """JSON with only the shape of what no two servers share; `name` is the key under which it stands."""
    if isinstance(value, dict):
        return {_plain("", key, ports): _normal(item, ports, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_normal(item, ports) for item in value]
    return _plain(name, value, ports)


def _plain(name: str, value: Any, ports: frozenset[int]) -> Any:
    name = name.lower()
    if name in INDEXES and str(value).isdigit():
        return "<index>" if int(value) else 0
    if name in HASHES and isinstance(value, str):
        return re.sub(r"[0-9a-f]{16}", "<hash>", value)
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        value = TIME.sub("<time>", UUID.sub("<uuid>", value))
        return re.sub(r"\d{4,5}", lambda found: "<port>" if int(found[0]) in ports else found[0], value)
    if isinstance(value, int) and value in ports:
        return "<port>"
    return value


def _escaped(name: str) -> str:
    return URL.build(path=name).raw_path.replace("/", "%2F")
