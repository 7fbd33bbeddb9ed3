"""Every registry that is found here, started for a benchmark."""

import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from _servers import V2, ConsulAgent, EmbeddedAgent, EtcdServer, EurekaServer, ZooKeeper, missing


class Place(NamedTuple):
    """Where a registry is: for Discovery.from_url, for a loop by hand, and for a writer."""

    url: str
    bare: str
    writer: str


@asynccontextmanager
async def _consul() -> AsyncGenerator[Place, None]:
    async with ConsulAgent(limits={"http_max_conns_per_client": 500}) as agent:
        yield Place(agent.url.replace("http:", "consul:"), agent.url, agent.url)


@asynccontextmanager
async def _embedded() -> AsyncGenerator[Place, None]:
    async with EmbeddedAgent() as agent:
        yield Place(agent.url.replace("http:", "consul:"), agent.url, agent.url)


@asynccontextmanager
async def _etcd() -> AsyncGenerator[Place, None]:
    async with EtcdServer() as server:
        yield Place(server.url.replace("http:", "etcd:"), server.url, server.url)


@asynccontextmanager
async def _etcd2() -> AsyncGenerator[Place, None]:
    async with EtcdServer(V2, program="etcd34") as server:
        yield Place(server.url.replace("http:", "etcd2:"), server.url, server.url)


@asynccontextmanager
async def _zookeeper() -> AsyncGenerator[Place, None]:
    async with ZooKeeper() as server:
        yield Place(f"zk://{server.host}", server.host, server.host)


@asynccontextmanager
async def _eureka() -> AsyncGenerator[Place, None]:
    """Polled each second, with lists of a tenth of a second: its defaults are tens of seconds."""
    async with EurekaServer() as server:
        here = server.url.removesuffix("/eureka")
        yield Place(f"{server.url.replace('http:', 'eureka:')}?interval=1", here, here)


@asynccontextmanager
async def _dns() -> AsyncGenerator[Place, None]:
    """Consul's, whose answers hold for 0 s: they are asked for each second."""
    async with ConsulAgent() as agent:
        server = f"127.0.0.1:{agent.dns_port}"
        yield Place(f"dns://{server}/service.consul", server, agent.url)


@asynccontextmanager
async def _static() -> AsyncGenerator[Place, None]:
    """Looked at each second."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "services.toml")
        path.write_text("[services]\n")  # noqa: ASYNC240 - nothing else runs yet
        yield Place(f"static://{path}", str(path), str(path))


_SERVERS: dict[str, tuple[tuple[str, ...], Callable[[], AbstractAsyncContextManager[Place]]]] = {
    "Consul": (("consul",), _consul),
    "embedded agent": ((), _embedded),
    "etcd v3": (("etcd",), _etcd),
    "etcd v2": (("etcd34",), _etcd2),
    "ZooKeeper": (("zookeeper",), _zookeeper),
    "Eureka": (("eureka",), _eureka),
    "DNS": (("consul",), _dns),
    "static file": ((), _static),
}

PUSHING = ("Consul", "embedded agent", "etcd v3", "etcd v2", "ZooKeeper")
POLLED = ("Eureka", "DNS", "static file")


def here(*names: str) -> dict[str, Callable[[], AbstractAsyncContextManager[Place]]]:
    """Those of the registries whose servers were built; a line on stderr for each other."""
    found: dict[str, Callable[[], AbstractAsyncContextManager[Place]]] = {}
    for name in names:
        needed, start = _SERVERS[name]
        if absent := missing(*needed):
            print(f"left out: {name}, since {', '.join(absent)} isn't there (make servers)", file=sys.stderr)
        else:
            found[name] = start
    return found
