"""A real Spring program and asyncsd find and call each other."""

import aiohttp
import pytest
from aiohttp import web

from asyncsd import Registration, TTLCheck
from asyncsd.backends.eureka import EurekaBackend
from tests.eureka.running import statuses
from tests.support.eureka import EurekaServer, SpringProgram
from tests.support.process import free_ports
from tests.support.running import fetched, running, until

pytestmark = pytest.mark.server("eureka")


async def hello(_: web.Request) -> web.Response:
    return web.Response(text="hello from asyncsd")


async def test_a_spring_program_and_asyncsd_call_each_other(
    server: EurekaServer, backend: EurekaBackend, service: str
) -> None:
    app = web.Application()
    app.router.add_get("/hello", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    [port] = free_ports(1)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    me = Registration(
        service=service,
        host="127.0.0.1",
        port=port,
        id="odd/id",
        tags=("v1",),
        meta={"zone": "a"},
        weight=3,
        check=TTLCheck(ttl=30.0),
    )
    try:
        async with SpringProgram(server.url) as spring, running(backend, me) as registrar:
            await registrar.ready()

            async def called() -> bool:
                return await spring.get(f"/call/{service}") == (200, b"hello from asyncsd")

            await until(called)
            _, [seen] = await spring.get(f"/instances/{service}")
            assert (seen["uri"], seen["secure"]) == (f"http://127.0.0.1:{port}", False)
            assert {"zone": "a", "weight": "3", "tags": "v1"}.items() <= seen["metadata"].items()

            [instance] = (await fetched(backend, "spring", statuses("passing"))).instances
            assert (instance.host, instance.port) == ("127.0.0.1", spring.port)
            assert (instance.tags, instance.weight, instance.zone) == (("v1", "blue"), 7, "a")
            assert instance.meta["management.port"] == "9001"
            async with aiohttp.ClientSession() as session, session.get(instance.url("/hello")) as answer:
                assert await answer.text() == "hello from Spring"
    finally:
        await runner.cleanup()
