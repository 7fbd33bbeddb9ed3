"""A service written with go-kit, whose registrar and instancer for ZooKeeper are go-kit's own."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from tests.support.process import Process
from tests.support.zookeeper import ZooKeeper
from tests.zookeeper.watching import event, patient, registered, watched

pytestmark = pytest.mark.server("zookeeper", "gokit-zk")


@asynccontextmanager
async def gokit(server: ZooKeeper, data: str) -> AsyncGenerator[Process, None]:
    """The program, registered and watching."""
    process = Process(
        "gokit-zk", "-zookeeper", server.host, "-data", data, ready=lambda: '"instances"' in process.log
    )
    process.start()
    try:
        await process.ready()
        yield process
    finally:
        process.stop()


async def hears(process: Process, holds: str) -> list[str]:
    """What it goes by, once something in it holds this text."""
    async with asyncio.timeout(20):
        while True:
            lines = [json.loads(line) for line in process.log.splitlines() if line.startswith("{")]
            if any(holds in one for one in lines[-1]["instances"] or ()):
                return [str(one) for one in lines[-1]["instances"]]
            await asyncio.sleep(0.02)


async def test_it_is_seen_and_gone_when_it_ends(server: ZooKeeper) -> None:
    async with patient(server.host) as backend, watched(backend) as events:
        async with gokit(server, "10.0.0.1:8080") as one, gokit(server, "http://10.0.0.2:8080"):
            found = await event(events, lambda e: len(e.snapshot or ()) == 2)
            assert {(i.address, i.scheme) for i in found.snapshot or ()} == {
                ("10.0.0.1:8080", None),
                ("10.0.0.2:8080", "http"),
            }
            assert (await backend.fetch_names(None)).services == {"greeter": ()}
            await asyncio.to_thread(one.terminate)
            await event(events, lambda e: len(e.snapshot or ()) == 1)


async def test_both_stand_under_one_service(server: ZooKeeper) -> None:
    async with patient(server.host) as backend, watched(backend) as events:
        async with gokit(server, "10.0.0.1:8080") as theirs, registered(backend):
            found = await event(events, lambda e: len(e.snapshot or ()) == 2)
            assert sorted(i.address for i in found.snapshot or ()) == ["10.0.0.1:8080", "127.0.0.1:8080"]
            [ours] = [one for one in await hears(theirs, '"port":8080') if one.startswith("{")]
            assert json.loads(ours)["host"] == "127.0.0.1", "it hears of ours as the JSON in the node"
