"""README's code, run: what it says is what happens, on a real Consul and the registries that come along."""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from asyncsd import Backend, Discovery, Registration, TTLCheck
from asyncsd.backends.consul import ConsulBackend
from asyncsd.testing import AgentThread, MemoryBackend
from tests.examples.program import Program, eventually, gone, passing, registered
from tests.support.consul import AGENTS, AgentProcess
from tests.support.process import free_ports
from tests.test_pages import ROOT, code

README = ROOT / "README.md"

real_consul = pytest.mark.server("consul")


@pytest.fixture(params=["embedded", pytest.param("consul", marks=real_consul)])
async def agent(request: pytest.FixtureRequest) -> AsyncGenerator[AgentProcess, None]:
    """What README says of Consul, on one and on asyncsd's own agent."""
    async with AGENTS[request.param]() as agent:
        yield agent


def text_for(url: str, port: int) -> str:
    """All of README's Python, for the agent at `url` and a service on `port`."""
    text = "\n".join(code(README))
    assert text.count("http://127.0.0.1:8500") == 2, "README's agent stands where it is replaced"
    return text.replace("http://127.0.0.1:8500", url).replace("port=8080", f"port={port}")


def readme(url: str = "http://127.0.0.1:8500", port: int = 8080) -> dict[str, Any]:
    """What the blocks define, put together; the first one's program isn't run."""
    names: dict[str, Any] = {"__name__": "readme"}
    text = text_for(url, port).replace("\nasyncio.run(main())\n", "\n")
    exec(compile(text, str(README), "exec"), names)
    return names


async def within(seconds: float, work: Awaitable[object]) -> None:
    async with asyncio.timeout(seconds):
        await work


@asynccontextmanager
async def running(work: Any) -> AsyncGenerator["asyncio.Task[Any]", None]:
    """`work` as a task, which is cancelled at the end of the block, and awaited."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=20.0)


@asynccontextmanager
async def users() -> AsyncGenerator[Registration, None]:
    """A service "users" that answers, and how it is registered."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="you are nobody")

    app = web.Application()
    app.add_routes([web.get("/whoami", answer), web.get("/path", answer)])
    async with TestServer(app, host="127.0.0.1") as server:
        check = TTLCheck(initial_status="passing")
        yield Registration(
            service="users", host="127.0.0.1", port=server.port or 0, tags=("v1",), check=check
        )


@pytest.fixture(params=["memory", "embedded", pytest.param("consul", marks=real_consul)])
async def discovery(request: pytest.FixtureRequest) -> AsyncGenerator[Discovery[Any], None]:
    """A registry that knows an instance of "users"."""
    async with AsyncExitStack() as stack:
        backend: Backend = MemoryBackend()
        if request.param != "memory":
            backend = ConsulBackend((await stack.enter_async_context(AGENTS[request.param]())).url)
        me = await stack.enter_async_context(users())
        sd: Discovery[Any] = await stack.enter_async_context(Discovery(backend))
        await stack.enter_async_context(sd.register(me))
        yield sd


def test_it_has_a_program_near_its_top() -> None:
    lines = README.read_text().splitlines()
    assert 100 <= len(lines) <= 150
    assert "asyncio.run(main())" in lines[:40]


async def test_the_first_block_is_a_program(agent: AgentProcess, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(next(code(README)).replace("http://127.0.0.1:8500", agent.url))
    async with Program(str(program)) as it:
        first, second = (await it.ends_well()).splitlines()
    assert re.fullmatch(r"registered as greeter-127\.0\.0\.1-8080-[0-9a-f]{8}", first)
    assert second == "calling http://127.0.0.1:8080/sayHello"
    await gone(agent, "greeter")


async def test_registering(agent: AgentProcess, capsys: pytest.CaptureFixture[str]) -> None:
    async with Discovery(ConsulBackend(agent.url)) as sd:
        serve = readme()["serve"]
        async with running(serve(sd)) as serving:
            told = ""

            def says_so() -> bool:
                nonlocal told
                told += capsys.readouterr().out
                return f"registered {agent.url}" in told

            await eventually(says_so, "it is registered, and updated")
            entries = await agent.get("/v1/health/service/greeter")
            assert [entry["Service"]["Tags"] for entry in entries] == [["v1", "canary"]]
            assert not serving.done()
        assert await registered(agent, "greeter") == {}


async def test_watching(discovery: Discovery[Any], capsys: pytest.CaptureFixture[str]) -> None:
    names = readme()
    told = ""

    def events() -> bool:
        nonlocal told
        told += capsys.readouterr().out
        return "service='users'" in told

    async with running(names["follow"](discovery)):
        await eventually(events, "an event with the instance")
    await within(10.0, names["follow_on_a_queue"](discovery))
    await within(10.0, names["once"](discovery))
    once = capsys.readouterr().out
    assert "service='users'" in once
    assert "'users': ('v1',)" in once


async def test_balancing(discovery: Discovery[Any], capsys: pytest.CaptureFixture[str]) -> None:
    async with aiohttp.ClientSession() as session:
        await within(10.0, readme()["call"](discovery, session))
    answer, picked = capsys.readouterr().out.splitlines()
    assert answer == "you are nobody"
    assert re.match(r"Instance\(.* service='users'", picked)


async def test_a_service_is_called_by_its_name(discovery: Discovery[Any]) -> None:
    await within(10.0, readme()["by_name"](discovery))


async def test_an_aiohttp_application_registers_itself(agent: AgentProcess) -> None:
    (port,) = free_ports(1)
    app = web.Application()
    async with running(readme(agent.url, port)["run"](app)):
        assert set((await passing(agent, "greeter", 1)).values()) == {port}
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/") as response,
        ):
            assert response.status == 404
    assert await registered(agent, "greeter") == {}


async def test_a_fastapi_application_registers_itself_and_has_a_balancer(agent: AgentProcess) -> None:
    async with (
        users() as me,
        Discovery(ConsulBackend(agent.url)) as sd,
        sd.register(me),
    ):
        names = readme(agent.url)
        api, Users = names["api"], names["Users"]  # noqa: N806 - a type

        @api.get("/")
        async def pick(users: Users) -> str:
            async with users.acquire() as instance:
                return str(instance.address)

        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        async with api.router.lifespan_context(api) as state:
            assert set((await passing(agent, "greeter", 1)).values()) == {8080}
            scope = {
                "type": "http",
                "method": "GET",
                "path": "/",
                "headers": [],
                "query_string": b"",
                "state": state,
            }
            await within(10.0, api(scope, receive, send))
        assert sent[1]["body"] == f'"127.0.0.1:{me.port}"'.encode()
        assert await registered(agent, "greeter") == {}


async def test_a_service_is_tested_on_the_fixture(consul_agent: AgentThread) -> None:
    await within(10.0, readme()["test_it_survives_the_registry"](consul_agent))
