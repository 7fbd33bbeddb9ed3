"""A service written with go-kit: its registrar and instancer, which don't know what agent they have."""

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.e2e.support import eventually
from tests.support.consul import AgentProcess, call
from tests.support.process import Process

pytestmark = pytest.mark.server("gokit")

SERVICE = "greeter"


class GoKit:
    """The program, from its output: where it listens, and what it hears of its service."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._process.log.splitlines() if line.startswith("{")]

    @property
    def address(self) -> str:
        return str(self.lines[0]["listening"])

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events of its instancer: the instances, or the error."""
        return [line for line in self.lines if "listening" not in line]

    async def hears(self, *instances: str) -> None:
        """Wait until these are what it goes by."""
        await self.until(lambda event: event.get("error") is None and event["instances"] == sorted(instances))

    async def until(self, holds: Callable[[dict[str, Any]], object]) -> None:
        await eventually(lambda: self.events and holds(self.events[-1]))

    async def tell(self, what: str) -> None:
        await asyncio.to_thread(call, f"http://{self.address}/{what}", "POST")

    async def terminate(self) -> None:
        await asyncio.to_thread(self._process.terminate)

    def kill(self) -> None:
        self._process.kill()


@asynccontextmanager
async def gokit(agent: AgentProcess, id: str, *, check: str = "http") -> AsyncGenerator[GoKit, None]:
    process = Process(
        "gokit",
        *("-consul", f"127.0.0.1:{agent.port}", "-service", SERVICE, "-id", id, "-check", check),
        ready=lambda: '"listening"' in process.log,
    )
    process.start()
    try:
        await process.ready()
        yield GoKit(process)
    finally:
        process.stop()


async def status(agent: AgentProcess, id: str) -> str:
    """What the agent says of an instance's check, "" when it has none."""
    checks = await agent.get("/v1/agent/checks")
    return str(checks.get(f"service:{id}", {}).get("Status", ""))


@pytest.mark.parametrize("check", ["http", "ttl"])
async def test_it_is_seen_turns_critical_recovers_and_goes(agent: AgentProcess, check: str) -> None:
    async with gokit(agent, "one", check=check) as one, gokit(agent, "two", check=check) as two:
        await one.hears(one.address, two.address)
        await two.hears(one.address, two.address)

        await two.tell("fail")
        await one.hears(one.address)
        assert await status(agent, "two") == "critical"
        await two.tell("heal")
        await one.hears(one.address, two.address)

        await two.terminate()
        await one.hears(one.address)
        assert list(await agent.get("/v1/agent/services")) == ["one"]
        assert not [event for event in one.events if event.get("error")]


async def test_one_that_dies_without_a_word_turns_critical(agent: AgentProcess) -> None:
    async with gokit(agent, "http", check="http") as one, gokit(agent, "ttl", check="ttl") as two:
        async with gokit(agent, "dies", check="http") as third:
            await one.hears(one.address, two.address, third.address)
            third.kill()
            await one.hears(one.address, two.address)
        two.kill()
        await one.hears(one.address)
        assert await status(agent, "ttl") == "critical"


async def test_all_that_was_registered_is_as_the_program_said(agent: AgentProcess) -> None:
    async with gokit(agent, "one") as one:
        await one.hears(one.address)
        (entry,) = await agent.get(f"/v1/health/service/{SERVICE}")
        service, port = entry["Service"], int(one.address.rpartition(":")[2])
        assert (service["Address"], service["Port"]) == ("127.0.0.1", port)
        assert (service["Tags"], service["Meta"]) == (["go-kit", "v1"], {"zone": "a"})
        (check,) = [check for check in entry["Checks"] if check["ServiceID"]]
        assert (check["CheckID"], check["Status"], check["Type"]) == ("service:one", "passing", "http")
        assert check["Output"] == f"HTTP GET http://{one.address}/health: 200 OK Output: "


async def test_an_agent_that_dies_and_comes_back_empty_is_registered_with_again(agent: AgentProcess) -> None:
    async with gokit(agent, "one") as one:
        await one.hears(one.address)
        agent.kill()
        await one.until(lambda event: event.get("error"))
        await agent.start()
        await one.tell("register")
        before = len(one.events)
        changes = itertools.count()

        async def is_heard_again() -> bool:
            # Its instancer still asks for what is newer than the index of the agent's last life.
            body = {"Name": SERVICE, "ID": "other", "Meta": {"change": str(next(changes))}}
            await agent.put("/v1/agent/service/register", body)
            return any(event["instances"] == [one.address] for event in one.events[before:])

        await eventually(is_heard_again, within=30.0)
