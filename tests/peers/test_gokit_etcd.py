"""A service written with go-kit, and one with asyncsd, that find each other in etcd."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from asyncsd import Health, Registration, TTLCheck
from asyncsd.backends.etcd import EtcdBackend
from tests.e2e.support import eventually
from tests.support.etcd import EtcdServer
from tests.support.process import Process
from tests.support.running import fetched

pytestmark = pytest.mark.server("gokit-etcd")


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.server(name)) for name in ("etcd", "etcd34")])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[EtcdServer]:
    async with EtcdServer(program=request.param) as server:
        yield server


async def test_each_hears_of_the_other(server: EtcdServer) -> None:
    me = Registration(service="greeter", host="10.0.0.8", port=80, check=TTLCheck(ttl=60.0))
    process = Process("gokit-etcd", "-etcd", server.url, ready=lambda: '"instances"' in process.log)

    def heard() -> list[str]:
        lines = [json.loads(line) for line in process.log.splitlines() if line.startswith("{")]
        return list(lines[-1]["instances"] or ())

    try:
        async with EtcdBackend(server.url) as backend:
            process.start()
            await process.ready()
            [theirs] = (await fetched(backend, "greeter", bool)).instances
            assert (theirs.id, theirs.status, str(theirs.url())) == (
                "gokit",
                "passing",
                "http://10.0.0.7:8080/",
            )

            lease = await backend.register(me.record(id="ours", host="10.0.0.8"))
            await backend.renew(lease, Health("passing"))
            await eventually(lambda: len(heard()) == 2 and "critical" not in "".join(heard()))
            # It hands out values as they stand: a bare address, and our JSON.
            [ours] = [json.loads(value) for value in heard() if value != "http://10.0.0.7:8080"]
            assert (ours["host"], ours["port"]) == ("10.0.0.8", 80)
            await backend.deregister(lease)
            await eventually(lambda: heard() == ["http://10.0.0.7:8080"])

            await asyncio.to_thread(process.terminate)
            await fetched(backend, "greeter", lambda found: not found)

            process.start()
            await fetched(backend, "greeter", bool)
            process.kill()
            await fetched(backend, "greeter", lambda found: not found)
    finally:
        process.stop()
