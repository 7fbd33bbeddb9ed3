"""Blocking queries on both servers: what ends a wait, and what doesn't."""

import asyncio
import random
from functools import partial
from typing import Any

import aiohttp
import pytest

from asyncsd.agent import Agent
from tests.agent.parity import NODE, Answer, Both, Client

REGISTER, DEREGISTER = "/v1/catalog/register", "/v1/catalog/deregister"
EXT: dict[str, Any] = {"Node": "ext", "Address": "10.0.0.7"}
WEB: dict[str, Any] = {**EXT, "SkipNodeUpdate": True, "Service": {"Service": "web", "ID": "web1", "Port": 80}}

CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "the same again": (REGISTER, WEB),
    "its tags": (REGISTER, {**WEB, "Service": {**WEB["Service"], "Tags": ["new"]}}),
    "its second instance": (REGISTER, {**WEB, "Service": {"Service": "web", "ID": "web2"}}),
    "its check": (REGISTER, {**WEB, "Check": {"Name": "up", "ServiceID": "web1", "Status": "passing"}}),
    "its node's check": (REGISTER, {**EXT, "SkipNodeUpdate": True, "Check": {"Name": "disk"}}),
    "its node's address": (REGISTER, {**EXT, "Address": "10.0.0.8"}),
    "its end": (DEREGISTER, {"Node": "ext", "ServiceID": "web1"}),
    "its node's end": (DEREGISTER, {"Node": "ext"}),
    "another service": (REGISTER, {**EXT, "SkipNodeUpdate": True, "Service": {"Service": "other"}}),
    "another service elsewhere": (
        REGISTER,
        {"Node": "n2", "Address": "1.1.1.1", "Service": {"Service": "o"}},
    ),
    "another service's check": (REGISTER, {"Node": "there", "Address": "2.2.2.2", "Check": {"Name": "c"}}),
    "another node": (REGISTER, {"Node": "n3", "Address": "1.1.1.1"}),
}

HEALTH, CATALOG, NODES = "/v1/health/service/web", "/v1/catalog/service/web", "/v1/catalog/nodes"
NODE_OF, SERVICES, NODE_CHECKS = "/v1/catalog/node/ext", "/v1/catalog/services", "/v1/health/node/ext"

WAKES = [
    (HEALTH, "its tags"),
    (HEALTH, "its second instance"),
    (HEALTH, "its check"),
    (HEALTH, "its node's check"),
    (HEALTH, "its node's address"),
    (HEALTH, "its end"),
    (HEALTH, "its node's end"),
    (HEALTH + "?passing", "its check"),
    (HEALTH + "?near=_agent", "its check"),
    (CATALOG, "its tags"),
    (CATALOG, "its node's address"),
    (CATALOG, "its end"),
    (SERVICES, "its tags"),
    (SERVICES, "another service"),
    (NODES, "another node"),
    (NODE_OF, "another service"),
    (NODE_OF, "its node's end"),
    (NODE_CHECKS, "its check"),
    ("/v1/health/checks/web", "its check"),
    ("/v1/health/state/any", "another service's check"),
]

SLEEPS = [
    (HEALTH, "the same again"),
    (HEALTH, "another service elsewhere"),
    (HEALTH, "another service's check"),
    (HEALTH, "another node"),
    (HEALTH + "?near=_agent", "another service elsewhere"),
    (CATALOG, "the same again"),
    (CATALOG, "another service's check"),
    (CATALOG, "another service elsewhere"),
    (SERVICES, "its check"),
    (SERVICES, "another node"),
    (NODES, "its check"),
    (NODE_OF, "its check"),
    (NODE_OF, "another service elsewhere"),
]


async def prepare(client: Client) -> None:
    for entry in (WEB, {"Node": "there", "Address": "2.2.2.2", "Service": {"Service": "third"}}):
        await client.put(REGISTER, entry)


async def waiting(client: Client, path: str, wait: str) -> asyncio.Task[Any]:
    """A query that blocks from the index of now."""
    await client.get(path)
    return asyncio.create_task(client.get(path, wait=wait))


@pytest.mark.parametrize(("path", "change"), WAKES)
async def test_a_query_hears_of_what_changes_its_answer(server: Client, path: str, change: str) -> None:
    await prepare(server)
    before = await server.get(path)
    task = await waiting(server, path, "30s")
    await server.put(*CHANGES[change])
    after = await task
    assert after.index > before.index
    assert after.seconds < 20
    assert after.body != before.body or "passing" in path


@pytest.mark.parametrize(("path", "change"), SLEEPS)
async def test_a_query_sleeps_through_what_isnt_its_own(server: Client, path: str, change: str) -> None:
    await prepare(server)
    before = await server.get(path)
    task = await waiting(server, path, "250ms")
    await server.put(*CHANGES[change])
    after = await task
    assert after.seconds >= 0.24
    assert after.body == before.body


@pytest.mark.server("consul")
@pytest.mark.parametrize("path", [HEALTH, CATALOG, SERVICES, NODES, NODE_OF, NODE_CHECKS])
async def test_an_answer_after_a_wait_is_as_consuls(both: Both, path: str) -> None:
    for client in (both.ours, both.consul):
        await prepare(client)
    await both.each(lambda client: client.get(path))
    ours, consul = await both.each(lambda client: client.get(path, wait="50ms"))
    for name in ("x-consul-query-backend", "x-consul-knownleader", "x-consul-effective-consistency"):
        assert ours.headers[name] == consul.headers[name]


async def test_a_query_for_what_isnt_there_yet_hears_of_its_coming(server: Client) -> None:
    before = await server.get(HEALTH)
    assert (before.json, before.index > 0) == ([], True)
    task = await waiting(server, HEALTH, "30s")
    await server.put(REGISTER, WEB)
    after = await task
    assert len(after.json) == 1
    assert after.index > before.index


async def test_a_query_for_what_went_hears_of_its_return(server: Client) -> None:
    await server.put(REGISTER, WEB)
    last = await server.get(HEALTH)
    await server.put(DEREGISTER, {"Node": "ext", "ServiceID": "web1"})
    gone = await server.get(HEALTH, wait="30s")
    assert gone.json == []
    assert gone.index > last.index
    task = asyncio.create_task(server.get(HEALTH, wait="30s"))
    await server.put(REGISTER, WEB)
    assert len((await task).json) == 1


@pytest.mark.parametrize("query", ["index=0&wait=30s", "wait=30s", "index=1&wait=30s", ""])
async def test_a_query_without_an_index_of_now_is_answered_at_once(server: Client, query: str) -> None:
    await server.put(REGISTER, WEB)
    assert (await server.get(f"{HEALTH}?{query}")).seconds < 15


@pytest.mark.parametrize("path", [CATALOG, NODES])
async def test_an_index_of_the_future_waits_its_time(server: Client, path: str) -> None:
    await server.put(REGISTER, WEB)
    answer = await server.get(f"{path}?index=999999&wait=100ms")
    assert answer.seconds >= 0.09
    assert 0 < answer.index < 999999


async def test_a_wait_is_lengthened_by_up_to_a_16th(server: Client) -> None:
    await server.put(REGISTER, WEB)
    await server.get(CATALOG)
    answer = await server.get(CATALOG, wait="320ms")
    assert 0.31 <= answer.seconds < 5


async def test_many_wait_for_one_change(server: Client) -> None:
    await server.put(REGISTER, WEB)
    tasks = [await waiting(server, HEALTH, "30s") for _ in range(50)]
    await server.put(*CHANGES["its tags"])
    answers = await asyncio.gather(*tasks)
    assert {answer.index for answer in answers} == {answers[0].index}
    assert {answer.json[0]["Service"]["Tags"][0] for answer in answers} == {"new"}


async def test_what_happens_to_this_agents_own_services_is_heard_too(server: Client) -> None:
    body = {"Name": "own", "Port": 80, "Check": {"CheckID": "ttl", "TTL": "60s"}}
    await server.put("/v1/agent/service/register", body)
    path = "/v1/health/service/own"
    await server.until(path, lambda answer: len(answer.json) == 1)
    task = await waiting(server, path, "30s")
    await server.put("/v1/agent/service/register", {**body, "Tags": ["new"]})
    assert (await task).json[0]["Service"]["Tags"] == ["new"]


async def test_who_leaves_leaves_nothing_behind(http: aiohttp.ClientSession) -> None:
    async with Agent(node=NODE) as agent:
        client = Client(agent.url, [], http)
        await client.put(REGISTER, WEB)
        tasks = [await waiting(client, HEALTH, "60s") for _ in range(20)]
        await waiters(agent, 20)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await waiters(agent, 0)


async def waiters(agent: Agent, number: int) -> None:
    """Return once so many queries block."""
    async with asyncio.timeout(10):
        while True:
            if len(agent._opened.catalog.waiters) == number:
                return
            await asyncio.sleep(0)


CHURNED = ("/v1/health/service/{}", "/v1/catalog/service/{}", "/v1/health/checks/{}")


async def test_who_asks_on_and_on_ends_with_what_there_is(ours: Client) -> None:
    """Through many changes: no wake-up is lost, no index goes back, and what is others' wakes nobody."""
    seen: dict[str, list[int]] = {}
    last: dict[str, Any] = {}

    async def watch(path: str) -> None:
        indexes = seen.setdefault(path, [0])
        while True:
            answer = await ours.get(f"{path}?index={indexes[-1]}&wait=30s")
            last[path] = answer.json
            indexes.append(answer.index)

    def told(path: str, answer: Answer) -> bool:
        return bool(last.get(path) == answer.json)

    await ours.put("/v1/agent/service/register", {"Name": "quiet"})
    names = ("s0", "s1", "s2")
    paths = [path.format(name) for path in CHURNED for name in names]
    paths += ["/v1/catalog/services", "/v1/catalog/nodes", "/v1/health/state/any", "/v1/health/service/quiet"]
    rng = random.Random(4)
    async with asyncio.TaskGroup() as group:
        watches = [group.create_task(watch(path)) for path in paths]
        for number in range(100):
            name, id = rng.choice(names), f"i{rng.randrange(6)}"
            check = {
                "CheckID": f"c{rng.randrange(4)}",
                "TTL": "1h",
                "Status": rng.choice(["passing", "critical"]),
            }
            body = {"Name": name, "ID": id, "Checks": [check] * rng.randrange(2)}
            match rng.randrange(5):
                case 0 | 1:
                    await ours.put(
                        f"/v1/agent/service/register{rng.choice(['', '?replace-existing-checks'])}", body
                    )
                case 2:
                    await ours.put(f"/v1/agent/service/deregister/{id}")
                case 3:
                    await ours.put(f"/v1/agent/check/{rng.choice(['pass', 'fail'])}/c{rng.randrange(4)}")
                case _:
                    await ours.put(
                        "/v1/catalog/register", {"Node": "n2", "Address": name, "Service": {"Service": name}}
                    )
            if number % 5 == 4:
                for path in paths:
                    await ours.until(path, partial(told, path))
        for watch_ in watches:
            watch_.cancel()
    for path, indexes in seen.items():
        assert 0 not in indexes[1:], path
        assert indexes == sorted(indexes), path
        assert len(indexes) < 250, path  # it waited between the changes
    assert len(seen["/v1/health/service/quiet"]) == 2
