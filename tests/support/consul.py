"""Agents and clusters on loopback, each with ports and data of its own: real Consuls, and asyncsd's agent."""

import asyncio
import json
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.support.process import Process, find, free_ports, http_ready

ClientKind: TypeAlias = Literal["aio", "direct"]

__all__ = [
    "AGENTS",
    "AgentProcess",
    "ClientKind",
    "ConsulAgent",
    "ConsulCluster",
    "ConsulDatacenters",
    "EmbeddedAgent",
    "find",
]


def _has_leader(body: bytes) -> bool:
    return body.strip() not in (b"", b'""')


def _has_itself(body: bytes) -> bool:
    return "consul" in json.loads(body)


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


class AgentProcess:
    """An agent that runs as a process at `url`. `start()` after `kill()` brings it back there, empty."""

    def __init__(self, port: int, process: Process) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._process = process

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url}, {self._process!r})"

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
    def folder(self) -> Path:
        return self._process.folder

    @property
    def memory(self) -> int:
        """The bytes of memory that it holds, as Linux tells them."""
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()

    @property
    def log(self) -> str:
        return self._process.log

    async def start(self) -> None:
        """Start it, again too, and wait until it serves."""
        self._process.start()
        await self._process.ready()

    def stop(self) -> None:
        """Kill it and remove its folder."""
        self._process.stop()

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


class EmbeddedAgent(AgentProcess):
    """`async with EmbeddedAgent() as agent:` is asyncsd's own agent as a process, at `agent.url`.

    `options` are those of `asyncsd agent`.
    """

    def __init__(self, *options: str) -> None:
        (port,) = free_ports(1)
        process = Process(
            sys.executable,
            *("-m", "asyncsd", "agent", "--port", str(port), *options),
            ready=http_ready(port, "/v1/status/leader", _has_leader),
        )
        super().__init__(port, process)


class ConsulAgent(AgentProcess):
    """`async with ConsulAgent() as agent:` is a dev agent at `agent.url` that has a leader.

    `config` is merged into its configuration. A dev agent keeps its data in memory.
    """

    # A leader has its tokens, and enters itself into the catalog, a moment after it was elected.

    def __init__(self, *, binary: str = "consul", ports: list[int] | None = None, **config: Any) -> None:
        port, *others = ports or free_ports(5)
        token = config.get("acl", {}).get("tokens", {}).get("initial_management", "")
        process = Process(
            binary,
            *("agent", "-dev", "-bind", "127.0.0.1", "-config-file", "{folder}/agent.json"),
            ready=http_ready(port, "/v1/catalog/services", _has_itself, X_Consul_Token=token),
        )
        super().__init__(port, process)
        ports_config = _ports(port, *others)
        ports_config.update(config.pop("ports", {}))
        self.dns_port = ports_config["dns"]
        config = {"ports": ports_config, "disable_update_check": True, **config}
        (self.folder / "agent.json").write_text(json.dumps(config))

    async def hears_of(self, *datacenters: str) -> None:
        """Wait until it answers for each of `datacenters`."""
        async with asyncio.timeout(30):
            for datacenter in datacenters:
                while True:
                    with suppress(HTTPError):
                        await self.get(f"/v1/catalog/nodes?dc={datacenter}")
                        break


class ConsulDatacenters:
    """`async with ConsulDatacenters() as (one, other):` is a dev agent in "dc1" and one in "dc2".

    Each answers for both datacenters.
    """

    def __init__(self) -> None:
        self._ports = [free_ports(5) for _ in range(2)]
        self.agents = [
            ConsulAgent(ports=ports, datacenter=f"dc{number}", node_name=f"node-{number}")
            for number, ports in enumerate(self._ports, 1)
        ]

    async def __aenter__(self) -> tuple[ConsulAgent, ConsulAgent]:
        one, other = self.agents
        try:
            await asyncio.gather(one.start(), other.start())
            await one.put(f"/v1/agent/join/127.0.0.1:{self._ports[1][3]}?wan=1")
            for agent in self.agents:
                await agent.hears_of("dc1", "dc2")
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return one, other

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        for agent in self.agents:
            await agent.__aexit__(kind, exc, trace)


AGENTS: dict[str, Callable[[], AgentProcess]] = {"consul": ConsulAgent, "embedded": EmbeddedAgent}
"""By the names that tests have in their ids."""


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
