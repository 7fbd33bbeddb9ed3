"""What each token lets its bearer do, on our agent and on a real Consul with access control."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from asyncsd.agent import Agent
from tests.agent.parity import NODE, Answer, Client
from tests.support.consul import ConsulAgent
from tests.support.process import free_ports

ALL, NOBODY = "all-may-be-done-with-this", "nobody-has-this"
RULES = 'agent_prefix "" {policy="read"} node_prefix "" {policy="read"} service_prefix "" {policy="read"}'
ACL = {"enabled": True, "default_policy": "deny", "tokens": {"initial_management": ALL}}
READ = "0b2a9d0e-5e4c-4b7e-9c3e-3f1d6a2b7c55"


async def eventually(call: Callable[[], Awaitable[Any]]) -> None:
    """Call until the server has set itself up so far, and has something to say."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(OSError):
                if await call():
                    return
            await asyncio.sleep(0.05)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def guarded_ports() -> AsyncIterator[list[int]]:
    """The ports of a real Consul with a token for everything and one for reading."""
    ports = free_ports(5)
    async with ConsulAgent(ports=ports, node_name=NODE, acl=ACL) as consul:
        policy = {"Name": "read", "Rules": RULES}
        await eventually(lambda: consul.put("/v1/acl/policy", policy, token=ALL))
        token = {"SecretID": READ, "Policies": [{"Name": "read"}]}
        await consul.put("/v1/acl/token", token, token=ALL)
        await consul.put("/v1/agent/service/register", SERVICE, token=ALL)
        await consul.put("/v1/agent/check/register", CHECK, token=ALL)
        await eventually(lambda: consul.get("/v1/health/checks/web", token=READ))
        yield ports


SERVICE = {"Name": "web", "ID": "w1", "Port": 80, "Check": {"CheckID": "c1", "TTL": "1000s"}}
CHECK = {"Name": "disk", "ID": "n1", "TTL": "1000s"}


@pytest.fixture
async def guarded(
    http: aiohttp.ClientSession, guarded_ports: list[int]
) -> AsyncIterator[tuple[Client, Client]]:
    """Our agent and the real Consul, each with the same tokens, service and check."""
    async with Agent(node=NODE, token=ALL, read_token=READ) as agent:
        ours = Client(agent.url, [int(agent.url.rpartition(":")[2])], http)
        assert (await ours.put("/v1/agent/service/register", SERVICE, token=ALL)).status == 200
        assert (await ours.put("/v1/agent/check/register", CHECK, token=ALL)).status == 200
        yield ours, Client(f"http://127.0.0.1:{guarded_ports[0]}", guarded_ports, http)


async def compare(
    guarded: tuple[Client, Client], method: str, path: str, body: object = None, **options: Any
) -> Answer:
    ours, consul = [await client.send(method, path, body, **options) for client in guarded]
    assert (ours.status, ours.headers.get("content-type")) == (
        consul.status,
        consul.headers.get("content-type"),
    )
    for name in ("x-consul-default-acl-policy", "x-consul-results-filtered-by-acls"):
        assert ours.headers.get(name) == consul.headers.get(name)
    if consul.headers.get("content-type", "").startswith("text/plain"):
        accessor = "00000000-0000-0000-0000-00000000000a"
        text = consul.text if options.get("token") != READ else _with_accessor(consul.text, accessor)
        assert ours.text == text
    return ours


def _with_accessor(text: str, accessor: str) -> str:
    head, quote, rest = text.partition("AccessorID '")
    return head + quote + accessor + rest[36:] if quote else text


READS = [
    "/v1/agent/services",
    "/v1/agent/service/w1",
    "/v1/agent/service/nope",
    "/v1/agent/checks",
    "/v1/agent/self",
    "/v1/agent/members",
    "/v1/agent/health/service/name/web",
    "/v1/agent/health/service/name/nope",
    "/v1/agent/health/service/id/w1",
    "/v1/agent/health/service/id/nope",
    "/v1/catalog/services",
    "/v1/catalog/service/web",
    "/v1/catalog/service/nope",
    "/v1/catalog/nodes",
    f"/v1/catalog/node/{NODE}",
    f"/v1/catalog/node-services/{NODE}",
    "/v1/catalog/datacenters",
    "/v1/health/service/web",
    f"/v1/health/node/{NODE}",
    "/v1/health/checks/web",
    "/v1/health/state/any",
    "/v1/status/leader",
    "/v1/status/peers",
    "/v1/nothing",
]

WRITES: list[tuple[str, object]] = [
    ("/v1/agent/service/register", {"Name": "web", "ID": "w1"}),
    ("/v1/agent/service/register", {"name": "api"}),
    ("/v1/agent/service/deregister/w1", None),
    ("/v1/agent/service/deregister/nope", None),
    ("/v1/agent/service/maintenance/w1?enable=true", None),
    ("/v1/agent/service/maintenance/nope?enable=true", None),
    ("/v1/agent/maintenance?enable=true", None),
    ("/v1/agent/check/register", {"Name": "x", "TTL": "10s"}),
    ("/v1/agent/check/register", {"Name": "x", "TTL": "10s", "ServiceID": "w1"}),
    ("/v1/agent/check/register", {"Name": "x", "TTL": "10s", "ServiceID": "nope"}),
    ("/v1/agent/check/deregister/c1", None),
    ("/v1/agent/check/deregister/n1", None),
    ("/v1/agent/check/deregister/nope", None),
    ("/v1/agent/check/pass/c1", None),
    ("/v1/agent/check/warn/n1", None),
    ("/v1/agent/check/fail/nope", None),
    ("/v1/agent/check/update/c1", {"Status": "passing"}),
    ("/v1/catalog/register", {"Node": "n", "Address": "10.0.0.1"}),
    ("/v1/catalog/register", {"Node": "n", "Address": "10.0.0.1", "Service": {"Service": "web"}}),
    ("/v1/catalog/register", {"Node": "n", "Address": "10.0.0.1", "Check": {"Name": "z", "CheckID": "z"}}),
    ("/v1/catalog/deregister", {"Node": NODE}),
    ("/v1/catalog/deregister", {"Node": NODE, "ServiceID": "w1"}),
    ("/v1/catalog/deregister", {"Node": NODE, "CheckID": "c1"}),
    ("/v1/catalog/deregister", {"Node": NODE, "CheckID": "n1"}),
    ("/v1/catalog/deregister", {"Node": "nope"}),
]


@pytest.mark.server("consul")
@pytest.mark.parametrize("token", [None, "anonymous", READ, NOBODY])
async def test_what_a_caller_reads(guarded: tuple[Client, Client], token: str | None) -> None:
    for path in READS:
        ours = await compare(guarded, "GET", path, token=token)
        if ours.status == 200 and token != READ and "status" not in path and "datacenters" not in path:
            assert ours.text.strip() in ("[]", "{}", "null", '{"Node":null,"Services":null}')


@pytest.mark.server("consul")
@pytest.mark.parametrize("token", [None, READ, NOBODY])
async def test_what_a_caller_may_not_write(guarded: tuple[Client, Client], token: str | None) -> None:
    before = await guarded[0].get("/v1/health/state/any", token=ALL)
    for path, body in WRITES:
        ours = await compare(guarded, "PUT", path, body, token=token)
        assert ours.status in (403, 404)
    after = await guarded[0].get("/v1/health/state/any", token=ALL)
    assert (after.index, after.json) == (before.index, before.json)


WAYS: list[tuple[str, dict[str, str]]] = [
    (f"?token={ALL}", {}),
    (f"?token={ALL}", {"X-Consul-Token": NOBODY}),
    (f"?token={NOBODY}", {"X-Consul-Token": ALL}),
    ("?token=", {"X-Consul-Token": ALL}),
    ("", {"X-Consul-Token": ALL, "Authorization": f"Bearer {NOBODY}"}),
    ("", {"X-Consul-Token": ""}),
    ("", {"Authorization": f"Bearer {ALL}"}),
    ("", {"Authorization": f"bearer  {ALL}"}),
    ("", {"Authorization": f"Bearer {NOBODY}"}),
    ("", {"Authorization": "Bearer a b"}),
    ("", {"Authorization": "Bearer"}),
    ("", {"Authorization": ALL}),
    ("", {"Authorization": "Basic cm9vdDpyb290"}),
]


@pytest.mark.server("consul")
@pytest.mark.parametrize(("query", "headers"), WAYS)
async def test_how_a_token_is_brought(
    guarded: tuple[Client, Client], query: str, headers: dict[str, str]
) -> None:
    ours, consul = [await client.get(f"/v1/health/service/web{query}", headers=headers) for client in guarded]
    assert (ours.status, len(ours.json) if ours.status == 200 else ours.text) == (
        consul.status,
        len(consul.json) if consul.status == 200 else consul.text,
    )


@pytest.mark.server("consul")
async def test_methods_are_looked_at_before_tokens(guarded: tuple[Client, Client]) -> None:
    for method in ("DELETE", "POST", "OPTIONS"):
        await compare(guarded, method, "/v1/health/service/web", token=NOBODY)


async def test_a_manager_does_everything_and_the_page_asks_for_a_token(http: aiohttp.ClientSession) -> None:
    async with Agent(token=ALL, read_token=READ) as agent:
        ours = Client(agent.url, [], http)
        assert (await ours.put("/v1/agent/service/register", SERVICE, token=ALL)).status == 200
        assert (await ours.get("/ui/")).status == 200
        assert (await ours.get("/ui/events")).status == 403
        assert (await ours.get("/ui/events", token=NOBODY)).status == 403
        head = {"X-Consul-Token": READ}
        async with http.get(agent.url + "/ui/events", headers=head) as answer:
            assert answer.status == 200
        assert (await ours.put("/v1/agent/service/deregister/w1", token=ALL)).status == 200


async def test_without_a_token_of_its_own_an_agent_looks_at_none(http: aiohttp.ClientSession) -> None:
    async with Agent() as agent:
        answer = await Client(agent.url, [], http).get("/v1/catalog/services", token=NOBODY)
        assert answer.json == {"consul": []}


async def test_no_token_is_logged(http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    async with Agent(token=ALL, read_token=READ) as agent:
        ours = Client(agent.url, [], http)
        for token in (ALL, READ, NOBODY):
            await ours.get(f"/v1/catalog/services?token={token}")
            await ours.put("/v1/agent/service/register", SERVICE, token=token)
    for secret in (ALL, READ, NOBODY):
        assert secret not in caplog.text
