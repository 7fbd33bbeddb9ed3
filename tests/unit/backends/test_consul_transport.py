"""The pooled transport, seen through the backend, with both clients."""

import asyncio
import itertools
import logging
import random
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from asyncsd import (
    BackendError,
    BadRequestError,
    ClosedError,
    Health,
    Meta,
    NotRegisteredError,
    PermissionDeniedError,
    ProtocolError,
    Query,
    RateLimitedError,
    Registration,
    TTLCheck,
    UnreachableError,
    UnsupportedError,
)
from asyncsd._clock import LoopClock
from asyncsd.backends.consul import ConsulBackend, _transport
from asyncsd.backends.consul._transport import PROBES, _probed
from asyncsd.testing import FakeClock
from tests.support.consul import ClientKind
from tests.support.fake_agent import Asked, Certificates, FakeAgent, Handler, make_certificates

USERS = Query("users")
ME = Registration(service="users", port=80, check=TTLCheck()).record(id="me", host="127.0.0.1")
ONE = '[{"Node": {"Node": "n", "Address": "10.0.0.1"}, "Service": {"ID": "u1", "Service": "users"}}]'


@pytest.fixture(params=["aio", "direct"])
def client(request: pytest.FixtureRequest) -> ClientKind:
    kind: ClientKind = request.param
    return kind


@pytest.fixture
async def agent() -> AsyncIterator[FakeAgent]:
    async with FakeAgent() as agent:
        yield agent


@pytest.fixture
async def backend(agent: FakeAgent, client: ClientKind) -> AsyncIterator[ConsulBackend]:
    async with ConsulBackend(agent.url, client=client) as backend:
        yield backend


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


# What is asked


async def test_a_blocking_query_says_index_and_wait(agent: FakeAgent, backend: ConsulBackend) -> None:
    first = await backend.fetch(Query("users", tags=("v1",), datacenter="dc2"), None)
    await backend.fetch(Query("users", tags=("v1",), datacenter="dc2"), first.cursor)
    plain, blocking = agent.asked
    assert (plain.method, plain.path) == ("GET", "/v1/health/service/users")
    assert sorted(plain.query) == [("dc", "dc2"), ("tag", "v1")]
    assert sorted(blocking.query) == [("dc", "dc2"), ("index", "7"), ("tag", "v1"), ("wait", "55s")]


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        (Query("users", tags=("a", "b")), [("tag", "a"), ("tag", "b")]),
        (Query("users", filter="a == b"), [("filter", "a == b")]),
        (Query("users", consistency="consistent"), [("consistent", "")]),
        (Query("users", near="_agent", tags=("a",)), [("near", "_agent"), ("tag", "a")]),
        (Query("users", node_meta=Meta({"rack": "r1"})), [("node-meta", "rack:r1")]),
        (Query("users", server_filter=True), [("passing", "1")]),
        (Query("users", server_filter=True, status="critical"), []),
    ],
)
async def test_what_a_query_asks_for_is_sent(
    agent: FakeAgent, backend: ConsulBackend, query: Query, sent: list[tuple[str, str]]
) -> None:
    await backend.fetch(query, None)
    assert sorted(agent.asked[0].query) == sent


@pytest.mark.parametrize("index", ["0", "nonsense", "-4", ""])
async def test_an_index_that_says_nothing_is_not_waited_from(
    agent: FakeAgent, backend: ConsulBackend, index: str
) -> None:
    agent.say(ONE, X_Consul_Index=index)
    reply = await backend.fetch(USERS, None)
    assert (reply.cursor, reply.index) == (None, None)
    assert [i.id for i in reply.instances] == ["u1"]
    agent.say("{}", X_Consul_Index=index)
    assert (await backend.fetch_names(None)).cursor is None


async def test_no_leader_is_told_unless_the_streaming_backend_says_so(
    agent: FakeAgent, backend: ConsulBackend
) -> None:
    agent.say("[]", X_Consul_KnownLeader="false")
    assert not (await backend.fetch(USERS, None)).known_leader
    agent.say("[]", X_Consul_KnownLeader="false", X_Consul_Query_Backend="streaming")
    assert (await backend.fetch(USERS, None)).known_leader
    agent.say("[]")
    assert (await backend.fetch(USERS, None)).known_leader


async def test_a_stale_read_past_its_bound_is_asked_again_of_the_leader(
    agent: FakeAgent, backend: ConsulBackend
) -> None:
    query = Query("users", consistency="stale", max_stale=2.0)
    agent.say("[]", X_Consul_LastContact="1999")
    await backend.fetch(query, None)
    agent.say("[]", X_Consul_LastContact="2001")
    await backend.fetch(query, None)
    assert [[name for name, _ in asked.query] for asked in agent.asked] == [["stale"], ["stale"], []]


async def test_the_agent_on_this_machine_is_asked_not_to_compress(
    agent: FakeAgent, backend: ConsulBackend
) -> None:
    await backend.fetch(USERS, None)
    assert agent.asked[0].headers["Accept-Encoding"] == "identity"


async def test_long_answers_are_whole_whether_they_grow_or_shrink(
    agent: FakeAgent, backend: ConsulBackend
) -> None:
    for size in (2_000_000, 2_000_000, 2_000_001, 3_000_000, 1_500_000, 100, 2_000_000):
        body = random.Random(size).randbytes(size // 2).hex() + "x" * (size % 2)
        agent.say(body)
        answer = await backend.clients[0].health(Query("users"))
        assert answer.body == body.encode()
        # No room is made any more for one that has become short.
        assert bool(backend._transport._long) == (size > 1_000)


class CountingClock(LoopClock):
    """Knows how many deadlines were set."""

    __slots__ = ("deadlines",)

    def __init__(self) -> None:
        self.deadlines = 0

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        self.deadlines += 1
        return super().timeout(seconds)


async def test_an_answer_that_came_whole_has_no_deadlines_for_its_body(
    agent: FakeAgent, client: ClientKind
) -> None:
    clock = CountingClock()
    async with ConsulBackend(agent.url, client=client, clock=clock) as backend:
        first = await backend.fetch(USERS, None)
        set_for: list[int] = []
        for _ in range(5):  # One or another may come in two pieces.
            before = clock.deadlines
            await backend.fetch(USERS, first.cursor)
            set_for.append(clock.deadlines - before)
        assert min(set_for) == 1  # That of the blocking query.


async def test_connections_are_pooled(agent: FakeAgent, backend: ConsulBackend) -> None:
    for _ in range(5):
        await backend.fetch(USERS, None)
        await backend.register(ME)
    assert len(agent.asked) == 10
    assert len({asked.peer for asked in agent.asked}) == 1


async def test_the_environment_has_no_influence(
    agent: FakeAgent, client: ClientKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "CONSUL_HTTP_ADDR": "[::1]:1:nonsense",
        "CONSUL_HTTP_TOKEN": "from-the-environment",
        "CONSUL_HTTP_SSL": "true",
        "HTTP_PROXY": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    async with ConsulBackend(agent.url, client=client) as backend:
        await backend.fetch(USERS, None)
        await backend.renew(await backend.register(ME), Health("passing"))
    assert len(agent.asked) == 3
    assert all("X-Consul-Token" not in asked.headers for asked in agent.asked)


async def test_a_note_that_is_no_utf_8_is_told_as_far_as_it_goes(
    agent: FakeAgent, backend: ConsulBackend
) -> None:
    lease = await backend.register(ME)
    await backend.renew(lease, Health("critical", "no such file: /\udcff"))
    assert dict(agent.asked[-1].query)["note"] == "no such file: /?"


# Errors


@pytest.mark.parametrize(
    ("status", "kind", "permanent"),
    [
        (400, BadRequestError, True),
        (401, PermissionDeniedError, True),
        (403, PermissionDeniedError, True),
        (404, BackendError, False),
        (429, RateLimitedError, False),
        (500, BackendError, False),
        (503, BackendError, False),
        (301, BackendError, False),
    ],
)
async def test_a_status_is_one_of_our_errors(
    agent: FakeAgent, backend: ConsulBackend, status: int, kind: type[BackendError], permanent: bool
) -> None:
    agent.say("out of  order\n" + "x" * 500, status, Retry_After="3", Location="/elsewhere")
    for call in (backend.fetch(USERS, None), backend.fetch_names(None), backend.register(ME)):
        with pytest.raises(
            BackendError, match=f"{status}: out of order x+…(: is it| |: it points to /elsewhere )"
        ) as error:
            await call
        assert type(error.value) is kind
        assert (error.value.status, error.value.permanent) == (status, permanent)
        assert len(str(error.value)) < 400
        assert agent.url in str(error.value)
        if isinstance(error.value, RateLimitedError):
            assert error.value.retry_after == 3.0


@pytest.mark.parametrize("body", ["null", "{}", "<html>", '[{"Node":', "", "7"])
async def test_another_shape_is_a_protocol_error(agent: FakeAgent, backend: ConsulBackend, body: str) -> None:
    agent.say(body)
    with pytest.raises(ProtocolError, match="should be a list of instances"):
        await backend.fetch(USERS, None)
    agent.say("[]" if body == "{}" else body)
    with pytest.raises(ProtocolError, match="should be an object of services"):
        await backend.fetch_names(None)


async def raw(answer: bytes) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (b"", UnreachableError, "was closed before the answer was whole"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", UnreachableError, "closed before"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[", UnreachableError, "closed before"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[", UnreachableError, "closed before"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", ProtocolError, "isn't HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x46", ProtocolError, "isn't HTTP"),
    ],
)
async def test_a_connection_that_ends_or_speaks_otherwise_is_one_of_our_errors(
    client: ClientKind, answer: bytes, kind: type[BackendError], says: str
) -> None:
    async with await raw(answer) as server:
        port = server.sockets[0].getsockname()[1]
        async with ConsulBackend(f"127.0.0.1:{port}", client=client) as backend:
            with pytest.raises(BackendError, match=says) as error:
                await backend.fetch(USERS, None)
            assert type(error.value) is kind


async def test_a_body_that_can_not_be_unpacked_is_a_protocol_error(
    agent: FakeAgent, backend: ConsulBackend
) -> None:
    agent.say("[]", Content_Encoding="gzip")
    with pytest.raises(ProtocolError, match="gzip"):
        await backend.fetch(USERS, None)


async def test_an_answer_that_is_no_http_shows_no_secrets_in_its_traceback(client: ClientKind) -> None:
    async with await raw(b"SSH-2.0-OpenSSH_9.6\r\n") as server:
        url = f"http://bob:p4ss@127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with ConsulBackend(url, client=client, token="s3cret") as backend:
            with pytest.raises(ProtocolError, match="SSH-2") as error:
                await backend.fetch(USERS, None)
    found: BaseException | None = error.value
    while found is not None:
        for text in (str(found), repr(found), repr(vars(found))):
            assert "s3cret" not in text
            assert "Basic" not in text
        found = found.__cause__ or found.__context__


async def test_a_body_that_flows_takes_longer_than_the_deadline_and_one_that_stops_does_not(
    agent: FakeAgent, client: ClientKind
) -> None:
    clock = FakeClock()
    go_on = asyncio.Semaphore(0)

    async def slowly(_: Asked) -> web.StreamResponse:
        response = web.StreamResponse(headers={"X-Consul-Index": "7"})
        response.enable_chunked_encoding()
        await response.prepare(agent.requests[-1])
        for part in (ONE[:20], ONE[20:40], ONE[40:]):
            await response.write(part.encode())
            await go_on.acquire()
        return response

    agent.handle = slowly
    async with ConsulBackend(agent.url, client=client, clock=clock) as backend:
        waiting = asyncio.create_task(backend.fetch(USERS, None))
        await agent.arrived.acquire()
        for _ in range(3):
            await clock.settle()
            await clock.advance(9.0)
            go_on.release()
        assert [i.id for i in (await waiting).instances] == ["u1"]
        waiting = asyncio.create_task(backend.fetch(USERS, None))
        await agent.arrived.acquire()
        await clock.settle()
        await clock.advance(10.0)
        with pytest.raises(UnreachableError, match="the answer stopped for 10 s"):
            await waiting


async def test_nobody_there_is_unreachable(agent: FakeAgent, backend: ConsulBackend) -> None:
    await agent.stop()
    for call in (backend.fetch(USERS, None), backend.register(ME)):
        with pytest.raises(UnreachableError, match="can't connect"):
            await call


async def test_a_name_that_nobody_knows_is_unreachable(client: ClientKind) -> None:
    async with ConsulBackend("nobody.invalid", client=client) as backend:
        with pytest.raises(UnreachableError, match=r"nobody\.invalid"):
            await backend.fetch(USERS, None)
        with pytest.raises(UnreachableError, match=r"no way from here to nobody\.invalid"):
            await backend.local_host()


@pytest.mark.parametrize(("blocking", "seconds"), [(False, 10.0), (True, 55 + 55 / 16 + 10)])
async def test_an_agent_that_never_answers_is_unreachable_after_the_deadline(
    agent: FakeAgent, client: ClientKind, blocking: bool, seconds: float
) -> None:
    clock = FakeClock()
    async with ConsulBackend(agent.url, client=client, clock=clock) as backend:
        cursor = (await backend.fetch(USERS, None)).cursor if blocking else None
        agent.never()
        waiting = asyncio.create_task(backend.fetch(USERS, cursor))
        for _ in agent.asked:
            await agent.arrived.acquire()
        await agent.arrived.acquire() if not blocking else None
        await clock.advance(seconds - 0.001)
        assert not waiting.done()
        await clock.advance(0.001)
        with pytest.raises(UnreachableError, match=f"no answer in {seconds:g} s"):
            await waiting


async def test_a_cancelled_fetch_leaves_the_backend_usable(agent: FakeAgent, backend: ConsulBackend) -> None:
    answer = agent.handle
    agent.never()
    waiting = asyncio.create_task(backend.fetch(USERS, None))
    await agent.arrived.acquire()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    agent.handle = answer
    assert (await backend.fetch(USERS, None)).index == 7


# The default host of a registration


@pytest.mark.parametrize(
    ("body", "host"),
    [
        ('{"Member": {"Addr": "10.0.0.7"}}', "10.0.0.7"),
        ('{"Member": {"Addr": "2001:db8::7"}}', "2001:db8::7"),
        ('{"Member": {"Addr": "127.0.0.1"}}', "127.0.0.1"),
    ],
)
async def test_an_agent_on_this_machine_tells_the_host(
    agent: FakeAgent, backend: ConsulBackend, body: str, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    agent.say(body)
    assert await backend.local_host() == host
    assert agent.asked[0].path == "/v1/agent/self"
    assert not [record for record in caplog.records if record.name.startswith("asyncsd")]


@pytest.mark.parametrize(
    ("status", "body"),
    [(403, "denied"), (404, "no"), (200, "[]"), (200, "{}"), (200, '{"Member": {"Addr": "0.0.0.0"}}')],
)
async def test_an_agent_that_does_not_tell_its_host_is_warned_of_once(
    agent: FakeAgent, backend: ConsulBackend, status: int, body: str, caplog: pytest.LogCaptureFixture
) -> None:
    agent.say(body, status)
    assert [await backend.local_host() for _ in range(3)] == ["127.0.0.1"] * 3
    assert [
        "which other machines can't call" in r.getMessage() for r in caplog.records if "asyncsd" in r.name
    ] == [True]


async def test_the_next_agent_tells_the_host_while_the_first_is_away(client: ClientKind) -> None:
    async with FakeAgent() as first, FakeAgent() as second:
        second.say('{"Member": {"Addr": "10.0.0.7"}}')
        async with ConsulBackend([first.url, second.url], client=client) as backend:
            await first.stop()
            assert await backend.local_host() == "10.0.0.7"
            await second.stop()
            with pytest.raises(UnreachableError, match="none of 2 agents"):
                await backend.local_host()


# Opening and closing


async def test_closing_ends_requests_in_flight_with_closed_error(
    agent: FakeAgent, backend: ConsulBackend
) -> None:
    reply = await backend.fetch(USERS, None)
    agent.never()
    calls = (
        backend.fetch(USERS, None),
        backend.fetch(USERS, reply.cursor),
        backend.fetch_names(None),
        backend.register(ME),
    )
    waiting = [asyncio.create_task(call) for call in calls]
    for _ in range(5):
        await agent.arrived.acquire()
    await asyncio.gather(backend.aclose(), backend.aclose())
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ClosedError] * 4
    assert not backend.is_open
    await backend.aclose()


async def test_a_backend_that_is_not_open_says_so(client: ClientKind) -> None:
    backend = ConsulBackend(client=client)
    assert not backend.is_open
    for call in (backend.fetch(USERS, None), backend.register(ME), backend.local_host()):
        with pytest.raises(ClosedError, match="isn't open"):
            await call
    await backend.aclose()
    with pytest.raises(RuntimeError, match="opened once"):
        await backend.__aenter__()


async def test_a_backend_is_opened_once(backend: ConsulBackend) -> None:
    with pytest.raises(RuntimeError, match="opened once"):
        await backend.__aenter__()
    assert backend.is_open


async def test_a_backend_belongs_to_the_loop_that_opened_it(backend: ConsulBackend) -> None:
    def elsewhere() -> None:
        asyncio.run(backend.fetch(USERS, None))

    with pytest.raises(RuntimeError, match="belongs to the event loop that opened it"):
        await asyncio.to_thread(elsewhere)


async def test_a_lent_session_is_used_and_left_open(agent: FakeAgent, client: ClientKind) -> None:
    async with aiohttp.ClientSession(headers={"X-Mine": "1"}) as session:
        async with ConsulBackend(agent.url, client=client, session=session) as backend:
            await backend.fetch(USERS, None)
        assert not session.closed
        assert agent.asked[0].headers["X-Mine"] == "1"
        async with ConsulBackend(agent.url, client=client, session=session) as backend:
            await session.close()
            with pytest.raises(ClosedError, match="session"):
                await backend.fetch(USERS, None)


async def test_a_lent_session_that_raises_for_a_status_hides_no_answer(
    agent: FakeAgent, client: ClientKind
) -> None:
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        ConsulBackend(agent.url, client=client, session=session) as backend,
    ):
        lease = await backend.register(ME)
        agent.say("Unknown check", 404)
        with pytest.raises(NotRegisteredError):
            await backend.renew(lease, Health("passing"))


@pytest.mark.parametrize("limits", [{"limit": 4}, {"limit_per_host": 4}])
async def test_watches_leave_half_of_a_lent_pool_to_heartbeats(
    agent: FakeAgent, client: ClientKind, limits: dict[str, Any]
) -> None:
    connector = aiohttp.TCPConnector(**limits)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        ConsulBackend(agent.url, client=client, session=session, clock=FakeClock()) as backend,
    ):
        cursor = (await backend.fetch(USERS, None)).cursor
        agent.handle = held_reads(agent)
        watches = [asyncio.create_task(backend.fetch(Query(f"s{n}"), cursor)) for n in range(5)]
        for _ in range(3):
            await agent.arrived.acquire()
        async with asyncio.timeout(5):
            await backend.register(ME)
    await asyncio.gather(*watches, return_exceptions=True)


async def test_a_unix_socket_needs_a_lent_session_that_can_reach_it(
    client: ClientKind, tmp_path: Path
) -> None:
    async with FakeAgent(socket=tmp_path / "consul.sock") as agent:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(ValueError, match=r"ConsulBackend\.session reaches no unix socket"):
                await ConsulBackend(agent.url, client=client, session=session).__aenter__()
        connector = aiohttp.UnixConnector(str(tmp_path / "consul.sock"))
        async with aiohttp.ClientSession(connector=connector) as session:
            async with ConsulBackend(agent.url, client=client, session=session) as backend:
                assert (await backend.fetch(USERS, None)).index == 7


# Several agents


async def test_reads_go_to_the_next_agent_when_one_is_down_and_stay_there(
    client: ClientKind, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "asyncsd.consul")
    async with FakeAgent() as first, FakeAgent() as second:
        async with ConsulBackend([first.url, second.url], client=client) as backend:
            cursor = (await backend.fetch(USERS, None)).cursor
            await first.stop()
            for _ in range(3):
                reply = await backend.fetch(USERS, cursor)
            await first.start()
            await backend.fetch(USERS, reply.cursor)
        assert len(first.asked) == 1
        # An index means something only to the agent that gave it.
        assert [dict(asked.query).get("index") for asked in second.asked] == [None, None, None, "7"]
        # The query that waited isn't repeated: every other one would be too, in the same moment.
        asked = f"{first.url}/v1/health/service/users?index=7&wait=55s"
        assert [record.getMessage() for record in caplog.records if "reads go to" in record.getMessage()] == [
            f"reads go to {second.url} now: the connection was closed before the answer was whole ({asked})"
        ]


@pytest.mark.parametrize(("status", "text"), [(429, "slow"), (403, "denied"), (500, "boolean expression")])
async def test_an_error_that_another_agent_would_give_too_moves_nothing(
    client: ClientKind, status: int, text: str
) -> None:
    async with FakeAgent() as first, FakeAgent() as second:
        first.say(text, status, Retry_After="1")
        async with ConsulBackend([first.url, second.url], client=client) as backend:
            with pytest.raises(BackendError, match=text):
                await backend.fetch(USERS, None)
        assert second.asked == []


async def test_reads_leave_an_agent_that_fails_and_registrations_do_not(client: ClientKind) -> None:
    async with FakeAgent() as first, FakeAgent() as second:
        first.say("No known Consul servers", 500)
        async with ConsulBackend([first.url, second.url], client=client) as backend:
            for _ in range(2):
                assert (await backend.fetch(USERS, None)).index == 7
            assert (len(first.asked), len(second.asked)) == (1, 2)
            with pytest.raises(BackendError, match="No known Consul servers"):
                await backend.register(ME)
            second.say("proxy", 502)
            with pytest.raises(BackendError, match="502: proxy"):
                await backend.fetch(USERS, None)
            await second.stop()
            with pytest.raises(BackendError, match="No known Consul servers"):
                await backend.fetch(USERS, None)


async def test_a_registration_moves_and_the_orphan_goes_when_its_agent_is_back(client: ClientKind) -> None:
    clock = FakeClock()
    async with FakeAgent() as first, FakeAgent() as second:
        async with ConsulBackend([first.url, second.url], client=client, clock=clock) as backend:
            lease = await backend.register(ME)
            await first.stop()
            moved = await backend.register(ME, lease)
            assert (lease.where, moved.where) == (first.url, second.url)
            await backend.renew(moved, Health("passing"))  # The other is still away: no matter.
            await first.start()
            await backend.renew(moved, Health("passing"))  # It was looked for a moment ago.
            assert [asked.path for asked in first.asked] == ["/v1/agent/service/register"]
            await clock.advance(5.0)
            await backend.renew(moved, Health("passing"))
            await first.arrived.acquire()
            async with asyncio.timeout(5):
                await first.arrived.acquire()
            assert first.asked[-1].path == "/v1/agent/service/deregister/me"
            again = await backend.register(ME, moved)
            assert again.where == second.url


async def test_a_registration_that_moves_back_is_no_orphan(client: ClientKind) -> None:
    async with FakeAgent() as first, FakeAgent() as second:
        async with ConsulBackend([first.url, second.url], client=client) as backend:
            lease = await backend.register(ME)
            await first.stop()
            lease = await backend.register(ME, lease)
            await second.stop()
            await first.start()
            lease = await backend.register(ME, lease)
            assert lease.where == first.url
            await backend.deregister(lease)
        assert [asked.path.rpartition("/")[0] for asked in first.asked] == [
            "/v1/agent/service",
            "/v1/agent/service",
            "/v1/agent/service/deregister",
        ]


# Sockets and TLS


async def test_a_unix_socket_works_and_the_agent_behind_it_tells_its_host(
    client: ClientKind, tmp_path: Path
) -> None:
    async with FakeAgent(socket=tmp_path / "consul.sock") as agent:
        async with ConsulBackend(agent.url, client=client) as backend:
            assert (await backend.fetch(USERS, None)).index == 7
            lease = await backend.register(ME)
            assert lease.where == agent.url
            agent.say("denied", 403)
            with pytest.raises(UnsupportedError, match="give the Registration a host="):
                await backend.local_host()
            agent.say('{"Member": {"Addr": "10.0.0.7"}}')
            assert await backend.local_host() == "10.0.0.7"
            agent.say("no", 500)
            with pytest.raises(BackendError, match=f"unix://{tmp_path}/consul.sock/v1/health"):
                await backend.fetch(USERS, None)
    async with ConsulBackend(agent.url, client=client) as backend:
        with pytest.raises(UnreachableError, match=r"consul\.sock"):
            await backend.fetch(USERS, None)


async def test_a_private_ca_is_trusted_when_it_is_given(
    client: ClientKind, certificates: Certificates
) -> None:
    context = ssl.create_default_context(cafile=certificates.ca)
    async with FakeAgent(tls=certificates.server_context()) as agent:
        for options in ({"ca": certificates.ca}, {"verify": False}, {"ssl": context}):
            async with ConsulBackend(agent.url, client=client, **options) as backend:
                assert (await backend.fetch(USERS, None)).index == 7
        async with ConsulBackend(agent.url, client=client) as backend:
            with pytest.raises(UnreachableError, match="its certificate isn't trusted"):
                await backend.fetch(USERS, None)


async def test_a_client_certificate_is_shown_where_the_agent_wants_one(
    client: ClientKind, certificates: Certificates
) -> None:
    mine: dict[str, Any] = {"cert": certificates.client, "key": certificates.client_key}
    async with FakeAgent(tls=certificates.server_context(client_needed=True)) as agent:
        async with ConsulBackend(agent.url, client=client, ca=certificates.ca, **mine) as backend:
            assert (await backend.fetch(USERS, None)).index == 7
        async with ConsulBackend(agent.url, client=client, ca=certificates.ca) as backend:
            with pytest.raises(UnreachableError):
                await backend.fetch(USERS, None)


async def test_tls_files_that_can_not_be_used_are_named(certificates: Certificates, tmp_path: Path) -> None:
    for options, says in (
        ({"ca": tmp_path / "none.pem"}, "ConsulBackend.ca .*none.pem: No such file"),
        ({"cert": tmp_path / "none.pem"}, "ConsulBackend.cert .*none.pem: No such file"),
        ({"cert": certificates.client, "key": certificates.server_key}, "ConsulBackend.cert .*client.pem"),
    ):
        backend = ConsulBackend("https://127.0.0.1:1", **options)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=says):
            await backend.__aenter__()
        await backend.aclose()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ca": "ca.pem"}, "are for https:// agents"),
        ({"verify": False}, "are for https:// agents"),
        ({"url": "https://a", "key": "k.pem"}, "key goes with cert="),
        ({"url": "https://a", "ssl": ssl.create_default_context(), "ca": "c"}, "is a whole context"),
        ({"token": "a", "token_file": "b"}, "not both"),
        ({"token": "two\nlines"}, "is printable ASCII"),
        ({"token": ""}, "is printable ASCII"),
        ({"wait": 601.0}, "at most 600 s"),
        ({"wait": 0.0}, "ConsulBackend.wait"),
        ({"max_watches": 0}, "max_watches is a whole number"),
        ({"connect_timeout": -1.0}, "connect_timeout"),
        ({"client": "requests"}, "is 'aio', 'direct' or a ConsulClient"),
    ],
)
def test_options_that_can_not_be_are_refused_with_their_name(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ConsulBackend(**options)


# Many watches


def held_reads(agent: FakeAgent, room: int = 100) -> Handler:
    """Hold blocking queries, and refuse what comes while `room` of them are held."""
    held = 0
    answer = agent.handle

    async def handle(asked: Asked) -> web.StreamResponse:
        nonlocal held
        if held >= room:
            return web.Response(status=429, text="too many concurrent connections")
        if "wait" not in dict(asked.query):
            return await answer(asked)
        held += 1
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            held -= 1
        raise AssertionError

    return handle


@pytest.mark.parametrize("step", ["register", "renew", "deregister"])
async def test_a_registration_takes_a_connection_from_watches_where_the_agent_takes_no_more(
    agent: FakeAgent, client: ClientKind, step: str
) -> None:
    async with ConsulBackend(agent.url, client=client) as backend:
        lease = await backend.register(ME)
        cursor = (await backend.fetch(USERS, None)).cursor
        agent.handle = held_reads(agent, room=4)
        watches = [asyncio.create_task(backend.fetch(Query(f"s{n}"), cursor)) for n in range(4)]
        for _ in range(6):
            await agent.arrived.acquire()
        calls = {
            "register": lambda: backend.register(ME),
            "renew": lambda: backend.renew(lease, Health("passing")),
            "deregister": lambda: backend.deregister(lease),
        }
        async with asyncio.timeout(5):
            await calls[step]()
        assert not any(watch.done() for watch in watches)
    await asyncio.gather(*watches, return_exceptions=True)


async def test_a_429_that_says_when_to_come_again_is_not_tried_before(
    agent: FakeAgent, backend: ConsulBackend
) -> None:
    agent.say("slow down", 429, Retry_After="7")
    with pytest.raises(RateLimitedError):
        await backend.register(ME)
    assert len(agent.asked) == 1


async def test_more_watches_than_slots_take_turns_and_a_heartbeat_still_gets_through(
    agent: FakeAgent, client: ClientKind
) -> None:
    held = most = 0
    waits: set[str] = set()

    async def hold(asked: Asked) -> web.StreamResponse:
        nonlocal held, most
        query = dict(asked.query)
        if asked.path == "/v1/catalog/nodes":
            return web.Response(status=403)  # There can be no feed of changes.
        if "index" not in query:
            return await answer(asked)
        waits.add(query["wait"])
        held += 1
        most = max(most, held)
        try:
            # An agent that ends each wait without news.
            await asyncio.sleep(60 if query["wait"] == "55s" else 0.01)
        finally:
            held -= 1
        return await answer(asked)

    answer, agent.handle = agent.handle, hold
    async with ConsulBackend(agent.url, client=client, max_watches=2) as backend:
        lease = await backend.register(ME)
        queries = [Query(f"s{number}") for number in range(6)]
        cursors = [(await backend.fetch(query, None)).cursor for query in queries]
        watches = [
            asyncio.create_task(backend.fetch(q, c)) for q, c in zip(queries[:2], cursors, strict=False)
        ]
        for _ in range(9):
            await agent.arrived.acquire()
        assert held == 2
        more = [
            asyncio.create_task(backend.fetch(q, c)) for q, c in zip(queries[2:], cursors[2:], strict=True)
        ]
        async with asyncio.timeout(10):
            await backend.renew(lease, Health("passing"))
            # The last two have enough room again, and wait long.
            for answered in itertools.islice(asyncio.as_completed([*more, *watches]), 4):
                await answered
    await asyncio.gather(*more, *watches, return_exceptions=True)
    assert most <= 4  # The agent may see new ones before it sees the end of the two that were cut short.
    assert waits - {"55s"}
    assert len(waits) > 1


async def test_an_agent_that_resets_each_connection_is_tried_once_a_fetch(client: ClientKind) -> None:
    """A first failure may be that of a connection that was idle too long, which is mended by another one."""
    connections = 0

    def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.transport.abort()

    server = await asyncio.start_server(reset, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, ConsulBackend(f"127.0.0.1:{port}", client=client) as backend:
        for _ in range(5):
            with pytest.raises(UnreachableError):
                await backend.fetch(USERS, None)
    assert connections <= 6


async def test_a_connection_that_was_idle_too_long_is_mended_also_after_an_outage(
    agent: FakeAgent, backend: ConsulBackend
) -> None:
    await agent.stop()
    with pytest.raises(UnreachableError):
        await backend.fetch(USERS, None)
    await agent.start()
    await backend.fetch(USERS, None)

    async def close(asked: Asked) -> web.StreamResponse:
        agent.handle = answer
        transport = agent.requests[-1].transport
        assert transport is not None
        transport.abort()
        return await answer(asked)

    answer, agent.handle = agent.handle, close
    await backend.fetch(USERS, None)
    assert len(agent.asked) == 3


async def test_the_kernel_asks_a_connection_that_only_waits_whether_it_lives(
    agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a machine that is gone is noticed in half a minute; the end of one takes a network to see."""
    made: list[socket.socket] = []

    def noted(info: tuple[Any, ...]) -> socket.socket:
        made.append(_probed(info))
        return made[-1]

    monkeypatch.setattr(_transport, "_probed", noted)
    async with ConsulBackend(agent.url) as backend:
        await backend.fetch(USERS, None)
        (connection,) = made
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        for name, seconds in PROBES.items():
            if hasattr(socket, name):
                assert connection.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) == seconds


def test_the_direct_client_needs_no_consul_library() -> None:
    code = (
        "import asyncio, sys; from asyncsd.backends.consul import ConsulBackend\n"
        "async def main():\n"
        "    async with ConsulBackend(client='direct'): assert 'consul' not in sys.modules\n"
        "    async with ConsulBackend(client='aio'): assert 'consul' in sys.modules\n"
        "asyncio.run(main())"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_so_many_are_read_at_a_time_and_no_more(agent: FakeAgent, client: ClientKind) -> None:
    answer, reading, most, full = agent.handle, 0, 0, asyncio.Event()

    async def count(asked: Asked) -> web.StreamResponse:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        if reading == 32:
            full.set()
        await full.wait()
        await asyncio.sleep(0.02)  # More than that would come meanwhile.
        reading -= 1
        return await answer(asked)

    agent.handle = count
    async with ConsulBackend(agent.url, client=client) as backend, asyncio.timeout(10):
        await asyncio.gather(*(backend.fetch(USERS, None) for _ in range(100)))
    assert most == 32


async def test_reads_that_stand_in_line_have_time_while_it_moves(
    agent: FakeAgent, client: ClientKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncsd.backends.consul._transport.READS", 1)
    answer, clock = agent.handle, FakeClock()

    async def slow(asked: Asked) -> web.StreamResponse:
        await clock.sleep(4.0)
        return await answer(asked)

    async def outcomes() -> list[Any]:
        tasks = [asyncio.ensure_future(backend.fetch(USERS, None)) for _ in range(10)]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0.001)
            await clock.advance(0.25)
        return await asyncio.gather(*tasks, return_exceptions=True)

    agent.handle = slow
    async with ConsulBackend(agent.url, client=client, clock=clock) as backend, asyncio.timeout(20):
        assert {outcome.index for outcome in await outcomes()} == {7}
        agent.never()
        assert {type(outcome) for outcome in await outcomes()} == {UnreachableError}
