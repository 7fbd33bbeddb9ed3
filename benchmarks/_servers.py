"""The real servers that the benchmarks run beside, of the tests' own support."""

import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.support.consul import AgentProcess, ConsulAgent, ConsulCluster, EmbeddedAgent
from tests.support.etcd import V2, EtcdServer
from tests.support.eureka import EurekaServer
from tests.support.process import find, missing
from tests.support.zookeeper import ZooKeeper

__all__ = [
    "URLS",
    "AgentProcess",
    "ConsulAgent",
    "ConsulCluster",
    "EmbeddedAgent",
    "find",
    "missing",
    "need",
]


def need(*names: str) -> None:
    """End the program, as one that has succeeded, where a server wasn't built."""
    if absent := missing(*names):
        print(f"left out: {', '.join(absent)} isn't there (make servers)", file=sys.stderr)
        raise SystemExit(0)


@asynccontextmanager
async def _memory() -> AsyncGenerator[str, None]:
    yield "memory://"


@asynccontextmanager
async def _consul() -> AsyncGenerator[str, None]:
    async with ConsulAgent() as agent:
        yield agent.url.replace("http://", "consul://")


@asynccontextmanager
async def _embedded() -> AsyncGenerator[str, None]:
    async with EmbeddedAgent() as agent:
        yield agent.url.replace("http://", "consul://")


@asynccontextmanager
async def _etcd() -> AsyncGenerator[str, None]:
    async with EtcdServer() as server:
        yield server.url.replace("http://", "etcd://")


@asynccontextmanager
async def _etcd_v2() -> AsyncGenerator[str, None]:
    async with EtcdServer(V2, program="etcd34") as server:
        yield server.url.replace("http://", "etcd2://")


@asynccontextmanager
async def _zookeeper() -> AsyncGenerator[str, None]:
    async with ZooKeeper() as server:
        yield f"zk://{server.host}"


@asynccontextmanager
async def _eureka() -> AsyncGenerator[str, None]:
    """Polled each second, with lists of a tenth of a second: its defaults are tens of seconds."""
    async with EurekaServer() as server:
        yield f"{server.url.replace('http://', 'eureka://')}?interval=1"


URLS: dict[str, tuple[tuple[str, ...], Callable[[], AbstractAsyncContextManager[str]]]] = {
    "memory": ((), _memory),
    "Consul": (("consul",), _consul),
    "embedded agent": ((), _embedded),
    "etcd v3": (("etcd",), _etcd),
    "etcd v2": (("etcd34",), _etcd_v2),
    "ZooKeeper": (("zookeeper",), _zookeeper),
    "Eureka": (("eureka",), _eureka),
}
"""Registries by name: the servers that each needs, and what starts it and gives its URL."""
