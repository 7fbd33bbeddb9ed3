"""Far more watches than the backend may hold, on a real agent: a feed tells them of every kind of change."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import pytest

from asyncsd import Discovery, Event, Instance, Query
from asyncsd.backends.consul import ConsulBackend, _slots
from tests.e2e.support import Seen, counted, eventually, fresh, held_connections, watching
from tests.support.consul import AgentProcess, ConsulAgent, ConsulCluster

pytestmark = pytest.mark.server("consul")

WATCHES = 300
MAX_WATCHES = 20
READS = 32
"""What the backend reads at a time, without waiting."""
ELSEWHERE = "machine-7"
SOON = 10.0
"""Seconds: a change is told in hundredths of one, and turns would take as many as TURNS."""
TURNS = 60.0


@pytest.fixture(autouse=True)
def slow_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a feed it takes long until a change is seen, so that no busy machine is taken for that."""
    monkeypatch.setattr(_slots, "CYCLE", TURNS)


class Fleet:
    """300 services with an instance each, on the agent's node, and a few more on another node."""

    def __init__(self, agent: AgentProcess, session: aiohttp.ClientSession, token: str | None) -> None:
        self._agent = agent
        self._session = session
        self._headers = {"X-Consul-Token": token} if token else {}

    async def put(self, path: str, body: object = None) -> None:
        async with self._session.put(f"{self._agent.url}{path}", json=body, headers=self._headers) as answer:
            assert answer.status == 200, await answer.text()

    async def register(self, number: int, *, check: bool = False, **fields: Any) -> None:
        body: dict[str, Any] = {"ID": f"i{number}", "Name": f"service-{number}", "Address": "10.0.0.1"}
        if check:
            body["Check"] = {"CheckID": f"c{number}", "TTL": "1h", "Status": "passing"}
        await self.put("/v1/agent/service/register", body | {"Port": 80} | fields)

    async def elsewhere(self, number: int | None = None, address: str = "10.0.0.7", **fields: Any) -> None:
        body: dict[str, Any] = {"Node": ELSEWHERE, "Address": address, **fields}
        if number is not None:
            body["Service"] = {"ID": f"e{number}", "Service": f"service-{number}", "Port": 70}
        await self.put("/v1/catalog/register", body)

    async def begin(self) -> None:
        for number in range(WATCHES):
            await self.register(number, check=number % 2 == 0)
        await self.elsewhere(3)


@asynccontextmanager
async def fleet(agent: AgentProcess, token: str | None = None) -> AsyncGenerator[Fleet, None]:
    async with aiohttp.ClientSession() as session:
        fleet = Fleet(agent, session, token)
        await fleet.begin()
        yield fleet


@asynccontextmanager
async def watched(
    backend: ConsulBackend, count: int = WATCHES, size: Callable[[int], int] = lambda n: 1 + (n == 3)
) -> AsyncGenerator[list[Seen], None]:
    """All services watched, and a feed that tells of them."""
    asyncio.get_running_loop().set_debug(False)
    async with AsyncExitStack() as stack:
        sd = await stack.enter_async_context(Discovery(backend))
        watches = [
            await stack.enter_async_context(watching(sd, Query(f"service-{n}", status="critical")))
            for n in range(count)
        ]
        await asyncio.gather(*(seen.until(fresh(size(n))) for n, seen in enumerate(watches)))
        await eventually(lambda: f"{count} services waited for" in repr(backend._feeds))
        yield watches


def first(holds: Callable[[Instance], object]) -> Callable[[Event], object]:
    return lambda event: event.snapshot and holds(event.snapshot[0])


def is_81(event: Event) -> bool:
    return not event.stale and [one.port for one in event.snapshot or ()] == [81]


def has_told(seen: Seen, instances: tuple[Instance, ...]) -> bool:
    return set(seen.events[-1].snapshot or ()) == set(instances)


def has_status(status: str, one: Instance) -> bool:
    return one.status == status


async def test_every_kind_of_change_is_seen_and_few_connections_are_held(
    agent: AgentProcess, caplog: pytest.LogCaptureFixture
) -> None:
    backend = ConsulBackend(agent.url, client="direct", max_watches=MAX_WATCHES)
    async with fleet(agent) as it, watched(backend) as watches:
        await it.register(11, Port=81)
        await watches[11].until(first(lambda one: one.port == 81), SOON)
        await it.register(12, check=True, Tags=["v2"])
        await watches[12].until(first(lambda one: one.tags == ("v2",)), SOON)
        await it.register(13, Meta={"zone": "b"})
        await watches[13].until(first(lambda one: one.zone == "b"), SOON)
        await it.register(13, Weights={"Passing": 7, "Warning": 1})
        await watches[13].until(first(lambda one: one.weight == 7), SOON)
        await it.register(15, Address="10.0.0.99")
        await watches[15].until(first(lambda one: one.host == "10.0.0.99"), SOON)
        for status in ("warning", "critical", "passing"):
            verb = {"passing": "pass", "warning": "warn", "critical": "fail"}[status]
            await it.put(f"/v1/agent/check/{verb}/c14")
            await watches[14].until(first(partial(has_status, status)), SOON)
        await it.put("/v1/agent/service/maintenance/i15?enable=true")
        await watches[15].until(first(lambda one: one.status == "critical"), SOON)
        await it.put("/v1/agent/service/maintenance/i15?enable=false")
        await watches[15].until(first(lambda one: one.status == "passing"), SOON)
        await it.register(16, ID="another")
        await watches[16].until(fresh(2), SOON)
        await it.put("/v1/agent/service/deregister/another")
        await watches[16].until(fresh(1), SOON)
        await it.put("/v1/agent/service/deregister/i17")
        await watches[17].until(fresh(0), SOON)
        await it.register(17)
        await watches[17].until(fresh(1), SOON)
        assert held_connections(agent.port) <= MAX_WATCHES + READS
        await eventually(lambda: f"{WATCHES} services waited for" in repr(backend._feeds))
    assert not [one for one in caplog.records if one.name == "asyncsd.consul" and one.levelno > logging.INFO]


@pytest.mark.parametrize("nodes", [3, 40], ids=["followed", "swept"])
async def test_after_a_storm_of_changes_every_list_is_as_the_registry_has_it(
    agent: AgentProcess, nodes: int
) -> None:
    """Whatever came and went between two answers: nothing stays that is gone, and nothing is missing."""
    rng = random.Random(7)
    few = 60
    backend = ConsulBackend(agent.url, client="direct", max_watches=MAX_WATCHES)
    async with fleet(agent) as it, watched(backend) as watches:

        async def storm(number: int) -> None:
            for _ in range(60):
                service = rng.randrange(few)
                node, id = f"m{rng.randrange(nodes)}", f"s{service}-{rng.randrange(2)}"
                where = {"Node": node, "Address": f"10.1.0.{rng.randrange(9)}", "SkipNodeUpdate": True}
                what = {"ID": id, "Service": f"service-{service}", "Port": rng.randrange(1, 5)}
                check = {"CheckID": f"c-{id}", "Name": "c", "ServiceID": id}
                status = rng.choice(["passing", "warning", "critical"])
                match rng.randrange(5):
                    case 0:
                        await it.put("/v1/catalog/deregister", {"Node": node, "ServiceID": id})
                    case 1:
                        await it.put("/v1/catalog/register", {**where, "SkipNodeUpdate": False})
                    case 2:
                        own = {"CheckID": "node", "Name": "n", "Status": status}
                        await it.put("/v1/catalog/register", {**where, "Check": own})
                    case _:
                        check["Status"] = status
                        await it.put("/v1/catalog/register", {**where, "Service": what, "Check": check})
                await asyncio.sleep(rng.uniform(0, 0.02))

        await asyncio.gather(*(storm(number) for number in range(5)))
        async with ConsulBackend(agent.url, client="direct") as witness:
            for number in range(few):
                found = (await witness.fetch(Query(f"service-{number}"), None)).instances
                await eventually(partial(has_told, watches[number], found))
        await eventually(lambda: f"{WATCHES} services waited for" in repr(backend._feeds))


async def test_what_happens_to_a_node_is_seen_for_all_that_stands_there(agent: AgentProcess) -> None:
    backend = ConsulBackend(agent.url, client="direct", max_watches=MAX_WATCHES)
    async with fleet(agent) as it, watched(backend) as watches:

        def there(holds: Callable[[Instance], object]) -> Callable[[Event], object]:
            return lambda event: [one for one in event.snapshot or () if one.node == ELSEWHERE and holds(one)]

        await it.elsewhere(4)  # A node and an instance that have no check at all.
        await watches[4].until(fresh(2), SOON)
        await it.elsewhere(address="10.0.0.8")
        for number in (3, 4):
            await watches[number].until(there(lambda one: one.host == "10.0.0.8"), SOON)
        check = {"CheckID": "disk", "Name": "disk", "Status": "critical"}
        await it.elsewhere(address="10.0.0.8", Check=check)
        for number in (3, 4):
            await watches[number].until(there(lambda one: one.status == "critical"), SOON)
        await it.put("/v1/catalog/deregister", {"Node": ELSEWHERE, "CheckID": "disk"})
        for number in (3, 4):
            await watches[number].until(there(lambda one: one.status == "passing"), SOON)
        await it.put("/v1/catalog/deregister", {"Node": ELSEWHERE})
        for number in (3, 4):
            await watches[number].until(fresh(1), SOON)


async def test_more_nodes_than_can_be_followed_are_swept(agent: AgentProcess) -> None:
    backend = ConsulBackend(agent.url, client="direct", max_watches=MAX_WATCHES)
    async with fleet(agent) as it:
        for number in range(3 * MAX_WATCHES):
            await it.put(
                "/v1/catalog/register",
                {
                    "Node": f"machine-{number}",
                    "Address": "10.0.1.1",
                    "Service": {"ID": "s", "Service": "service-0", "Port": 100 + number},
                },
            )
        async with watched(
            backend, size=lambda n: 1 + 3 * MAX_WATCHES if n == 0 else 1 + (n == 3)
        ) as watches:
            for number in (11, 12, 13):
                await it.register(number, Port=90)
                await watches[number].until(first(lambda one: one.port == 90), SOON)
            await it.put("/v1/catalog/deregister", {"Node": "machine-8"})
            await watches[0].until(fresh(3 * MAX_WATCHES), SOON)
            await it.put("/v1/agent/service/deregister/i17")
            await watches[17].until(fresh(0), SOON)
            assert "4 queries" in repr(backend._feeds)
            (feed,) = backend._feeds._feeds.values()
            assert feed._sweep is not None
            # asyncsd's own agent leaves out Consul's internal paths: there the lists are read.
            assert feed._sweep._in_one is isinstance(agent, ConsulAgent)


async def test_an_agent_killed_and_back_without_its_data_is_found_by_few_attempts(
    agent: AgentProcess,
) -> None:
    backend = ConsulBackend(agent.url, client="direct", max_watches=MAX_WATCHES)
    async with fleet(agent) as it, watched(backend) as watches:
        agent.kill()
        with counted(agent.port) as attempts:
            await asyncio.gather(*(seen.until(lambda event: event.error is not None) for seen in watches))
            await asyncio.sleep(5.0)
            # The feed's own queries may just have been sent anew, and on a busy machine the time is longer.
            assert len(attempts) <= 10 + attempts[-1] - attempts[0], attempts
        await agent.start()
        await it.begin()
        await it.register(11, Port=81)
        await watches[11].until(is_81)
        await eventually(lambda: f"{WATCHES} services waited for" in repr(backend._feeds))
        await it.register(12, Port=82)
        await watches[12].until(first(lambda one: one.port == 82), SOON)


ACL = {
    "enabled": True,
    "default_policy": "deny",
    "tokens": {"initial_management": "root-token", "agent": "root-token"},
}


async def test_a_token_that_may_read_some_services_hears_of_those_and_of_others_once_it_may(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ConsulAgent(acl=ACL) as agent, fleet(agent, "root-token") as it:
        rules = 'service_prefix "service-1" {policy = "read"} node_prefix "" {policy = "read"}'
        policy = await agent.put("/v1/acl/policy", {"Name": "p", "Rules": rules}, token="root-token")
        made = await agent.put("/v1/acl/token", {"Policies": [{"Name": "p"}]}, token="root-token")
        backend = ConsulBackend(
            agent.url, client="direct", max_watches=MAX_WATCHES, token=made["SecretID"], wait=8.0
        )
        asyncio.get_running_loop().set_debug(False)
        async with AsyncExitStack() as stack:
            sd = await stack.enter_async_context(Discovery(backend))
            mine = [1, *range(10, 20), *range(100, 200)]
            watches = {n: await stack.enter_async_context(watching(sd, f"service-{n}")) for n in [*mine, 2]}
            await asyncio.gather(*(watches[n].until(fresh(1)) for n in mine))
            await watches[2].until(lambda event: event.error is not None)
            await eventually(lambda: f"{len(mine)} services waited for" in repr(backend._feeds))
            await it.register(11, Port=81)
            await watches[11].until(first(lambda one: one.port == 81), SOON)
            await it.put("/v1/agent/check/warn/c12")
            await watches[12].until(lambda event: not event.snapshot, SOON)
            await agent.put(
                f"/v1/acl/policy/{policy['ID']}",
                {
                    **policy,
                    "Rules": 'service_prefix "service-10" {policy = "read"} node_prefix "" {policy = "read"}',
                },
                token="root-token",
            )
            await watches[11].until(lambda event: event.error is not None, 40.0)
    assert not [one for one in caplog.records if "doesn't see" in one.message]


async def test_in_a_cluster_a_stale_list_is_as_new_as_the_feed_and_the_next_member_takes_over() -> None:
    async with ConsulCluster() as cluster, aiohttp.ClientSession() as session:

        async def put(number: int, port: int) -> None:
            service = {"ID": f"i{number}", "Service": f"service-{number}", "Port": port}
            body = {"Node": ELSEWHERE, "Address": "10.0.0.1", "Service": service}
            async with session.put(f"{cluster.urls[2]}/v1/catalog/register", json=body) as answer:
                assert answer.status == 200, await answer.text()

        for number in range(30):
            await put(number, 80)
        backend = ConsulBackend(cluster.urls, client="direct", max_watches=MAX_WATCHES)
        async with AsyncExitStack() as stack:
            sd = await stack.enter_async_context(Discovery(backend))
            watches = [
                await stack.enter_async_context(watching(sd, Query(f"service-{n}", consistency="stale")))
                for n in range(30)
            ]
            await asyncio.gather(*(seen.until(fresh(1)) for seen in watches))
            await eventually(lambda: "30 services waited for" in repr(backend._feeds))
            for number in range(10):
                await put(number, 81)
                await watches[number].until(is_81, SOON)
            cluster.kill(0)
            await eventually(lambda: backend._reading != 0, 30.0)
            await eventually(lambda: "30 services waited for" in repr(backend._feeds), 30.0)
            for number in range(10, 20):
                await put(number, 81)
                await watches[number].until(is_81, SOON)
