"""A catalog behind a FakeAgent: nodes, instances and checks, with blocking queries."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from tests.support.fake_agent import Asked, FakeAgent

__all__ = ["FakeCatalog"]


class FakeCatalog:
    """Answers what a feed asks, and health/service. `held` counts the blocking queries of each path."""

    def __init__(self, agent: FakeAgent) -> None:
        self.index = 10
        self.nodes: dict[str, tuple[str, int]] = {}
        self.instances: dict[tuple[str, str], tuple[str, int, int]] = {}
        self.checks: dict[tuple[str, str], tuple[str, str]] = {}
        self.held: Counter[str] = Counter()
        self.most_reads = 0
        self.refused: Callable[[Asked], web.Response | None] = lambda _: None
        self.blind = False
        """Whether the lists of nodes show nothing."""
        self._reading = 0
        self._checked = 1
        self._moved = asyncio.Event()
        agent.handle = self._handle

    def node(self, name: str, address: str = "10.0.0.1") -> None:
        """Write a node."""
        self.nodes[name] = (address, self._move())

    def put(self, service: str, port: int = 80, *, node: str = "n1", id: str | None = None) -> None:
        """Write an instance."""
        self.instances[node, id or f"{service}-1"] = (service, port, self._move())

    def drop(self, service: str, *, node: str = "n1") -> None:
        del self.instances[node, f"{service}-1"]
        self._move()

    def check(self, id: str, status: str, service: str = "", *, node: str = "n1") -> None:
        """Write a check; without a service it is the node's own."""
        self.checks[node, id] = (status, service)
        self._checked = self._move()

    def lose(self) -> None:
        """Start again at a lower index, with what there is."""
        self.index = self._checked = 1
        self.instances = {key: (name, port, 1) for key, (name, port, _) in self.instances.items()}
        self._move()

    def _move(self) -> int:
        self.index += 1
        self._moved.set()
        self._moved = asyncio.Event()
        return self.index

    async def _handle(self, asked: Asked) -> web.StreamResponse:
        query = dict(asked.query)
        if (refused := self.refused(asked)) is not None:
            return refused
        if "index" in query:
            before = self._tell(asked.path)
            self.held[asked.path] += 1
            try:
                async with asyncio.timeout(_seconds(query["wait"])):
                    while self._tell(asked.path) == before and int(query["index"]) >= self._index(asked.path):
                        await self._moved.wait()
            except TimeoutError:
                pass
            finally:
                self.held[asked.path] -= 1
        else:
            self._reading += 1
            self.most_reads = max(self.most_reads, self._reading)
            await asyncio.sleep(0.005)
            self._reading -= 1
        headers = {"X-Consul-Index": str(self._index(asked.path)), "X-Consul-KnownLeader": "true"}
        return web.json_response(self._tell(asked.path), headers=headers)

    def _on(self, name: str) -> list[dict[str, Any]]:
        return [
            {"ID": id, "Service": service, "Port": port, "ModifyIndex": index}
            for (node, id), (service, port, index) in self.instances.items()
            if node == name and not self.blind
        ]

    def _index(self, path: str) -> int:
        """What a path's answer is as of: of a node's list only its own writes count, as for a wake-up.

        Of a state those of any check count.
        """
        name = unquote(path.rpartition("/")[2])
        if "health/state" in path:
            return self._checked
        if "node-services" in path:
            return max([i for (node, _), (*_, i) in self.instances.items() if node == name], default=1)
        if "health/service" in path:
            return max([i for service, _, i in self.instances.values() if service == name], default=1)
        return self.index

    def _tell(self, path: str) -> Any:
        name = unquote(path.rpartition("/")[2])
        match path.split("/")[2:4]:
            case ["catalog", "nodes"]:
                return [
                    {"Node": node, "Address": address, "ModifyIndex": index}
                    for node, (address, index) in self.nodes.items()
                ]
            case ["catalog", "node-services"]:
                return {"Node": {"Node": name}, "Services": self._on(name)}
            case ["internal", "ui"]:
                return [{"Node": node, "Services": self._on(node), "Checks": []} for node in self.nodes]
            case ["catalog", "services"]:
                return {service: [] for service, _, _ in self.instances.values()}
            case ["health", "state"]:
                return [
                    {"Node": node, "CheckID": id, "ServiceName": service, "Status": status}
                    for (node, id), (status, service) in self.checks.items()
                    if status == name
                ]
            case ["health", "service"]:
                return [
                    {
                        "Node": {"Node": node, "Address": self.nodes[node][0]},
                        "Service": {"ID": id, "Service": service, "Port": port},
                        "Checks": [
                            {"Status": status}
                            for (where, _), (status, of) in self.checks.items()
                            if where == node and of in ("", service)
                        ],
                    }
                    for (node, id), (service, port, _) in self.instances.items()
                    if service == name
                ]
        raise AssertionError(path)


def _seconds(text: str) -> float:
    number = text.rstrip("nmus")
    return float(number) / {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[text[len(number) :]]
