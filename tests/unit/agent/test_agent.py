"""What a program relies on when it starts and stops an agent."""

import asyncio
import errno
import logging
import socket

import aiohttp
import pytest

from asyncsd.agent import Agent
from asyncsd.agent._state._definitions import CheckDefinition
from asyncsd.agent._state._structs import Node, Service

from .waiting import until

REGISTER = "/v1/agent/service/register"


async def status(
    agent: Agent, path: str = "/v1/status/leader", method: str = "GET", **options: object
) -> int:
    async with aiohttp.request(method, agent.url + path, **options) as answer:  # type: ignore[arg-type]
        await answer.read()
        return answer.status


async def register(agent: Agent, name: str) -> None:
    assert await status(agent, REGISTER, "PUT", json={"Name": name}) == 200


async def services(agent: Agent) -> set[str]:
    async with aiohttp.request("GET", agent.url + "/v1/catalog/services") as answer:
        return set(await answer.json())


async def index(agent: Agent, path: str = "/v1/catalog/services") -> int:
    async with aiohttp.request("GET", agent.url + path) as answer:
        return int(answer.headers["X-Consul-Index"])


def port_of(agent: Agent) -> int:
    return int(agent.url.rpartition(":")[2])


def listens(agent: Agent) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port_of(agent))) == 0


async def block(agent: Agent, count: int) -> list[socket.socket]:
    """So many clients that wait in a blocking query, without a task of theirs."""
    clients = []
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", port_of(agent)))
        client.sendall(b"GET /v1/catalog/services?index=1000&wait=60s HTTP/1.1\r\nHost: x\r\n\r\n")
        clients.append(client)
        await asyncio.sleep(0)
    await until(lambda: len(agent._opened.catalog.waiters) == count)
    return clients


async def test_it_takes_a_free_port_and_says_which() -> None:
    async with Agent() as one, Agent() as other:
        assert one.url.startswith("http://127.0.0.1:")
        assert one.url != other.url
        assert await status(one) == await status(other) == 200


async def test_a_port_that_is_taken_is_an_error_that_names_it_and_the_remedy() -> None:
    async with Agent() as first:
        second = Agent(port=port_of(first))
        with pytest.raises(OSError, match=rf"port {port_of(first)} of 127\.0\.0\.1 is taken.*or 0") as caught:
            await second.__aenter__()
        assert caught.value.errno == errno.EADDRINUSE
        assert not second.is_open
    async with second:  # Once it is free.
        assert await status(second) == 200


async def test_an_address_that_this_machine_has_not_is_named() -> None:
    with pytest.raises(OSError, match=r"192\.0\.2\.1 is no address of this machine"):
        async with Agent(host="192.0.2.1"):
            pass


async def test_it_listens_on_ipv6() -> None:
    async with Agent(host="::1") as agent:
        assert agent.url.startswith("http://[::1]:")
        assert await status(agent) == 200


async def test_it_listens_on_the_address_of_a_name() -> None:
    async with Agent(host="localhost") as agent:
        assert await status(agent) == 200


async def test_who_listens_on_all_addresses_is_told_when_anybody_may_register(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Agent(host="0.0.0.0") as agent:
        assert agent.url.startswith("http://127.0.0.1:")
        assert await status(agent) == 200
    assert [record.levelno for record in caplog.records if "anybody may register" in record.message]
    caplog.clear()
    async with Agent(host="0.0.0.0", token="secret"):
        pass
    async with Agent():
        pass
    assert "anybody" not in caplog.text


async def test_it_is_opened_once_at_a_time_and_may_be_opened_again() -> None:
    agent = Agent()
    async with agent:
        await register(agent, "web")
        with pytest.raises(RuntimeError, match="open already"):
            await agent.__aenter__()
        assert await services(agent) == {"consul", "web"}
    url = agent.url
    async with agent:
        assert agent.url == url
        assert await services(agent) == {"consul"}
    outcomes = await asyncio.gather(agent.__aenter__(), agent.__aenter__(), return_exceptions=True)
    assert sorted(type(outcome) for outcome in outcomes if outcome is not agent) == [RuntimeError]
    await agent.aclose()


async def test_closing_is_idempotent_and_anybodys() -> None:
    agent = Agent()
    await agent.aclose()
    async with agent:
        await asyncio.gather(*(asyncio.create_task(agent.aclose()) for _ in range(3)))
        assert not agent.is_open
        with pytest.raises(aiohttp.ClientError):
            await status(agent)
        with pytest.raises(RuntimeError, match="isn't open"):
            agent.forget()
        with pytest.raises(RuntimeError, match="isn't open"):
            await agent.restart()


async def test_who_closes_it_while_another_does_waits_until_it_has_stopped() -> None:
    agent = Agent()
    async with agent:
        clients = await block(agent, 10)
        first = asyncio.create_task(agent.aclose())
        await asyncio.sleep(0)
        await agent.aclose()
        assert not agent.is_open
        assert not listens(agent)
        await first
        for client in clients:
            client.close()


@pytest.mark.parametrize("turns", range(6))
async def test_who_closes_it_while_it_opens_or_restarts_leaves_it_open_or_closed(turns: int) -> None:
    agent = Agent()
    for begin in (agent.__aenter__, agent.restart):
        beginning = asyncio.ensure_future(begin())
        for _ in range(turns):
            await asyncio.sleep(0)
        closing = asyncio.create_task(agent.aclose())
        await asyncio.gather(beginning, closing, return_exceptions=True)
        assert agent.is_open == listens(agent)
        await agent.aclose()
        assert not listens(agent)
        await agent.__aenter__()
    await agent.aclose()


async def test_restarts_at_once_come_one_after_the_other() -> None:
    async with Agent() as agent:
        await asyncio.gather(agent.restart(), agent.restart())
        assert await services(agent) == {"consul"}


async def test_requests_that_come_while_it_closes_meet_no_bug(caplog: pytest.LogCaptureFixture) -> None:
    data = b"GET /v1/catalog/services HTTP/1.1\r\nHost: x\r\n\r\n" * 20
    async with Agent() as agent:
        for turns in range(12):
            client = socket.create_connection(("127.0.0.1", port_of(agent)))
            client.sendall(data)
            for _ in range(turns):
                await asyncio.sleep(0)
            await agent.restart()
            client.close()
    assert "bug" not in caplog.text


async def test_closing_ends_500_waiting_queries_and_leaves_nothing() -> None:
    # Debugging makes each of some thousand tasks ten times as slow.
    asyncio.get_running_loop().set_debug(False)
    before = asyncio.all_tasks()
    async with Agent(connections=1000) as agent:
        clients = await block(agent, 500)
        async with asyncio.timeout(10):  # Their waits have minutes to go.
            await agent.aclose()
    assert asyncio.all_tasks() == before
    for client in clients:
        client.close()


@pytest.mark.parametrize(
    "options",
    [
        {"port": -1},
        {"port": 65536},
        {"connections": 0},
        {"token": ""},
        {"read_token": "r"},
        {"token": "same", "read_token": "same"},
        {"host": ""},
        {"node": ""},
        {"datacenter": ""},
        {"reap_interval": 0},  # it would look without end
        {"reap_interval": float("nan")},
        {"deregister_after_min": -1.0},
        {"check_update_interval": float("inf")},
    ],
    ids=str,
)
def test_what_can_not_be_is_refused_when_it_is_made(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Agent(**options)  # type: ignore[arg-type]


async def test_its_repr_says_where_it_is_and_no_secret() -> None:
    agent = Agent(token="hush", read_token="quiet")
    assert "not open" in repr(agent)
    async with agent:
        assert agent.url in repr(agent)
        assert "hush" not in repr(agent) + repr(agent._config)
        assert "quiet" not in repr(agent) + repr(agent._config)


async def test_a_bug_in_an_endpoint_is_a_500_that_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Agent() as agent:
        monkeypatch.setattr(agent._opened.catalog, "names", lambda: 1 / 0)
        async with aiohttp.request("GET", agent.url + "/v1/catalog/services") as answer:
            assert answer.status == 500
            assert "ZeroDivisionError" not in await answer.text()
        assert await status(agent) == 200
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.name for record in errors] == ["asyncsd.agent"]
    assert "GET /v1/catalog/services" in errors[0].message


async def test_forgetting_loses_the_registrations_and_the_index_goes_on() -> None:
    async with Agent() as agent:
        await register(agent, "web")
        registry = agent._opened
        registry.local.add_check(CheckDefinition(check_id="disk", name="disk", ttl=10.0))
        other = Node(node="other", address="10.0.0.1", datacenter="dc1")
        registry.catalog.register(other, [Service(id="db", service="db")])
        before = await index(agent)
        agent.forget()
        assert await services(agent) == {"consul"}
        assert await index(agent) > before
        assert [node.node for node in agent._opened.catalog.nodes().value] == ["asyncsd"]
        assert [check.check_id for check in agent._opened.catalog.checks().value] == ["serfHealth"]


async def test_a_reset_keeps_the_registrations_with_a_lower_index() -> None:
    async with Agent() as agent:
        await register(agent, "web")
        before = await index(agent)
        agent.reset_index()
        assert 0 < await index(agent) < before
        assert await services(agent) == {"consul", "web"}
        await register(agent, "db")
        assert await services(agent) == {"consul", "db", "web"}


async def test_a_reset_answers_those_who_wait_and_who_asks_with_the_old_index_waits_on() -> None:
    async with Agent() as agent:
        await register(agent, "web")
        known = await index(agent)
        path = f"/v1/catalog/services?index={known}&wait=60s"
        waiting = asyncio.create_task(index(agent, path))
        async with asyncio.timeout(10):
            await until(lambda: len(agent._opened.catalog.waiters))
            agent.reset_index()
            assert await waiting == known
        assert await index(agent, f"/v1/catalog/services?index={known}&wait=10ms") < known


async def test_a_restart_is_on_the_same_port_and_empty_and_begins_the_index_anew() -> None:
    async with Agent() as agent, aiohttp.ClientSession() as session:
        await register(agent, "web")
        url, before = agent.url, await index(agent)
        path = f"{url}/v1/catalog/services?index={before}&wait=60s"
        waiting = asyncio.create_task(session.get(path))
        async with asyncio.timeout(10):
            await until(lambda: len(agent._opened.catalog.waiters))
            await agent.restart()
            with pytest.raises(aiohttp.ClientError):
                await waiting
        assert agent.url == url
        assert await services(agent) == {"consul"}
        assert await index(agent) < before


async def test_a_cut_ends_all_connections_and_new_ones_are_taken() -> None:
    async with Agent() as agent:
        clients = await block(agent, 3)
        agent.cut()
        await until(lambda: not len(agent._opened.catalog.waiters))
        for client in clients:
            assert client.recv(1) == b""
            client.close()
        assert await status(agent) == 200


async def test_it_counts_the_requests() -> None:
    async with Agent() as agent:
        await status(agent)
        await status(agent, "/v1/nothing")
        await status(agent, "/ui/")
        assert agent.requests == 2
