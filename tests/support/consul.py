"""Real Consul agents and clusters on loopback, each with ports and data of its own."""

import asyncio
import json
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias
from urllib.request import Request, urlopen

from tests.support.process import Process, find, free_ports, http_ready

if TYPE_CHECKING:
    from pathlib import Path

ClientKind: TypeAlias = Literal["aio", "direct"]

__all__ = ["ClientKind", "ConsulAgent", "ConsulCluster", "find"]


def _has_leader(body: bytes) -> bool:
    return body.strip() not in (b"", b'""')


def _ports(http: int, dns: int, lan: int, wan: int, server: int) -> dict[str, int]:
    """A port of its own for all that listens; the rest is switched off."""
    return {
        "http": http,
        "dns": dns,
        "serf_lan": lan,
        "serf_wan": wan,
        "server": server,
        "https": -1,
        "grpc": -1,
        "grpc_tls": -1,
    }


def call(url: str, method: str = "GET", body: object = None, token: str | None = None) -> Any:
    """One blocking request with the standard library: the second witness beside the code under test."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data=data, method=method, headers={"X-Consul-Token": token} if token else {})
    with urlopen(request, timeout=10) as answer:
        text = answer.read()
    return json.loads(text) if text.strip() else None


class ConsulAgent:
    """`async with ConsulAgent() as agent:` is a dev agent at `agent.url` that has a leader.

    `config` is merged into its configuration. `start()` after `kill()` brings it back on the same ports,
    empty, since a dev agent keeps its data in memory.
    """

    def __init__(self, *, binary: str = "consul", ports: list[int] | None = None, **config: Any) -> None:
        self.port, *others = ports or free_ports(5)
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = Process(
            binary,
            *("agent", "-dev", "-bind", "127.0.0.1", "-config-file", "{folder}/agent.json"),
            ready=http_ready(self.port, "/v1/status/leader", _has_leader),
        )
        ports_config = _ports(self.port, *others)
        ports_config.update(config.pop("ports", {}))
        config = {"ports": ports_config, "disable_update_check": True, **config}
        self.folder: Path = self._process.folder
        (self.folder / "agent.json").write_text(json.dumps(config))

    def __repr__(self) -> str:
        return f"ConsulAgent({self.url}, {self._process!r})"

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            self._process.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stop()

    @property
    def log(self) -> str:
        return self._process.log

    async def start(self) -> None:
        """Start it, again too, and wait until it has a leader."""
        self._process.start()
        await self._process.ready()

    def kill(self) -> None:
        """End it with SIGKILL, and with it all that was registered."""
        self._process.kill()

    def freeze(self) -> None:
        """Stop it with its connections open: it takes requests and answers none."""
        self._process.pause()

    def thaw(self) -> None:
        self._process.resume()

    async def get(self, path: str, *, token: str | None = None) -> Any:
        """The JSON of GET `path`."""
        return await asyncio.to_thread(call, self.url + path, "GET", None, token)

    async def put(self, path: str, body: object = None, *, token: str | None = None) -> Any:
        """The JSON of PUT `path`."""
        return await asyncio.to_thread(call, self.url + path, "PUT", body, token)


class ConsulCluster:
    """`async with ConsulCluster() as cluster:` is three servers with one leader, at `cluster.urls`.

    A member that was killed comes back by `start(number)` with its data.
    """

    def __init__(self, size: int = 3, *, binary: str = "consul", **config: Any) -> None:
        ports = [_ports(*free_ports(5)) for _ in range(size)]
        self.urls = [f"http://127.0.0.1:{port['http']}" for port in ports]
        self._members = [
            self._member(number, port, ports, binary, config) for number, port in enumerate(ports)
        ]

    @staticmethod
    def _member(
        number: int,
        ports: dict[str, int],
        everyone: list[dict[str, int]],
        binary: str,
        config: dict[str, Any],
    ) -> Process:
        member = Process(
            binary,
            *("agent", "-config-file", "{folder}/agent.json"),
            ready=http_ready(ports["http"], "/v1/status/leader", _has_leader),
            deadline=60.0,
        )
        fast = {"raft_multiplier": 1}
        settings = {
            "node_name": f"server-{number}",
            "server": True,
            "bootstrap_expect": len(everyone),
            "bind_addr": "127.0.0.1",
            "data_dir": str(member.folder / "data"),
            "ports": ports,
            "performance": fast,
            "disable_update_check": True,
            "retry_join": [f"127.0.0.1:{one['serf_lan']}" for one in everyone if one is not ports],
            "retry_interval": "1s",
            **config,
        }
        (member.folder / "agent.json").write_text(json.dumps(settings))
        return member

    def __repr__(self) -> str:
        return f"ConsulCluster({self._members!r})"

    async def __aenter__(self) -> Self:
        try:
            for member in self._members:
                member.start()
            await asyncio.gather(*(member.ready() for member in self._members))
        except BaseException:
            self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        for member in self._members:
            member.stop()

    async def leader(self) -> int:
        """The number of the member that leads, as the first that runs and knows tells it."""
        for number, member in enumerate(self._members):
            if not member.running:
                continue
            peers = await asyncio.to_thread(call, f"{self.urls[number]}/v1/operator/raft/configuration")
            for server in peers["Servers"]:
                if server["Leader"]:
                    return int(server["Node"].removeprefix("server-"))
        raise AssertionError("no member knows of a leader")

    def kill(self, number: int) -> None:
        """End a member with SIGKILL."""
        self._members[number].kill()

    def freeze(self, number: int) -> None:
        self._members[number].pause()

    def thaw(self, number: int) -> None:
        self._members[number].resume()

    async def start(self, number: int) -> None:
        """Start a member again with its data, and wait until it knows a leader."""
        self._members[number].start()
        await self._members[number].ready()
