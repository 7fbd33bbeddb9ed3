"""`consul.aio` as it comes, of python-consul2 and (by `make test-py-consul`) of py-consul."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from typing import Any

import consul.aio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.e2e.support import eventually
from tests.support.consul import AgentProcess

# Both leave connections behind and warn of it, and give arguments that aiohttp has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
async def client(agent: AgentProcess) -> AsyncIterator[Any]:
    client = consul.aio.Consul("127.0.0.1", agent.port)
    yield weakref.proxy(client)  # So that it is gone below, and its warnings are this test's.
    await client.http.close()
    del client
    gc.collect()


async def statuses(client: Any, service: str, **options: Any) -> dict[str, str]:
    """The instances of a service with the status of their checks."""
    _, entries = await client.health.service(service, **options)
    return {
        entry["Service"]["ID"]: ",".join(c["Status"] for c in entry["Checks"] if c["ServiceID"])
        for entry in entries
    }


async def become(client: Any, service: str, wanted: dict[str, str], **options: Any) -> None:
    """Wait until they are so: a real agent tells its catalog a moment later."""

    async def are() -> bool:
        return await statuses(client, service, **options) == wanted

    await eventually(are)


async def test_a_service_with_a_ttl_check_is_registered_renewed_and_gone(client: Any) -> None:
    assert await client.agent.service.register(
        "users",
        service_id="users-1",
        address="10.0.0.7",
        port=8080,
        tags=["v1", "eu"],
        meta={"zone": "a"},
        check=consul.Check.ttl("10m"),
    )
    await become(client, "users", {"users-1": "critical"})
    _, (entry,) = await client.health.service("users")
    service = entry["Service"]
    assert (service["ID"], service["Address"], service["Port"]) == ("users-1", "10.0.0.7", 8080)
    assert (service["Tags"], service["Meta"]) == (["v1", "eu"], {"zone": "a"})
    await become(client, "users", {}, passing=True)
    for tell, status in (
        (client.agent.check.ttl_pass, "passing"),
        (client.agent.check.ttl_warn, "warning"),
        (client.agent.check.ttl_fail, "critical"),
        (client.agent.check.ttl_pass, "passing"),
    ):
        assert await tell("service:users-1", notes="as told")
        await become(client, "users", {"users-1": status})
    assert (await client.agent.checks())["service:users-1"]["Output"] == "as told"
    await become(client, "users", {"users-1": "passing"}, passing=True, tag="eu")
    await become(client, "users", {}, tag="us")
    assert await client.agent.service.deregister("users-1")
    await become(client, "users", {})


async def test_a_blocking_query_ends_with_a_change_and_with_its_wait(client: Any) -> None:
    await client.agent.service.register("users", service_id="1", port=80)
    await become(client, "users", {"1": ""})
    index, _ = await client.health.service("users")
    waiting = asyncio.create_task(client.health.service("users", index=index, wait="30s"))
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done
    await client.agent.service.register("users", service_id="2", port=81)
    async with asyncio.timeout(5):
        later, entries = await waiting
    assert int(later) > int(index)
    assert {entry["Service"]["ID"] for entry in entries} >= {"1", "2"}
    index, names = await client.catalog.services()
    assert {"consul", "users"} <= set(names)
    async with asyncio.timeout(5):
        assert await client.catalog.services(index=index, wait="100ms") == (index, names)


async def test_checks_of_every_kind_are_taken_and_run(client: Any) -> None:
    async def well(_: web.Request) -> web.Response:
        return web.Response(text="well")

    app = web.Application()
    app.router.add_get("/health", well)
    async with TestServer(app, host="127.0.0.1") as server:
        url = str(server.make_url("/health"))
        http = consul.Check.http(url, "100ms", timeout="1s", deregister="1m")
        await client.agent.service.register("by-http", port=server.port, check=http)
        tcp = consul.Check.tcp("127.0.0.1", server.port, "100ms", timeout="1s")
        await client.agent.service.register("by-tcp", port=server.port, check=tcp)
        await client.agent.check.register("alone", check=consul.Check.ttl("10m"), notes="of the node")

        for name in ("by-http", "by-tcp"):
            await become(client, name, {name: "passing"})
        checks = await client.agent.checks()
        assert checks["alone"]["Notes"] == "of the node"
        assert "well" in checks["service:by-http"]["Output"]
    for name in ("by-http", "by-tcp"):
        await become(client, name, {name: "critical"})
    await client.agent.check.deregister("alone")
    assert set(await client.agent.checks()) == {"service:by-http", "service:by-tcp"}


async def test_the_catalog_is_written_and_read_beside_the_agent(client: Any) -> None:
    node = {"ID": "db-1", "Service": "db", "Port": 5432, "Tags": ["main"]}
    check = {"CheckID": "db-alive", "Name": "alive", "ServiceID": "db-1", "Status": "warning"}
    assert await client.catalog.register("elsewhere", "10.0.0.9", service=node, check=check)
    _, nodes = await client.catalog.nodes()
    assert "elsewhere" in {node["Node"] for node in nodes}
    _, (entry,) = await client.catalog.service("db", tag="main")
    assert (entry["Node"], entry["Address"], entry["ServicePort"]) == ("elsewhere", "10.0.0.9", 5432)
    _, held = await client.catalog.node("elsewhere")
    assert set(held["Services"]) == {"db-1"}
    _, checks = await client.health.state("warning")
    assert {check["CheckID"] for check in checks} == {"db-alive"}
    _, checks = await client.health.node("elsewhere")
    assert {check["CheckID"] for check in checks} == {"db-alive"}
    _, checks = await client.health.checks("db")
    assert {check["Status"] for check in checks} == {"warning"}
    assert await client.catalog.deregister("elsewhere")
    _, entries = await client.catalog.service("db")
    assert entries == []


async def test_maintenance_hides_a_service_and_then_all(client: Any) -> None:
    for id in ("1", "2"):
        await client.agent.service.register("users", service_id=id, port=80)
    await client.agent.service.maintenance("1", "true", reason="by hand")
    await become(client, "users", {"2": ""}, passing=True)
    await client.agent.maintenance("true", reason="all")
    await become(client, "users", {}, passing=True)
    await client.agent.maintenance("false")
    await client.agent.service.maintenance("1", "false")
    await become(client, "users", {"1": "", "2": ""}, passing=True)


async def test_the_agent_tells_of_itself(client: Any) -> None:
    assert (await client.status.leader()).startswith("127.0.0.1:")
    assert await client.status.peers() == [await client.status.leader()]
    assert await client.catalog.datacenters() == ["dc1"]
    (member,) = await client.agent.members()
    assert (await client.agent.self())["Config"]["NodeName"] == member["Name"]


async def test_what_is_refused_is_told_in_the_library_s_own_way(client: Any) -> None:
    assert not await client.agent.check.ttl_pass("nothing")
    assert not await client.agent.service.deregister("nothing")
    with pytest.raises(consul.ConsulException, match="Invalid wait time"):
        await client.health.service("users", index=1, wait="soon")
