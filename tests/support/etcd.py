"""Real etcd servers on loopback, each with ports and data of its own, alone and as a cluster of three."""

import asyncio
import base64
import json
import secrets
import shutil
import ssl
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from tests.support.process import Process, free_ports, http_ready

__all__ = ["V2", "EtcdCluster", "EtcdServer", "b64", "call", "call_v2"]

V2 = "--enable-v2=true"
"""The argument by which etcd 3.4 speaks the API before version 3 too."""


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def call(url: str, body: object = None, token: str | None = None) -> Any:
    """One blocking request with the standard library: the second witness beside the code under test."""
    headers = {"Content-Type": "application/json", **({"Authorization": token} if token else {})}
    with urlopen(Request(url, data=json.dumps(body or {}).encode(), headers=headers), timeout=10) as answer:
        return json.loads(answer.read())


def call_v2(
    method: str,
    url: str,
    user: str | None,
    body: object,
    fields: dict[str, str],
    context: ssl.SSLContext | None = None,
) -> Any:
    """The like of `call` for the API before version 3."""
    headers: dict[str, str] = {}
    if user is not None:
        headers["Authorization"] = f"Basic {b64(user)}"
    data = None
    if body is not None:
        data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
    elif fields:
        data = urlencode(fields).encode()
    request = Request(url, data=data, headers=headers, method=method)
    with urlopen(request, timeout=10, context=context) as answer:
        return json.loads(answer.read() or b"null")


def _leaves(node: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if not node.get("dir"):
        yield node["key"], node["value"]
    for inner in node.get("nodes", ()):
        yield from _leaves(inner)


class EtcdServer:
    """One server. `start()` after `kill()` brings it back with its data."""

    def __init__(
        self,
        *arguments: str,
        ports: tuple[int, int] | None = None,
        name: str = "n1",
        members: str | None = None,
        scheme: str = "http",
        program: str = "etcd",
    ) -> None:
        client, peer = ports or tuple(free_ports(2))
        # What tells whether it is ready needs no certificate.
        metrics = self._metrics = free_ports(1)[0]
        self.port = client
        self.url = f"{scheme}://127.0.0.1:{client}"
        self.token: str | None = None
        self._process = Process(
            program,
            *("--name", name, "--data-dir", "{folder}/data"),
            *("--listen-client-urls", self.url, "--advertise-client-urls", self.url),
            *("--listen-peer-urls", f"http://127.0.0.1:{peer}"),
            *("--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}"),
            *("--initial-cluster", members or f"{name}=http://127.0.0.1:{peer}"),
            *("--initial-cluster-token", f"asyncsd-{peer}" if members is None else "asyncsd"),
            *("--listen-metrics-urls", f"http://127.0.0.1:{metrics}"),
            *("--log-level", "error", "--logger", "zap"),
            *arguments,
            ready=http_ready(metrics, "/health", lambda body: b'"true"' in body),
        )

    def __repr__(self) -> str:
        return f"EtcdServer({self.url}, {self._process!r})"

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        return self._process.running

    @property
    def log(self) -> str:
        return self._process.log

    def launch(self) -> None:
        """Start it, and don't wait."""
        self._process.start()

    async def ready(self) -> None:
        await self._process.ready()

    def wait_ready(self) -> None:
        self._process.wait_ready()

    async def start(self) -> None:
        """Start it, again too, and wait until it serves."""
        self.launch()
        await self.ready()

    async def renew(self) -> None:
        """Have it running and empty, whatever became of it: no keys, and no leases."""
        self.thaw()
        if not self.running:
            self.launch()
        await self.ready()
        if self.token is not None:
            await self.login()
        await self.clear()

    async def clear(self) -> None:
        """Remove all keys and leases."""
        await self.post("/v3/kv/deleterange", {"key": b64("\0"), "range_end": b64("\0")})
        for lease in await self.leases():
            await self.post("/v3/lease/revoke", {"ID": lease})

    def stop(self) -> None:
        self._process.stop()

    def kill(self) -> None:
        """End it with SIGKILL; its data stays."""
        self._process.kill()

    def terminate(self) -> None:
        self._process.terminate()

    def wipe(self) -> None:
        """Remove its data, once it was killed."""
        shutil.rmtree(self._process.folder / "data")

    def freeze(self) -> None:
        """Stop it with its connections open: it takes requests and answers none."""
        self._process.pause()

    def thaw(self) -> None:
        self._process.resume()

    async def post(self, path: str, body: object = None) -> Any:
        """The JSON of POST `path`."""
        return await asyncio.to_thread(call, self.url + path, body, self.token)

    async def protect(self, **rights: tuple[str, str, str]) -> None:
        """Switch authentication on, with users root and those of `rights`: (kind, first key, end) each.

        A user's password is its name with "-secret". From now on this object asks as root.
        """
        for user in ("root", *rights):
            await self.post("/v3/auth/user/add", {"name": user, "password": f"{user}-secret"})
            await self.post("/v3/auth/role/add", {"name": user})
            await self.post("/v3/auth/user/grant", {"user": user, "role": user})
        for role, (kind, key, end) in rights.items():
            permission = {"permType": kind, "key": b64(key), "range_end": b64(end)}
            await self.post("/v3/auth/role/grant", {"name": role, "perm": permission})
        await self.post("/v3/auth/enable")
        await self.login()

    async def login(self) -> None:
        """Ask as root, once more after a restart, which forgets all logins."""
        self.token = None
        body = {"name": "root", "password": "root-secret"}
        self.token = (await self.post("/v3/auth/authenticate", body))["token"]

    async def put(self, key: str, value: str | bytes) -> None:
        await self.post("/v3/kv/put", {"key": b64(key), "value": b64(value)})

    async def keys(self, prefix: str = "/services/") -> dict[str, bytes]:
        """All keys under a prefix, with their values."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        told = await self.post("/v3/kv/range", {"key": b64(prefix), "range_end": b64(end)})
        return {
            base64.b64decode(item["key"]).decode(): base64.b64decode(item.get("value", ""))
            for item in told.get("kvs", ())
        }

    def watchers(self) -> int:
        """How many watches stand on the server, by its own account. Blocks."""
        with urlopen(f"http://127.0.0.1:{self._metrics}/metrics", timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith("etcd_debugging_mvcc_watcher_total "):
                    return int(float(line.split()[1]))
        return 0

    async def watched(self, count: int = 1) -> None:
        """Wait until so many watches stand on the server."""
        async with asyncio.timeout(20):
            while await asyncio.to_thread(self.watchers) < count:
                pass

    async def v2(
        self, method: str, path: str, *, user: str | None = None, body: object = None, **fields: str
    ) -> Any:
        """The JSON of a request of the v2 API: of a form of `fields`, or of a `body` in JSON.

        `user` is "name:password".
        """
        return await asyncio.to_thread(call_v2, method, self.url + "/v2" + path, user, body, fields)

    async def keys_v2(self, folder: str, *, user: str | None = None) -> dict[str, str]:
        """All keys in a folder of the v2 API, with their values."""
        try:
            told = await self.v2("GET", f"/keys{folder}/?recursive=true&quorum=true", user=user)
        except HTTPError as exc:
            if exc.code != 404:
                raise
            return {}
        return dict(_leaves(told["node"]))

    async def listened(self, count: int = 1) -> None:
        """Wait until exactly so many long polls of the v2 API stand on the server, by its own account."""

        def watchers() -> int:
            with urlopen(f"http://127.0.0.1:{self._metrics}/metrics", timeout=10) as answer:
                for line in answer.read().decode().splitlines():
                    if line.startswith("etcd_debugging_store_watchers "):
                        return int(float(line.split()[1]))
            return 0

        async with asyncio.timeout(20):
            while await asyncio.to_thread(watchers) != count:
                pass

    async def leases(self) -> list[str]:
        return [item["ID"] for item in (await self.post("/v3/lease/leases")).get("leases", ())]


class EtcdCluster:
    """Three servers of one cluster."""

    def __init__(self, program: str = "etcd", *arguments: str) -> None:
        ports = [tuple(free_ports(2)) for _ in range(3)]
        members = ",".join(f"n{n}=http://127.0.0.1:{peer}" for n, (_, peer) in enumerate(ports))
        token = secrets.token_hex(4)
        self.servers = [
            EtcdServer(
                *("--initial-cluster-token", token),
                *("--heartbeat-interval", "50", "--election-timeout", "500"),
                *arguments,
                ports=(client, peer),
                name=f"n{number}",
                members=members,
                program=program,
            )
            for number, (client, peer) in enumerate(ports)
        ]
        self.urls = [server.url for server in self.servers]

    async def __aenter__(self) -> Self:
        try:
            await self.renew()
        except BaseException:
            self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def renew(self) -> None:
        """Have all running and empty."""
        for server in self.servers:
            server.thaw()
            if not server.running:
                server.launch()
        await asyncio.gather(*(server.ready() for server in self.servers))
        await self.servers[0].clear()

    def stop(self) -> None:
        for server in self.servers:
            server.stop()

    async def leader(self) -> int:
        """The number of the server that leads."""
        for number, server in enumerate(self.servers):
            told = await server.post("/v3/maintenance/status")
            if told["leader"] == told["header"]["member_id"]:
                return number
        raise AssertionError("no server leads")
