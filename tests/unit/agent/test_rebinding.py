"""A web page doesn't reach an agent on loopback by a name of its own; programs do by every name of theirs."""

import aiohttp
import pytest

from asyncsd.agent import Agent

FOREIGN = ["evil.com", "evil.com:8500", "EVIL.com.", "127.0.0.1.nip.io", "localhost.evil.com:80"]
OWN = [
    "127.0.0.1:8500",
    "10.0.0.1",
    "[::1]:8500",
    "localhost",
    "LocalHost.:8500",
    "app.localhost:1",
    "laptop",
    "laptop.local",
    "host.docker.internal:8500",
    "consul.service.consul",
    "",
]


async def status(agent: Agent, host: str, path: str = "/v1/agent/self") -> int:
    async with aiohttp.request("GET", agent.url + path, headers={"Host": host}) as answer:
        return answer.status


@pytest.mark.parametrize("host", FOREIGN)
async def test_a_name_that_somebody_may_own_is_refused_with_the_remedy(host: str) -> None:
    async with Agent() as agent:
        for path in ("/v1/agent/self", "/v1/agent/service/register", "/ui/", "/ui/events", "/nothing"):
            assert await status(agent, host, path) == 403
        async with aiohttp.request("GET", agent.url, headers={"Host": host}) as answer:
            assert "localhost" in await answer.text()


async def test_addresses_and_names_that_nobody_can_own_are_taken() -> None:
    async with Agent() as agent:
        assert [await status(agent, host) for host in OWN] == [200] * len(OWN)


async def test_an_agent_for_others_or_with_a_token_is_called_by_any_name() -> None:
    async with Agent(host="0.0.0.0") as agent:
        assert await status(agent, "consul.example.com") == 200
    async with Agent(token="secret") as agent:
        assert await status(agent, "consul.example.com", "/v1/status/leader") == 200
