"""The web applications, the script, and the pool: on a real agent, as processes."""

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.consul import ConsulAgent
from tests.support.process import free_ports

from .program import EXAMPLES, Program, get, gone, in_flight, passing

pytestmark = pytest.mark.server("consul")


@asynccontextmanager
async def say_hello(agent: ConsulAgent) -> AsyncGenerator["Greeters", None]:
    """An instance of "say-hello" that answers when it is told to."""
    greeters = Greeters()
    app = web.Application()
    app.router.add_get("/sayHello", greeters.answer)
    async with TestServer(app, host="127.0.0.1") as server:
        service = {"Name": "say-hello", "Address": "127.0.0.1", "Port": server.port}
        await agent.put("/v1/agent/service/register", service)
        try:
            yield greeters
        finally:
            greeters.let_go.set()
            await agent.put("/v1/agent/service/deregister/say-hello")


class Greeters:
    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.let_go = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.set()
        await self.let_go.wait()
        return web.json_response({"message": f"Hello, {request.query['name']}!"})


async def test_the_aiohttp_application_calls_another_service_by_its_name(agent: ConsulAgent) -> None:
    (port,) = free_ports(1)
    async with say_hello(agent) as greeters:
        greeters.let_go.set()
        async with Program("aiohttp_app.py", REGISTRY=agent.url, PORT=str(port)) as app:
            assert set((await passing(agent, "greeter", 1)).values()) == {port}
            assert (await get(f"http://127.0.0.1:{port}/health")) == (200, "passing")
            answer = await get(f"http://127.0.0.1:{port}/greet", name="Ada")
            assert answer == (200, {"message": "Hello, Ada!"})

            app.signal(signal.SIGTERM)
            await app.ends_well()
            await gone(agent, "greeter")


async def test_the_aiohttp_application_finishes_what_is_in_flight(agent: ConsulAgent) -> None:
    (port,) = free_ports(1)
    async with say_hello(agent) as greeters:
        async with Program("aiohttp_app.py", REGISTRY=agent.url, PORT=str(port)) as app:
            await passing(agent, "greeter", 1)
            async with in_flight(f"http://127.0.0.1:{port}/greet", name="Ada") as answer:
                await greeters.asked.wait()
                app.signal(signal.SIGTERM)
                greeters.let_go.set()
                assert await answer == (200, {"message": "Hello, Ada!"})
            await app.ends_well()
            await gone(agent, "greeter")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_the_fastapi_application_deregisters_first_then_finishes_what_is_in_flight(
    agent: ConsulAgent, number: signal.Signals
) -> None:
    (port,) = free_ports(1)
    uvicorn = ("-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", str(port), "fastapi_app:app")
    async with say_hello(agent) as greeters:
        async with Program(*uvicorn, REGISTRY=agent.url, PORT=str(port)) as app:
            assert set((await passing(agent, "greeter", 1)).values()) == {port}
            assert (await get(f"http://127.0.0.1:{port}/health")) == (200, "passing")
            async with in_flight(f"http://127.0.0.1:{port}/greet", name="Ada") as answer:
                await greeters.asked.wait()

                app.signal(number)
                await gone(agent, "greeter")
                assert not answer.done()
                assert app.running

                greeters.let_go.set()
                assert await answer == (200, {"message": "Hello, Ada!"})
            # Once it is done, uvicorn ends by a SIGTERM that it got.
            await app.ends_well(status=-number if number is signal.SIGTERM else 0)


async def test_each_worker_process_registers_itself_under_an_id_of_its_own(agent: ConsulAgent) -> None:
    (port,) = free_ports(1)
    uvicorn = ("-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", str(port), "--workers", "2")
    async with Program(*uvicorn, "fastapi_app:app", REGISTRY=agent.url, PORT=str(port)) as app:
        workers = await passing(agent, "greeter", 2)
        assert set(workers.values()) == {port}
        app.signal(signal.SIGTERM)
        await gone(agent, "greeter")
        assert await app.status() == 0


async def test_the_script_sees_itself_come_and_go(agent: ConsulAgent) -> None:
    async with Program("script.py", agent.url) as script:
        first, came, went = (await script.ends_well()).splitlines()
    id = first.removeprefix("registered as ").partition(" ")[0]
    assert first == f"registered as {id} on {agent.url}"
    assert came == "+ http://127.0.0.1:8080/ in zone a"
    assert went == "- http://127.0.0.1:8080/"
    await gone(agent, "greeter")


async def test_the_pool_spreads_its_commands_over_two_servers(agent: ConsulAgent) -> None:
    store = ("tcp_pool/server.py", "--registry", agent.url)
    async with Program(*store) as one, Program(*store) as other:
        ports = await passing(agent, "store", 2)
        async with Program("tcp_pool/client.py", "--registry", agent.url, "--calls", "300") as client:
            lines = (await client.ends_well()).splitlines()
        answered = {address: int(count) for address, count in map(str.split, lines)}
        assert set(answered) == {f"127.0.0.1:{port}" for port in ports.values()}
        assert sum(answered.values()) == 300
        assert min(answered.values()) >= 75, "the least busy is asked, so each gets a good share"
        for server in (one, other):
            server.signal(signal.SIGTERM)
            await server.ends_well()
        await gone(agent, "store")


async def test_a_server_that_is_dead_but_registered_costs_the_pool_no_call(agent: ConsulAgent) -> None:
    store = ("tcp_pool/server.py", "--registry", agent.url)
    async with Program(*store) as one, Program(*store) as other:
        ports = await passing(agent, "store", 2)
        one.signal(signal.SIGKILL)
        async with Program("tcp_pool/client.py", "--registry", agent.url, "--calls", "300") as client:
            lines = (await client.ends_well()).splitlines()
        ((address, count),) = map(str.split, lines)
        assert address in {f"127.0.0.1:{port}" for port in ports.values()}
        assert int(count) == 300
        other.signal(signal.SIGTERM)
        await other.ends_well()
