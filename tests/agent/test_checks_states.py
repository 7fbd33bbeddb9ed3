"""How checks change their state: the same on our agent and on a real Consul."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from tests.agent.parity import PATIENCE, Answer, Both, Client
from tests.support.fake_agent import Asked, FakeAgent

pytestmark = pytest.mark.server("consul")

CHECKS = "/v1/agent/checks"


def ttl(name: str, seconds: str = "60s", **more: Any) -> dict[str, Any]:
    return {"Name": name, "TTL": seconds, **more}


async def register(both: Both, *checks: dict[str, Any]) -> None:
    for check in checks:
        await both.put("/v1/agent/check/register", check)


async def register_alias(both: Both, name: str, service: str) -> None:
    """Register an alias, until it has said something.

    A Consul enters a check after it has started it, and drops what an alias has said before that. The alias
    says it again after a minute, or when it is registered again.
    """
    check = {"Name": name, "ServiceID": "aliases", "AliasService": service}

    async def registered(client: Client) -> Answer:
        while True:
            answer = await client.put("/v1/agent/check/register", check)
            for _ in range(50):
                if _states(await client.get(CHECKS))[name][1]:
                    return answer
                await asyncio.sleep(0.02)

    async with asyncio.timeout(PATIENCE):
        await both.each(registered)


async def states(both: Both) -> dict[str, tuple[str, str]]:
    """Status and output of all checks; equal on both."""
    return _states(await both.get(CHECKS))


def _states(answer: Answer) -> dict[str, tuple[str, str]]:
    return {name: (check["Status"], check["Output"]) for name, check in answer.json.items()}


async def until(both: Both, **statuses: str) -> dict[str, tuple[str, str]]:
    """Wait until these checks have these statuses, on both."""

    def reached(answer: Answer) -> bool:
        return all(answer.json[name]["Status"] == status for name, status in statuses.items())

    return _states(await both.until(CHECKS, reached))


async def test_ttl_expires_to_critical_with_what_was_said_last(both: Both) -> None:
    await register(both, ttl("silent", "3s", Status="passing"), ttl("spoke", "1s"), ttl("slow"))
    await both.put("/v1/agent/check/pass/spoke?note=all%20fine")
    await both.put("/v1/agent/check/warn/slow?note=so%20so")
    said = await until(both, silent="critical", spoke="critical")
    assert said == {
        "silent": ("critical", "TTL expired"),
        "spoke": ("critical", "TTL expired (last output before timeout follows): all fine"),
        "slow": ("warning", "so so"),
    }
    await both.put("/v1/agent/check/update/silent", {"Status": "warning", "Output": "back"})
    assert (await states(both))["silent"] == ("warning", "back")
    await until(both, silent="critical")


async def test_ttl_output_is_cut(both: Both) -> None:
    await register(both, ttl("big"), ttl("small", OutputMaxSize=10), ttl("over", OutputMaxSize=9000))
    for name in ("big", "small", "over"):
        body = {"Status": "passing", "Output": "0123456789" * 500}
        await both.put(f"/v1/agent/check/update/{name}", body)
    said = await states(both)
    assert said["small"] == ("passing", "0123456789 ... (captured 10 of 5000 bytes)")
    assert said["big"] == said["over"]
    await both.put("/v1/agent/check/pass/small?note=%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9")
    await states(both)


async def test_a_check_registered_anew_keeps_its_state_and_begins_a_new_ttl(both: Both) -> None:
    await register(both, ttl("beat", "30s"))
    await both.put("/v1/agent/check/pass/beat?note=old")
    await register(both, ttl("beat", "60s"))
    assert (await states(both))["beat"] == ("passing", "old")
    await register(both, ttl("beat", "1s"))
    assert (await until(both, beat="critical"))["beat"] == ("critical", "TTL expired")


async def test_nothing_can_be_said_of_a_check_that_asks_by_itself(both: Both) -> None:
    await register(both, {"Name": "web", "TCP": "127.0.0.1:1", "Interval": "60s"})
    answer = await both.put("/v1/agent/check/pass/web")
    assert answer.text == 'CheckID "web" does not have associated TTL'


async def test_alias_follows_the_worst_of_what_it_aliases(both: Both) -> None:
    for service in ("web1", "web2", "bare", "aliases"):
        await both.put("/v1/agent/service/register", {"Name": "web", "ID": service})
    await register(both, ttl("a", ServiceID="web1"), ttl("b", ServiceID="web1"), ttl("c", ServiceID="web2"))
    for name in ("a", "b"):
        await both.put(f"/v1/agent/check/pass/{name}")
    # On a service of their own: as checks of the node they would follow each other, in Consul without end.
    # And by service alone: with a node, a Consul takes a minute to deregister it, or ends if it isn't there.
    for service in ("web1", "bare", "nobody"):
        await register_alias(both, f"like {service}", service)
    said = await until(both, **{"like web1": "passing", "like bare": "passing", "like nobody": "critical"})
    assert said["like web1"] == ("passing", "All checks passing.")
    assert said["like bare"] == ("passing", "No checks found.")
    assert said["like nobody"] == ("critical", "Service nobody could not be found on node ")
    await both.put("/v1/agent/check/warn/a?note=slow")
    await until(both, **{"like web1": "warning"})
    await both.put("/v1/agent/check/fail/b?note=down")
    said = await until(both, **{"like web1": "critical"})
    assert said["like web1"] == ("critical", 'Aliased check "b" failing: down')
    await both.put("/v1/agent/check/pass/b")
    await both.put("/v1/agent/check/pass/a")
    await until(both, **{"like web1": "passing"})


async def test_thresholds_count_results_in_a_row(both: Both) -> None:
    """Each check gets the same answers in turn; what it says is read when it asks for the next."""
    script = [200, 500, 500, 200]
    limits: dict[str, dict[str, int]] = {
        "none": {},
        "up": {"SuccessBeforePassing": 2},
        "down": {"FailuresBeforeCritical": 2},
        "warns": {"FailuresBeforeWarning": 1, "FailuresBeforeCritical": 2},
    }
    clients = {"ours": both.ours, "consul": both.consul}
    said: dict[str, dict[str, list[tuple[str, str]]]] = {
        who: {name: [] for name in limits} for who in clients
    }
    done = asyncio.Event()

    async def answer(asked: Asked) -> web.Response:
        who, name = asked.headers["X-Who"], asked.path.strip("/")
        status, output = _states(await clients[who].get(CHECKS))[name]
        said[who][name].append((status, output.rpartition(": ")[2]))
        step = len(said[who][name]) - 1
        if all(len(states) > len(script) for checks in said.values() for states in checks.values()):
            done.set()
        return web.Response(status=script[min(step, len(script) - 1)], text=f"step {step}")

    async with FakeAgent() as server:
        server.handle = answer
        for who, client in clients.items():
            for name, limit in limits.items():
                check = {"Name": name, "HTTP": f"{server.url}/{name}", "Header": {"X-Who": [who]}}
                await client.put("/v1/agent/check/register", {**check, "Interval": "1s", **limit})
        async with asyncio.timeout(30):
            await done.wait()
    at_first, first = ("critical", ""), ("passing", "step 0")
    bad, worse, again = ("critical", "step 1"), ("critical", "step 2"), ("passing", "step 3")
    expected = {
        "none": [at_first, first, bad, worse, again],
        "up": [at_first, first, bad, worse, worse],
        "down": [at_first, first, first, worse, again],
        "warns": [at_first, first, ("warning", "step 1"), worse, again],
    }
    for checks in said.values():
        assert {name: states[: len(script) + 1] for name, states in checks.items()} == expected
