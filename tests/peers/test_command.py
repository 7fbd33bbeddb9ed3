"""The `consul` command, with our agent's address and with a real agent's: it ends and prints the same."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.support import eventually
from tests.support.consul import AgentProcess, ConsulAgent, EmbeddedAgent
from tests.support.process import Process, find

pytestmark = pytest.mark.server("consul")

NODE = "parity"

# What no two agents share: their ids, whole and cut, ports, indexes; and ours says what it is in its version.
OWN = (
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "<uuid>"),
    (re.compile(rf"^({NODE} +)[0-9a-f]{{8}}\b", re.MULTILINE), r"\1<id>"),
    (re.compile(r"\+asyncsd\b"), ""),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:<port>"),
    (re.compile(r"port=\d+"), "port=<port>"),
    (re.compile(r'"(Create|Modify)Index": [1-9]\d*'), r'"\1Index": <index>'),
)

WEB = {
    "service": {
        "id": "web-1",
        "name": "web",
        "port": 80,
        "address": "10.0.0.1",
        "tags": ["v1"],
        "meta": {"zone": "a"},
        "check": {"ttl": "10m", "status": "passing"},
    }
}

TWO = """
services {
  name = "api"
  port = 8080
  tags = ["b"]
  checks = [{ name = "alive", ttl = "10m", status = "warning" }, { name = "well", ttl = "10m" }]
}
services {
  name = "db"
  port = 5432
  weights { passing = 5, warning = 2 }
}
"""


class Said(NamedTuple):
    """What a run of the command came to."""

    code: int
    output: str
    errors: str


def plain(text: str) -> str:
    for pattern, name in OWN:
        text = pattern.sub(name, text)
    # Columns are as wide as what stands in them.
    return "\n".join(re.sub(r"  +", "  ", line).rstrip() for line in text.splitlines())


class Commands:
    """Runs the command on both agents, each time."""

    def __init__(self, ours: AgentProcess, consul: AgentProcess, folder: Path) -> None:
        self.ours = ours
        self.consul = consul
        self._folder = folder

    async def __call__(self, *arguments: str) -> Said:
        """What it says of our agent; AssertionError if it says something else of the real one."""
        __tracebackhide__ = True
        ours, consul = await asyncio.gather(
            self.run(self.ours, *arguments), self.run(self.consul, *arguments)
        )
        assert ours == consul, f"consul {' '.join(arguments)}, ours and the real one's"
        return ours

    async def run(self, agent: AgentProcess, *arguments: str) -> Said:
        """What it says of one agent, without what is that agent's own."""
        command = await asyncio.create_subprocess_exec(
            *(str(find("consul")), *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self._folder,
            env={"CONSUL_HTTP_ADDR": agent.url},
        )
        output, errors = await command.communicate()
        return Said(command.returncode or 0, plain(output.decode()), plain(errors.decode()))

    def file(self, name: str, content: str) -> str:
        (self._folder / name).write_text(content)
        return name


@pytest.fixture
async def consul(tmp_path: Path) -> AsyncIterator[Commands]:
    async with EmbeddedAgent("--node", NODE) as ours, ConsulAgent(node_name=NODE) as real:
        await eventually(lambda: told(real))
        yield Commands(ours, real, tmp_path)


async def told(agent: AgentProcess) -> bool:
    """Whether the catalog has all of the agent's node: a real one's comes late, and in two parts."""
    return any(node["TaggedAddresses"] for node in await agent.get("/v1/catalog/nodes"))


@pytest.fixture
async def filled(consul: Commands) -> Commands:
    """With three services."""
    await consul("services", "register", consul.file("web.json", json.dumps(WEB)))
    await consul("services", "register", consul.file("two.hcl", TWO))
    for agent in (consul.ours, consul.consul):
        await eventually(lambda agent=agent: listed(agent, 4))
    return consul


async def listed(agent: AgentProcess, count: int) -> bool:
    return len(await agent.get("/v1/catalog/services")) == count


async def test_it_finds_the_agent_itself(consul: Commands) -> None:
    assert NODE in (await consul("catalog", "nodes")).output
    assert NODE in (await consul("catalog", "nodes", "-detailed")).output
    assert "dc1" in (await consul("catalog", "datacenters")).output
    assert "alive" in (await consul("members")).output
    assert "role=consul" in (await consul("members", "-detailed")).output


async def test_services_from_files_and_flags_come_and_go(filled: Commands) -> None:
    consul = filled
    await consul("services", "register", "-name=cache", "-port=11211", "-tag=x", "-meta=a=b")
    assert (await consul("catalog", "services")).output.split() == ["api", "cache", "consul", "db", "web"]
    await consul("catalog", "services", "-tags")
    await consul("catalog", "services", f"-node={NODE}")
    assert NODE in (await consul("catalog", "nodes", "-service=web")).output
    assert "No nodes match" in (await consul("catalog", "nodes", "-service=nothing")).errors
    assert (await consul("services", "deregister", "web.json")).code == 0
    assert (await consul("services", "deregister", "-id=cache")).code == 0
    assert 'Unknown service ID "cache"' in (await consul("services", "deregister", "-id=cache")).errors
    assert (await consul("services", "deregister", "two.hcl")).code == 0
    assert (await consul("catalog", "services")).output.split() == ["consul"]


async def test_a_watch_shows_what_there_is(filled: Commands) -> None:
    for what in (
        ("-type=services",),
        ("-type=nodes",),
        ("-type=service", "-service=web"),
        ("-type=service", "-service=api", "-passingonly=true"),
        ("-type=service", "-service=web", "-tag=v2"),
        ("-type=checks",),
        ("-type=checks", "-service=api"),
        ("-type=checks", "-state=warning"),
    ):
        said = await filled("watch", *what)
        assert said.code == 0
        assert said.output.strip()


async def test_a_watch_calls_its_handler_with_each_change(consul: Commands) -> None:
    def numbers(agent: AgentProcess) -> list[int]:
        return [len(json.loads(line)) for line in watches[agent].log.splitlines() if line]

    async def both_have(*told: int) -> None:
        for agent in watches:
            await eventually(lambda agent=agent: numbers(agent) == list(told))

    watches: dict[AgentProcess, Process] = {}
    with ExitStack() as stack:
        for agent in (consul.ours, consul.consul):
            watches[agent] = stack.enter_context(handled(agent, "-type=service", "-service=web"))
        await both_have(0)
        await consul("services", "register", "-name=web", "-id=1", "-port=80")
        await both_have(0, 1)
        await consul("services", "register", "-name=other", "-port=81")
        await consul("services", "register", "-name=web", "-id=2", "-port=82")
        await both_have(0, 1, 2)
        await consul("services", "deregister", "-id=1")
        await both_have(0, 1, 2, 1)


def handled(agent: AgentProcess, *what: str) -> Process:
    """A watch that writes a line for each call of its handler."""
    return Process(
        *("consul", "watch", *what, "cat; echo"),
        ready=lambda: True,
        environment={"CONSUL_HTTP_ADDR": agent.url},
    )


async def test_maintenance_of_the_node_and_of_a_service(filled: Commands) -> None:
    consul = filled
    assert (await consul("maint")).output == ""
    assert (await consul("maint", "-enable", "-reason", "mending it")).code == 0
    assert "Reason: mending it" in (await consul("maint")).output
    await consul("maint", "-disable")
    assert (await consul("maint", "-enable", "-service=web-1", "-reason", "one")).code == 0
    assert "ID:" in (await consul("maint")).output
    await consul("maint", "-disable", "-service=web-1")
    assert (await consul("maint")).output == ""
    assert (await consul("maint", "-enable", "-service=nothing")).code == 1


async def test_what_our_agent_leaves_out_fails_with_its_words(consul: Commands) -> None:
    for arguments in (("kv", "put", "x", "y"), ("event", "-name=x"), ("operator", "raft", "list-peers")):
        said = await consul.run(consul.ours, *arguments)
        assert said.code == 1
        assert "404" in said.errors
