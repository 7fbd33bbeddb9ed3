"""What stands on a real agent after the backend's calls."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from asyncsd import (
    BadRequestError,
    GRPCCheck,
    Health,
    HTTPCheck,
    NotRegisteredError,
    Query,
    Registration,
    Status,
    TCPCheck,
    TTLCheck,
    UnreachableError,
)
from asyncsd._registration import Record
from asyncsd.backends.consul import ConsulBackend
from asyncsd.testing import FakeClock
from tests.support.consul import AgentProcess, ClientKind, ConsulAgent

pytestmark = pytest.mark.server("consul")

EVERYTHING = Registration(
    service="users",
    host="127.0.0.1",
    port=8080,
    tags=("v1", "eu"),
    meta={"zone": "a", "owner": "tëam"},
    weight=7,
    warning_weight=2,
    scheme="https",
    tagged_addresses={"lan": ("10.0.0.7", 80), "wan": ("192.0.2.7", 443)},
    enable_tag_override=True,
    checks=(
        TTLCheck(ttl=15.0, notes="told by the process", deregister_after=90.0),
        HTTPCheck(
            "/health",
            interval=1.5,
            timeout=0.25,
            method="POST",
            headers={"X-Probe": "1"},
            body="hello",
            tls_skip_verify=True,
            tls_server_name="users.internal",
            success_before_passing=2,
            failures_before_critical=3,
            name="over HTTP",
            initial_status="passing",
        ),
        TCPCheck(interval=2.0, id="users-tcp"),
        GRPCCheck(service="users.v1", tls=True, interval=60.0, deregister_after=None),
    ),
)


def record(id: str = "users-1", **fields: Any) -> Record:
    fields = {"service": "users", "host": "127.0.0.1", "port": 8080, "check": TTLCheck(), **fields}
    return Registration(**fields).record(id=id, host="127.0.0.1")


async def test_everything_registered_can_be_read_back_from_the_agent(
    agent: AgentProcess, backend: ConsulBackend
) -> None:
    lease = await backend.register(EVERYTHING.record(id="users-1", host="127.0.0.1"))
    assert lease.where == agent.url
    service = await agent.get("/v1/agent/service/users-1")
    del service["ContentHash"]
    assert service == {
        "ID": "users-1",
        "Service": "users",
        "Address": "127.0.0.1",
        "Port": 8080,
        "Tags": ["v1", "eu"],
        "Meta": {"zone": "a", "owner": "tëam", "scheme": "https"},
        "Weights": {"Passing": 7, "Warning": 2},
        "TaggedAddresses": {
            "lan": {"Address": "10.0.0.7", "Port": 80},
            "wan": {"Address": "192.0.2.7", "Port": 443},
            # Consul's own additions.
            "lan_ipv4": {"Address": "127.0.0.1", "Port": 8080},
            "wan_ipv4": {"Address": "127.0.0.1", "Port": 8080},
        },
        "EnableTagOverride": True,
        "Datacenter": "dc1",
    }


async def test_all_four_kinds_of_checks_stand_on_the_agent(
    agent: AgentProcess, backend: ConsulBackend
) -> None:
    await backend.register(EVERYTHING.record(id="users-1", host="127.0.0.1"))
    checks = await agent.get("/v1/agent/checks")
    shown = {id: (c["Type"], c["Interval"], c["Timeout"], c["Notes"]) for id, c in checks.items()}
    assert shown == {
        "service:users-1": ("ttl", "", "", "told by the process"),
        "service:users-1:2": ("http", "1.5s", "250ms", ""),
        "users-1:users-tcp": ("tcp", "2s", "5s", ""),
        "service:users-1:4": ("grpc", "1m0s", "5s", ""),
    }
    assert checks["service:users-1:2"]["Name"] == "over HTTP"
    assert {id: check["Status"] for id, check in checks.items()} == {
        "service:users-1": "critical",
        "service:users-1:2": "passing",
        "users-1:users-tcp": "critical",
        "service:users-1:4": "critical",
    }


async def test_the_agent_probes_as_the_check_says(agent: AgentProcess, backend: ConsulBackend) -> None:
    probes: asyncio.Queue[tuple[str, str, str | None, str]] = asyncio.Queue()

    async def health(request: web.Request) -> web.Response:
        text = await request.text()
        probes.put_nowait((request.method, request.path, request.headers.get("X-Probe"), text))
        return web.Response(status=429, text="busy")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", health)
    async with TestServer(app, host="127.0.0.1") as server:
        check = HTTPCheck("/ready", interval=1.0, method="PUT", headers={"X-Probe": "yes"}, body="hello")
        await backend.register(record(port=server.port, check=check))
        async with asyncio.timeout(20):
            assert await probes.get() == ("PUT", "/ready", "yes", "hello")
            reply = await backend.fetch(Query("users"), None)
            while reply.instances[0].status != "warning":  # 429 is a warning to Consul.
                reply = await backend.fetch(Query("users"), reply.cursor)


@pytest.mark.parametrize("status", ["passing", "warning", "critical"])
async def test_renewing_tells_every_ttl_check_the_status_and_the_note(
    agent: AgentProcess, backend: ConsulBackend, status: Status
) -> None:
    lease = await backend.register(record(check=None, checks=(TTLCheck(), TTLCheck(id="second"))))
    await backend.renew(lease, Health(status, "disk at 91%: ünïcode & more?"))
    checks = await agent.get("/v1/agent/checks")
    assert {(id, c["Status"], c["Output"]) for id, c in checks.items()} == {
        ("service:users-1", status, "disk at 91%: ünïcode & more?"),
        ("users-1:second", status, "disk at 91%: ünïcode & more?"),
    }


async def test_a_very_long_note_is_cut_and_still_told(agent: AgentProcess, backend: ConsulBackend) -> None:
    lease = await backend.register(record())
    await backend.renew(lease, Health("passing", "ß" * 100_000))
    checks = await agent.get("/v1/agent/checks")
    assert checks["service:users-1"]["Output"] == "ß" * 999 + "…"


async def test_changing_tags_in_place_never_makes_a_passing_instance_critical(
    agent: AgentProcess, backend: ConsulBackend
) -> None:
    lease = await backend.register(record())
    await backend.renew(lease, Health("passing", "well"))
    seen: list[tuple[tuple[str, ...], Status]] = []
    reply = await backend.fetch(Query("users"), None)

    async def watch() -> None:
        nonlocal reply
        while not seen or seen[-1][0] != ("v10",):
            reply = await backend.fetch(Query("users"), reply.cursor)
            seen.extend((i.tags, i.status) for i in reply.instances)

    watching = asyncio.create_task(watch())
    for number in range(1, 11):
        lease = await backend.register(record(tags=(f"v{number}",), weight=number), lease)
        (entry,) = await agent.get("/v1/health/service/users")
        assert {check["Status"] for check in entry["Checks"]} == {"passing"}
        assert entry["Service"]["Weights"]["Passing"] == number
    async with asyncio.timeout(20):
        await watching
    assert {status for _, status in seen} == {"passing"}
    checks = await agent.get("/v1/agent/checks")
    assert checks["service:users-1"]["Output"] == "well"


async def test_a_check_that_is_gone_from_the_registration_is_gone_from_the_agent(
    agent: AgentProcess, backend: ConsulBackend
) -> None:
    lease = await backend.register(record(check=None, checks=(TTLCheck(), TTLCheck(id="second"))))
    await backend.register(record(), lease)
    assert list(await agent.get("/v1/agent/checks")) == ["service:users-1"]


async def test_draining_is_maintenance_and_makes_the_instance_critical(
    agent: AgentProcess, backend: ConsulBackend
) -> None:
    lease = await backend.register(record())
    await backend.renew(lease, Health("passing"))
    await backend.drain(lease, True)
    checks = await agent.get("/v1/agent/checks")
    assert checks["_service_maintenance:users-1"]["Notes"] == "draining"
    assert [i.status for i in (await backend.fetch(Query("users"), None)).instances] == ["critical"]
    await backend.drain(lease, False)
    assert [i.status for i in (await backend.fetch(Query("users"), None)).instances] == ["passing"]


async def test_what_the_agent_forgot_is_a_not_registered_error(
    agent: AgentProcess, backend: ConsulBackend
) -> None:
    with_ttl = await backend.register(record("users-1"))
    without = await backend.register(record("users-2", check=None))
    await backend.renew(without, Health("passing"))
    await backend.deregister(with_ttl)
    await backend.deregister(without)
    for lease in (with_ttl, without):
        for call in (
            backend.renew(lease, Health("passing")),
            backend.drain(lease, True),
            backend.observe(lease, None),
        ):
            with pytest.raises(
                NotRegisteredError, match=r"'users-\d' isn't registered on http://127"
            ) as error:
                await call
            assert error.value.status == 404


async def test_deregistering_twice_is_no_error(agent: AgentProcess, backend: ConsulBackend) -> None:
    lease = await backend.register(record())
    await backend.deregister(lease)
    await backend.deregister(lease)
    assert await agent.get("/v1/agent/services") == {}


async def test_observing_wakes_when_the_service_changes_and_when_it_goes(
    agent: AgentProcess, backend: ConsulBackend
) -> None:
    lease = await backend.register(record())
    cursor = await backend.observe(lease, None)
    waiting = asyncio.create_task(backend.observe(lease, cursor))
    await backend.register(record(tags=("other",)), lease)
    async with asyncio.timeout(20):
        changed = await waiting
    assert changed != cursor
    waiting = asyncio.create_task(backend.observe(lease, changed))
    await agent.put("/v1/agent/service/deregister/users-1")
    with pytest.raises(NotRegisteredError):
        async with asyncio.timeout(20):
            await waiting


@pytest.mark.parametrize("id", ["a/b", "a b?x=1#y", "50%25", "ünïcode", "a:b+c&d"])
async def test_any_id_is_found_again(agent: AgentProcess, backend: ConsulBackend, id: str) -> None:
    lease = await backend.register(record(id))
    await backend.renew(lease, Health("passing"))
    await backend.observe(lease, None)
    await backend.drain(lease, True)
    await backend.deregister(lease)
    assert await agent.get("/v1/agent/services") == {}


async def test_what_consul_refuses_is_permanent(agent: AgentProcess, backend: ConsulBackend) -> None:
    with pytest.raises(BadRequestError, match=r"400: .*[Mm]eta") as error:
        await backend.register(record(meta={"k" * 200: "v"}))
    assert error.value.permanent


async def test_a_killed_agent_is_unreachable_and_comes_back_empty(
    agent: AgentProcess, backend: ConsulBackend
) -> None:
    lease = await backend.register(record())
    agent.kill()
    with pytest.raises(UnreachableError, match="can't connect"):
        await backend.renew(lease, Health("passing"))
    await agent.start()
    with pytest.raises(NotRegisteredError):
        await backend.renew(lease, Health("passing"))
    await backend.register(record(), lease)
    await backend.renew(lease, Health("passing"))


async def test_a_registration_moves_to_the_next_agent_and_leaves_no_orphan(client: ClientKind) -> None:
    async with ConsulAgent() as first, ConsulAgent() as second:
        clock = FakeClock()
        async with ConsulBackend([first.url, second.url], client=client, clock=clock) as backend:
            lease = await backend.register(record())
            assert lease.where == first.url
            first.freeze()
            moving = asyncio.create_task(backend.register(record(), lease))
            await clock.settle()
            await clock.advance(10.0)
            async with asyncio.timeout(20):
                moved = await moving
            assert moved.where == second.url
            first.thaw()
            while "users-1" in await first.get("/v1/agent/services"):
                await clock.advance(5.0)
                await backend.renew(moved, Health("passing"))
            assert "users-1" in await second.get("/v1/agent/services")
            await backend.deregister(moved)
        assert await second.get("/v1/agent/services") == {}


async def test_the_clients_are_there_for_requests_of_ones_own(
    agent: AgentProcess, backend: ConsulBackend
) -> None:
    lease = await backend.register(Registration(service="own", port=80).record(id="own-1", host="127.0.0.1"))
    (client,) = backend.clients
    assert client.where == agent.url
    assert (await client.maintenance("own-1", True, "by hand")).status == 200
    assert [i.status for i in (await backend.fetch(Query("own"), None)).instances] == ["critical"]
    assert (await client.maintenance("own-1", False)).status == 200
    answer = await client.service("own-1")
    told = answer.headers["X-Consul-ContentHash"]
    waiting = asyncio.create_task(client.service("own-1", content_hash=told, wait=20.0))
    await backend.deregister(lease)
    async with asyncio.timeout(20):
        assert (await waiting).status == 404


async def test_any_id_is_registered_renewed_drained_and_removed(
    agent: AgentProcess, backend: ConsulBackend
) -> None:
    for id in ("x/y", "a//b", "../z", "x/./y", "/a", "a/", ".", "..", "50%", "q?x#y", "ü é"):
        lease = await backend.register(record(id))
        await backend.renew(lease, Health("passing"))
        await backend.drain(lease, True)
        assert (await agent.get("/v1/agent/checks"))[f"service:{id}"]["Status"] == "passing"
        await backend.deregister(lease)
        assert await agent.get("/v1/agent/services") == {}


async def test_workers_that_share_a_check_id_have_a_check_each(
    agent: AgentProcess, backend: ConsulBackend
) -> None:
    for id in ("one", "two"):
        await backend.register(record(id, check=TTLCheck(id="alive")))
    checks = await agent.get("/v1/agent/checks")
    assert {name: check["ServiceID"] for name, check in checks.items()} == {
        "one:alive": "one",
        "two:alive": "two",
    }


async def test_maintenance_that_somebody_set_by_hand_outlasts_a_change(
    agent: AgentProcess, backend: ConsulBackend
) -> None:
    me = Registration(service="kept", port=80, tags=("v1",), check=TTLCheck(initial_status="passing"))
    lease = await backend.register(me.record(id="kept-1", host="127.0.0.1"))
    await agent.put("/v1/agent/service/maintenance/kept-1?enable=true")
    changed = replace(me, tags=("v2",)).record(id="kept-1", host="127.0.0.1")
    lease = await backend.register(changed, previous=lease)
    (instance,) = (await backend.fetch(Query("kept"), None)).instances
    assert (instance.tags, instance.status) == (("v2",), "critical")
    others = replace(me, check=TCPCheck("127.0.0.1:9", initial_status="passing"))
    await backend.register(others.record(id="kept-1", host="127.0.0.1"))
    checks = await agent.get("/v1/agent/checks")
    assert "_service_maintenance:kept-1" not in checks, "a registration from the start begins anew"
