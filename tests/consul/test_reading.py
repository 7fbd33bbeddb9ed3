"""What the backend reads from a real agent."""

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asyncsd import (
    BackendError,
    BadRequestError,
    ClosedError,
    Discovery,
    Health,
    Meta,
    PermissionDeniedError,
    Query,
    Registration,
    TTLCheck,
    UnreachableError,
)
from asyncsd.backends.consul import ConsulBackend
from tests.support.consul import AgentProcess, ClientKind, ConsulAgent

pytestmark = pytest.mark.server("consul")


async def put(agent: AgentProcess, id: str, *, status: str = "passing", **fields: Any) -> None:
    """Register by hand, so that what is read was written by somebody else."""
    body = {"ID": id, "Name": "users", "Address": "10.0.0.7", "Port": 80, **fields}
    body["Check"] = {"CheckID": f"service:{id}", "TTL": "1h", "Status": status}
    await agent.put("/v1/agent/service/register", body)


async def ids(backend: ConsulBackend, query: Query) -> list[str]:
    return sorted(i.id for i in (await backend.fetch(query, None)).instances)


async def test_an_instance_has_all_that_was_registered(agent: AgentProcess, backend: ConsulBackend) -> None:
    await put(
        agent,
        "u1",
        Tags=["v1", "eu"],
        Meta={"zone": "a"},
        Weights={"Passing": 5, "Warning": 2},
        status="warning",
    )
    reply = await backend.fetch(Query("users"), None)
    (found,) = reply.instances
    node = (await agent.get("/v1/agent/self"))["Config"]["NodeName"]
    assert (found.id, found.service, found.host, found.port) == ("u1", "users", "10.0.0.7", 80)
    assert (found.tags, found.meta, found.zone) == (("v1", "eu"), {"zone": "a"}, "a")
    assert (found.weight, found.status, found.scheme) == (2, "warning", None)
    assert (found.datacenter, found.node) == ("dc1", node)
    assert (reply.known_leader, reply.skipped) == (True, 0)
    assert reply.index is not None


async def test_every_status_is_fetched_unless_the_registry_is_to_filter(
    agent: AgentProcess, backend: ConsulBackend
) -> None:
    for status in ("passing", "warning", "critical"):
        await put(agent, status, status=status)
    assert await ids(backend, Query("users")) == ["critical", "passing", "warning"]
    assert await ids(backend, Query("users", server_filter=True)) == ["passing"]


async def test_all_of_several_tags_have_to_be_there(agent: AgentProcess, backend: ConsulBackend) -> None:
    await put(agent, "one", Tags=["v1"])
    await put(agent, "both", Tags=["v1", "eu", "x"])
    await put(agent, "odd", Tags=["a&b=c,d ü"])
    assert await ids(backend, Query("users", tags=("v1",))) == ["both", "one"]
    assert await ids(backend, Query("users", tags=("v1", "eu"))) == ["both"]
    assert await ids(backend, Query("users", tags=("a&b=c,d ü",))) == ["odd"]


async def test_filter_near_node_meta_and_datacenter_reach_the_agent(client: ClientKind) -> None:
    async with ConsulAgent(node_meta={"rack": "r1"}, node_name="n1") as agent:
        async with ConsulBackend(agent.url, client=client) as backend:
            await put(agent, "a", Meta={"zone": "a"})
            await put(agent, "b", Meta={"zone": "b"})
            assert await ids(backend, Query("users", filter="Service.Meta.zone == b")) == ["b"]
            assert await ids(backend, Query("users", node_meta=Meta({"rack": "r1"}))) == ["a", "b"]
            assert await ids(backend, Query("users", node_meta=Meta({"rack": "r2"}))) == []
            assert await ids(backend, Query("users", near="_agent")) == ["a", "b"]
            assert await ids(backend, Query("users", datacenter="dc1")) == ["a", "b"]
            with pytest.raises(BackendError, match="No path to datacenter"):
                await backend.fetch(Query("users", datacenter="nowhere"), None)
        async with ConsulBackend(agent.url, client=client, datacenter="nowhere") as backend:
            with pytest.raises(BackendError, match="No path to datacenter"):
                await backend.fetch(Query("users"), None)
            with pytest.raises(BackendError, match="No path to datacenter"):
                await backend.fetch_names(None)


@pytest.mark.parametrize("consistency", ["default", "consistent", "stale"])
async def test_each_consistency_reads(agent: AgentProcess, backend: ConsulBackend, consistency: Any) -> None:
    await put(agent, "a")
    query = Query("users", consistency=consistency)
    assert await ids(backend, query) == ["a"]
    if consistency == "stale":
        assert await ids(backend, replace(query, max_stale=5.0)) == ["a"]


async def test_a_filter_that_does_not_parse_is_permanent(backend: ConsulBackend) -> None:
    with pytest.raises(BadRequestError, match="boolean expression"):
        await backend.fetch(Query("users", filter="x ("), None)


async def test_a_change_ends_the_wait_and_leaves_the_others_their_object(
    agent: AgentProcess, backend: ConsulBackend
) -> None:
    await put(agent, "a")
    await put(agent, "b")
    first = await backend.fetch(Query("users"), None)
    waiting = asyncio.create_task(backend.fetch(Query("users"), first.cursor))
    await agent.put("/v1/agent/check/warn/service:b")
    async with asyncio.timeout(20):
        second = await waiting
    assert second.index is not None
    assert first.index is not None
    assert second.index > first.index
    before, after = ({i.id: i for i in reply.instances} for reply in (first, second))
    assert after["a"] is before["a"]
    assert (before["b"].status, after["b"].status) == ("passing", "warning")


async def test_a_note_alone_changes_no_instance(client: ClientKind) -> None:
    # An agent tells its servers of a note alone only after five minutes, unless it is told otherwise.
    async with ConsulAgent(check_update_interval="0s") as agent:
        async with ConsulBackend(agent.url, client=client) as backend:
            await put(agent, "a")
            first = await backend.fetch(Query("users"), None)
            waiting = asyncio.create_task(backend.fetch(Query("users"), first.cursor))
            await agent.put("/v1/agent/check/pass/service:a?note=still+well")
            async with asyncio.timeout(20):
                second = await waiting
            assert second.cursor != first.cursor
            assert second.instances[0] is first.instances[0]


async def test_the_agent_ends_a_wait_in_which_nothing_changed(
    agent: AgentProcess, client: ClientKind
) -> None:
    async with ConsulBackend(agent.url, client=client, wait=0.2) as backend:
        await put(agent, "a")
        first = await backend.fetch(Query("users"), None)
        async with asyncio.timeout(20):
            second = await backend.fetch(Query("users"), first.cursor)
        assert second == first


async def test_an_address_with_a_scheme_and_none_at_all_are_read_right(
    agent: AgentProcess, backend: ConsulBackend
) -> None:
    await put(agent, "gokit", Address="http://127.0.0.1", Port=8080)
    await put(agent, "secure", Address="https://users.internal:8443", Port=0)
    await put(agent, "nowhere", Address="")
    await put(agent, "six", Address="2001:db8::7")
    found = {i.id: i for i in (await backend.fetch(Query("users"), None)).instances}
    assert found["gokit"].url("/x") == "http://127.0.0.1:8080/x"
    assert (found["gokit"].host, found["gokit"].scheme) == ("127.0.0.1", "http")
    assert found["secure"].url() == "https://users.internal:8443/"
    assert found["nowhere"].host == "127.0.0.1"
    assert found["six"].url() == "http://[2001:db8::7]:80/"


async def test_what_a_registration_says_comes_back_as_the_instance(backend: ConsulBackend) -> None:
    me = Registration(
        service="users", host="::1", port=81, scheme="https", weight=3, meta={"zone": "b"}, tags=["t"]
    )
    await backend.register(me.record(id="me", host="::1"))
    (found,) = (await backend.fetch(Query("users"), None)).instances
    assert found.url() == "https://[::1]:81/"
    assert (found.weight, found.zone, found.tags, found.status) == (3, "b", ("t",), "passing")


async def test_the_names_of_all_services_are_read_and_watched(
    agent: AgentProcess, backend: ConsulBackend
) -> None:
    first = await backend.fetch_names(None)
    assert first.services == {"consul": ()}
    waiting = asyncio.create_task(backend.fetch_names(first.cursor))
    await put(agent, "a", Tags=["v1", "v2"])
    async with asyncio.timeout(20):
        second = await waiting
    assert {name: sorted(tags) for name, tags in second.services.items()} == {
        "consul": [],
        "users": ["v1", "v2"],
    }


async def test_closing_ends_what_waits_at_once(agent: AgentProcess, backend: ConsulBackend) -> None:
    await put(agent, "a")
    reply = await backend.fetch(Query("users"), None)
    names = await backend.fetch_names(None)
    waiting = [
        asyncio.create_task(backend.fetch(Query("users"), reply.cursor)),
        asyncio.create_task(backend.fetch_names(names.cursor)),
    ]
    await backend.fetch(Query("users"), None)  # By now the two wait at the agent.
    async with asyncio.timeout(20):  # The waits themselves take 55 s.
        await backend.aclose()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ClosedError, ClosedError]
    with pytest.raises(ClosedError):
        await backend.fetch(Query("users"), None)


def sockets() -> int:
    """How many sockets this process has."""
    found = 0
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found += str(fd.readlink()).startswith("socket:")
    return found


async def test_closing_with_500_queries_in_flight_leaves_no_task_and_no_socket(client: ClientKind) -> None:
    async with ConsulAgent(limits={"http_max_conns_per_client": 1_000}) as agent, AsyncExitStack() as stack:
        await put(agent, "a")
        tasks, open_before = asyncio.all_tasks(), sockets()
        sd = await stack.enter_async_context(
            Discovery(ConsulBackend(agent.url, client=client, max_watches=600))
        )
        for number in range(500):
            await stack.enter_async_context(sd.watch(Query("users", tags=(f"v{number}",))))
        for _ in range(600):
            await asyncio.sleep(0.05)
            if sockets() >= open_before + 500:
                break
        assert sockets() >= open_before + 500
        for _ in range(2):
            async with asyncio.timeout(20):
                await sd.aclose()
        assert asyncio.all_tasks() == tasks
        assert sockets() == open_before


async def test_reads_go_to_the_next_agent_and_begin_anew_there(client: ClientKind) -> None:
    async with ConsulAgent() as first, ConsulAgent() as second:
        await put(first, "a")
        await put(second, "a")
        async with ConsulBackend(f"{first.url},{second.url}", client=client) as backend:
            reply = await backend.fetch(Query("users"), None)
            waiting = asyncio.create_task(backend.fetch(Query("users"), reply.cursor))
            await backend.fetch(Query("users"), None)
            first.kill()
            async with asyncio.timeout(20):
                moved = await waiting
            assert [i.id for i in moved.instances] == ["a"]
            # The old cursor is another agent's: what the new one has is told at once.
            async with asyncio.timeout(20):
                again = await backend.fetch(Query("users"), reply.cursor)
            assert again.cursor == moved.cursor
            second.kill()
            with pytest.raises(UnreachableError, match="none of 2 agents") as error:
                await backend.fetch(Query("users"), moved.cursor)
            assert first.url in str(error.value)
            assert second.url in str(error.value)


ACL = {
    "enabled": True,
    "default_policy": "deny",
    "tokens": {"initial_management": "root-token", "agent": "root-token"},
}


async def test_a_token_is_sent_and_a_wrong_one_denied(client: ClientKind) -> None:
    async with ConsulAgent(acl=ACL) as agent:
        me = Registration(service="users", port=80, check=TTLCheck()).record(id="me", host="127.0.0.1")
        async with ConsulBackend(agent.url, client=client, token="root-token") as backend:
            lease = await backend.register(me)
            await backend.renew(lease, Health("passing"))
            await backend.observe(lease, None)
            assert await ids(backend, Query("users")) == ["me"]
            assert "users" in (await backend.fetch_names(None)).services
            await backend.drain(lease, True)
            await backend.deregister(lease)
        async with ConsulBackend(agent.url, client=client) as backend:
            with pytest.raises(PermissionDeniedError, match=r"403: .*[Pp]ermission denied") as error:
                await backend.register(me)
            assert error.value.permanent
        async with ConsulBackend(agent.url, client=client, token="wrong-token") as backend:
            with pytest.raises(PermissionDeniedError, match="ACL not found") as error:
                await backend.fetch(Query("users"), None)
            assert "wrong-token" not in str(error.value)


async def test_a_token_that_loses_its_rights_is_a_denial_and_no_empty_list(client: ClientKind) -> None:
    async with ConsulAgent(acl=ACL) as agent:
        rules = 'service_prefix "" {policy = "read"} node_prefix "" {policy = "read"}'
        policy = await agent.put("/v1/acl/policy", {"Name": "p", "Rules": rules}, token="root-token")
        made = await agent.put("/v1/acl/token", {"Policies": [{"Name": "p"}]}, token="root-token")
        await agent.put("/v1/agent/service/register", {"Name": "users"}, token="root-token")
        async with ConsulBackend(agent.url, client=client, token=made["SecretID"]) as backend:
            async with asyncio.timeout(20):
                while await ids(backend, Query("users")) != ["users"]:
                    pass
            less = {**policy, "Rules": 'node_prefix "" {policy = "read"}'}
            await agent.put(f"/v1/acl/policy/{policy['ID']}", less, token="root-token")
            for call in (backend.fetch(Query("users"), None), backend.fetch_names(None)):
                with pytest.raises(PermissionDeniedError, match="the token may read no"):
                    await call


async def test_an_agent_on_this_machine_has_its_own_address_registered(client: ClientKind) -> None:
    async with ConsulAgent(advertise_addr="127.0.0.7") as agent:
        async with ConsulBackend(agent.url, client=client) as backend:
            assert await backend.local_host() == "127.0.0.7"
