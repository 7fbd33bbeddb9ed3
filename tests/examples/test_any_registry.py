"""The same program over every registry, by its URL alone."""

import asyncio
import signal
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from asyncsd import Discovery
from asyncsd.agent import Agent
from tests.support.consul import ConsulAgent
from tests.support.etcd import V2, EtcdServer
from tests.support.eureka import shared_server
from tests.support.process import free_ports
from tests.support.zookeeper import ZooKeeper

from .program import Program, eventually


@dataclass
class Registry:
    """Where it is; of one for reading only, the ports that it lists, and how to take the last out."""

    url: str
    ports: str = ""
    lose: Callable[[], Awaitable[None]] | None = None


async def in_memory() -> AsyncGenerator[Registry, None]:
    yield Registry("memory://")


async def embedded_agent() -> AsyncGenerator[Registry, None]:
    async with Agent() as agent:
        yield Registry(agent.url.replace("http://", "consul://"))


async def consul() -> AsyncGenerator[Registry, None]:
    async with ConsulAgent() as agent:
        yield Registry(agent.url.replace("http://", "consul://"))


async def consul_directly() -> AsyncGenerator[Registry, None]:
    async with ConsulAgent() as agent:
        yield Registry(agent.url.replace("http://", "consul+direct://"))


async def etcd() -> AsyncGenerator[Registry, None]:
    async with EtcdServer() as server:
        yield Registry(server.url.replace("http://", "etcd://"))


async def etcd_v2() -> AsyncGenerator[Registry, None]:
    async with EtcdServer(V2, program="etcd34") as server:
        yield Registry(server.url.replace("http://", "etcd2://"))


async def zookeeper() -> AsyncGenerator[Registry, None]:
    async with ZooKeeper() as server:
        yield Registry(f"zk://{server.host}")


async def eureka() -> AsyncGenerator[Registry, None]:
    server = shared_server()
    await server.ready()
    yield Registry(f"{server.url.replace('http://', 'eureka://')}?interval=0.2")


async def static() -> AsyncGenerator[Registry, None]:
    """A file, which is written anew as an editor does: another one is put in its place."""
    with tempfile.TemporaryDirectory(prefix="asyncsd-static-") as folder:
        file = Path(folder) / "services.toml"
        ports = free_ports(3)

        def write(ports: list[int]) -> None:
            new = file.with_suffix(".new")
            new.write_text(f"[services]\ngreeter = {[f'127.0.0.1:{port}' for port in ports]}\n")
            new.replace(file)

        async def lose() -> None:
            write(ports[:-1])

        write(ports)
        yield Registry(f"static://{file}?interval=0.1", ports=",".join(map(str, ports)), lose=lose)


async def dns() -> AsyncGenerator[Registry, None]:
    """Consul's: its records change while it runs."""
    async with ConsulAgent() as agent:
        ports = free_ports(3)
        for port in ports:
            body = {"ID": f"g{port}", "Name": "greeter", "Address": "127.0.0.1", "Port": port}
            await agent.put("/v1/agent/service/register", body)

        async def lose() -> None:
            await agent.put(f"/v1/agent/service/deregister/g{ports[-1]}")

        url = f"dns://127.0.0.1:{agent.dns_port}/service.consul"
        yield Registry(url, ports=",".join(map(str, ports)), lose=lose)


REGISTRIES = [
    (in_memory, []),
    (embedded_agent, []),
    (consul, ["consul"]),
    (consul_directly, ["consul"]),
    (dns, ["consul"]),
    (etcd, ["etcd"]),
    (etcd_v2, ["etcd34"]),
    (eureka, ["eureka"]),
    (static, []),
    (zookeeper, ["zookeeper"]),
]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(
            asynccontextmanager(make), marks=[pytest.mark.server(name) for name in names], id=make.__name__
        )
        for make, names in REGISTRIES
    ],
)
async def test_it_registers_watches_calls_and_loses_an_instance(
    make: Callable[[], AbstractAsyncContextManager[Registry]],
) -> None:
    async with make() as registry:
        options = ["--ports", registry.ports] if registry.ports else []
        async with Program("any_registry.py", registry.url, *options) as program:
            if registry.lose is not None:
                await eventually(lambda: "one is lost" in program.output, "the loss", within=60.0)
                await registry.lose()
            output = await program.ends_well(within=90.0)
    lines = output.splitlines()
    assert lines[0] == f"{'listening' if registry.ports else 'registered'}: 3 instances"
    assert lines[1].count("10 times") == 3
    assert lines[2] == "one is lost"
    assert lines[3].count("15 times") == 2  # of 30 calls: none has failed
    assert lines[4] == "the registry lists 2"
    assert lines[5] == lines[3]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://127.0.0.1", "a registry's URL starts with one of consul://"),
        ("etcd://127.0.0.1?password=x", "use password_file"),
        ("etcd://127.0.0.1:1", "can't connect"),
    ],
)
async def test_a_mistake_is_one_line(url: str, says: str) -> None:
    async with Program("any_registry.py", url) as program:
        await program.ends_well(status=1)
        assert says in program.errors.splitlines()[-1]


async def test_it_is_interrupted_without_a_complaint() -> None:
    async with Agent() as agent:
        url = agent.url.replace("http://", "consul://")
        async with Program("any_registry.py", url) as program:
            await eventually(lambda: "registered" in program.output, "the registrations")
            program.signal(signal.SIGINT)
            await program.ends_well(status=130)
        async with asyncio.timeout(10), Discovery.from_url(url) as sd:
            assert not await sd.instances("greeter")
