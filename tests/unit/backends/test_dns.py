"""What real name servers don't show on demand."""

import asyncio
import random
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import dns.flags
import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsd import (
    BackendError,
    BadRequestError,
    ClosedError,
    ProtocolError,
    Query,
    UnreachableError,
    UnsupportedError,
)
from asyncsd.backends.dns import DNSBackend, _resolver
from asyncsd.backends.dns._servers import NameServer, system_servers
from asyncsd.testing import FakeClock
from tests.support.nameserver import FakeNameServer, answer
from tests.support.process import free_ports

SRV = "users.test 60 SRV 0 1 80 a.test."
ADDRESS = "a.test 60 A 10.0.0.1"
USERS = Query("users")


class Steady(random.Random):
    """No jitter."""

    def random(self) -> float:
        return 0.0


def on(*servers: FakeNameServer, **options: Any) -> DNSBackend:
    # Where time is real, a question is sent again only by a machine that stands still for 20 s.
    values: dict[str, Any] = {
        "domain": "test",
        "rng": Steady(),
        "timeout": 3.0 if "clock" in options else 60.0,
    }
    return DNSBackend([server.address for server in servers], **(values | options))


def whole(query: dns.message.Message) -> dns.message.Message:
    return answer(query, SRV, additional=(ADDRESS,))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


# -- how long answers hold


@pytest.mark.parametrize(
    ("ttl", "holds"), [(0, 1.0), (1, 1.0), (7, 7.0), (60, 30.0)], ids=["none", "least", "its own", "most"]
)
async def test_an_answer_is_asked_for_again_after_its_ttl_within_bounds(
    clock: FakeClock, ttl: int, holds: float
) -> None:
    def tell(query: dns.message.Message) -> dns.message.Message:
        return answer(query, f"users.test {ttl} SRV 0 1 80 a.test.", additional=(ADDRESS,))

    async with FakeNameServer(tell) as server, on(server, clock=clock) as backend:
        reply = await backend.fetch(USERS, None)
        waiting = asyncio.create_task(backend.fetch(USERS, reply.cursor))
        await clock.advance(holds - 0.01)
        assert len(server.asked) == 1
        await clock.advance(0.02)
        await until(lambda: len(server.asked) == 2)
        waiting.cancel()


async def until(holds: Callable[[], object]) -> None:
    """Let the loop and its sockets work until it `holds`."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - sockets tell no event
            await asyncio.sleep(0)


async def test_an_address_that_holds_less_long_is_asked_for_sooner(clock: FakeClock) -> None:
    def tell(query: dns.message.Message) -> dns.message.Message:
        return answer(query, SRV, additional=("a.test 5 A 10.0.0.1",))

    async with FakeNameServer(tell) as server, on(server, clock=clock) as backend:
        reply = await backend.fetch(USERS, None)
        assert reply.cursor.due == clock.time() + 5


@pytest.mark.parametrize("rcode", ["NXDOMAIN", "NOERROR"])
@pytest.mark.parametrize(
    ("soa", "holds"),
    [
        ("test 900 SOA ns.test. me.test. 1 2 3 4 12", 12.0),
        ("test 8 SOA ns.test. me.test. 1 2 3 4 900", 8.0),
        (None, 1.0),
    ],
)
async def test_that_there_is_nothing_holds_for_as_long_as_the_soa_says(
    clock: FakeClock, rcode: str, soa: str | None, holds: float
) -> None:
    async with (
        FakeNameServer(lambda query: answer(query, authority=soa, rcode=rcode)) as server,
        on(server, clock=clock) as backend,
    ):
        reply = await backend.fetch(USERS, None)
        assert reply.instances == ()
        assert reply.cursor.due == clock.time() + holds


async def test_unchanged_a_fetch_ends_with_its_wait(clock: FakeClock) -> None:
    async with FakeNameServer(whole) as server, on(server, clock=clock, wait=45.0) as backend:
        reply = await backend.fetch(USERS, None)
        waiting = asyncio.create_task(backend.fetch(USERS, reply.cursor))
        await clock.advance(30)
        await until(lambda: (backend._lookups.latest("users") or reply.cursor).due > clock.time())
        await clock.advance(14.9)
        assert not waiting.done()
        await clock.advance(0.2)
        assert (await waiting).instances == reply.instances
        assert len(server.asked) == 2


async def test_an_error_ends_the_wait_and_the_cursor_stays_good(clock: FakeClock) -> None:
    async with FakeNameServer(whole) as server, on(server, clock=clock) as backend:
        reply = await backend.fetch(USERS, None)
        waiting = asyncio.create_task(backend.fetch(USERS, reply.cursor))
        server.tell = lambda query: answer(query, rcode="SERVFAIL")
        await clock.advance(30)
        with pytest.raises(BackendError, match=r"SERVFAIL for users\.test"):
            await waiting
        server.tell = lambda query: answer(query, rcode="NXDOMAIN")
        assert (await backend.fetch(USERS, reply.cursor)).instances == ()


async def test_many_who_hear_the_same_do_not_ask_again_together(clock: FakeClock) -> None:
    dues: set[float] = set()
    async with FakeNameServer(whole) as server:
        for seed in range(20):
            async with on(server, clock=clock, rng=random.Random(seed)) as backend:
                dues.add((await backend.fetch(USERS, None)).cursor.due - clock.time())
    assert len(dues) == 20
    assert 30.0 <= min(dues) < 31.0 < 32.0 < max(dues) <= 33.0


# -- one question for many


async def test_fetches_at_the_same_time_ask_once(clock: FakeClock) -> None:
    async with FakeNameServer(whole) as server, on(server, clock=clock) as backend:
        replies = await asyncio.gather(*(backend.fetch(USERS, None) for _ in range(20)))
        assert len(server.asked) == 1
        assert len({id(reply.instances[0]) for reply in replies}) == 1
        waiting = [asyncio.create_task(backend.fetch(USERS, replies[0].cursor)) for _ in range(20)]
        await clock.settle()
        server.tell = lambda query: answer(query, SRV, additional=("a.test 60 A 10.0.0.2",))
        await clock.advance(30)
        assert {reply.instances[0].host for reply in await asyncio.gather(*waiting)} == {"10.0.0.2"}
        assert len(server.asked) == 2


async def test_a_fetch_hears_what_another_has_learnt(clock: FakeClock) -> None:
    async with FakeNameServer(whole) as server, on(server, clock=clock) as backend:
        old = await backend.fetch(USERS, None)
        server.tell = lambda query: answer(query, SRV, additional=("a.test 60 A 10.0.0.2",))
        await backend.fetch(USERS, None)
        assert (await backend.fetch(USERS, old.cursor)).instances[0].host == "10.0.0.2"
        assert len(server.asked) == 2


async def test_a_question_goes_on_while_somebody_waits_for_it(clock: FakeClock) -> None:
    async with FakeNameServer(lambda query: None) as server, on(server, clock=clock) as backend:
        one, other = (asyncio.create_task(backend.fetch(USERS, None)) for _ in range(2))
        await until(lambda: server.asked)
        one.cancel()
        await asyncio.wait((one,))
        assert not other.done()
        assert len(backend._tasks) == 1
        server.tell = whole
        await clock.advance(1.01)  # It is sent again: the first was lost.
        assert len((await other).instances) == 1
        third = asyncio.create_task(backend.fetch(USERS, None))
        server.tell = lambda query: None
        await until(lambda: len(backend._tasks) == 1)
        third.cancel()
        await asyncio.wait((third,))
        await until(lambda: len(backend._tasks) == 0)
        server.tell = whole
        assert len((await backend.fetch(USERS, None)).instances) == 1


# -- what comes by the wire


async def test_a_lost_datagram_is_sent_again_and_silence_is_unreachable(clock: FakeClock) -> None:
    async with FakeNameServer(lambda query: None) as server, on(server, clock=clock) as backend:
        asking = asyncio.create_task(backend.fetch(USERS, None))
        await until(lambda: len(server.asked) == 1)
        await clock.advance(1.01)
        await until(lambda: len(server.asked) == 2)
        await clock.advance(2)
        with pytest.raises(UnreachableError, match=f"no answer in 3 s.*{server.address}"):
            await asking
        assert len(server.asked) == 3


async def test_answers_to_what_was_not_asked_are_passed_over() -> None:
    def tell(query: dns.message.Message) -> list[Any]:
        forged = answer(query, SRV, additional=("a.test 60 A 6.6.6.6",))
        forged.id ^= 1
        other = answer(dns.message.make_query("other.test", "SRV", id=query.id), "other.test 60 A 6.6.6.6")
        return [forged, b"", b"\x00", query.to_wire(), other, whole(query)]

    async with FakeNameServer(tell) as server, on(server) as backend:
        assert [i.host for i in (await backend.fetch(USERS, None)).instances] == ["10.0.0.1"]


async def test_addresses_of_names_that_were_not_asked_for_are_not_believed() -> None:
    def tell(query: dns.message.Message) -> dns.message.Message:
        if query.question[0].name.to_text() == "a.test.":
            return answer(query, ADDRESS)
        return answer(
            query, SRV, "evil.test 60 SRV 0 1 80 evil.test.", additional=("bank.test 60 A 6.6.6.6",)
        )

    async with FakeNameServer(tell) as server, on(server) as backend:
        assert [i.host for i in (await backend.fetch(USERS, None)).instances] == ["10.0.0.1"]


@pytest.mark.parametrize("tcp", [False, True])
async def test_what_is_not_dns_is_a_protocol_error_or_for_the_next_server(tcp: bool) -> None:
    def junk(query: dns.message.Message) -> bytes:
        return query.to_wire()[:2] + b"HTTP/1.1 400 Bad Request"

    async with FakeNameServer(junk) as server, on(server, tcp=tcp) as backend:
        with pytest.raises(ProtocolError, match=f"isn't DNS.*{server.address}"):
            await backend.fetch(USERS, None)
        async with FakeNameServer(whole) as second, on(server, second, tcp=tcp) as backend:
            assert len((await backend.fetch(USERS, None)).instances) == 1


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_raise_anything_but_a_backend_error(junk: bytes, keeps_head: bool) -> None:
    def tell(query: dns.message.Message) -> bytes:
        return (whole(query).to_wire()[:30] if keeps_head else query.to_wire()[:2]) + junk

    async def ask() -> None:
        async with FakeNameServer(tell) as server, on(server, tcp=True) as backend:
            with suppress(BackendError):
                await backend.fetch(USERS, None)

    asyncio.run(ask())


async def test_a_connection_that_is_closed_too_soon_is_unreachable() -> None:
    async with FakeNameServer(lambda query: []) as server, on(server, tcp=True) as backend:
        with pytest.raises(UnreachableError, match="closed before the answer was whole"):
            await backend.fetch(USERS, None)


# -- answers that are cut


def many(query: dns.message.Message, count: int) -> dns.message.Message:
    records = [f"users.test 60 SRV 0 1 {n + 1} a.test." for n in range(count)]
    return answer(query, *records, additional=(ADDRESS,))


async def test_a_truncated_answer_is_asked_for_by_tcp_and_so_is_the_next() -> None:
    async with FakeNameServer(lambda query: None) as server, on(server) as backend:

        def tell(query: dns.message.Message) -> dns.message.Message:
            told = many(query, 50 if server.asked[-1][2] == "tcp" else 1)
            told.flags |= dns.flags.TC if server.asked[-1][2] == "udp" else 0
            return told

        server.tell = tell
        assert len((await backend.fetch(USERS, None)).instances) == 50
        assert len((await backend.fetch(USERS, None)).instances) == 50
        assert [transport for *_, transport in server.asked] == ["udp", "tcp", "tcp"]


async def test_an_answer_that_is_cut_by_tcp_too_and_empty_is_no_empty_list() -> None:
    def tell(query: dns.message.Message) -> dns.message.Message:
        told = answer(query)
        told.flags |= dns.flags.TC
        return told

    async with FakeNameServer(tell) as server, on(server) as backend:
        with pytest.raises(BackendError, match="was cut by TCP too"):
            await backend.fetch(USERS, None)


async def test_a_large_answer_is_asked_for_by_tcp_until_it_is_small_again() -> None:
    """Consul cuts to what fits, and doesn't say so."""
    async with FakeNameServer(lambda query: None) as server, on(server) as backend:
        server.tell = lambda query: many(query, 100 if server.asked[-1][2] == "tcp" else 30)
        assert len((await backend.fetch(USERS, None)).instances) == 100
        assert len((await backend.fetch(USERS, None)).instances) == 100
        server.tell = lambda query: many(query, 3)
        for _ in range(2):
            assert len((await backend.fetch(USERS, None)).instances) == 3
        assert [transport for *_, transport in server.asked] == ["udp", "tcp", "tcp", "tcp", "udp"]


async def test_a_large_answer_is_taken_where_nobody_answers_by_tcp() -> None:
    async with FakeNameServer(lambda query: many(query, 30), tcp=False) as server, on(server) as backend:
        assert len((await backend.fetch(USERS, None)).instances) == 30


async def test_an_answer_that_fills_what_tcp_can_hold_is_said_to_lack_some_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    padding = " ".join(f'"{"x" * 250}"' for _ in range(259))

    def tell(query: dns.message.Message) -> dns.message.Message:
        if server.asked[-1][2] == "tcp":
            return answer(query, SRV, additional=(ADDRESS, f"vm.test 60 TXT {padding}"))
        told = whole(query)
        told.flags |= dns.flags.TC
        return told

    async with FakeNameServer(tell) as server, on(server) as backend:
        for _ in range(2):
            assert len((await backend.fetch(USERS, None)).instances) == 1
    (told,) = [record.getMessage() for record in caplog.records if record.name == "asyncsd.dns"]
    assert told.startswith(f"users.test: the answer of dns://{server.address} is as large as one can be")


# -- aliases


def zone(**records: tuple[str, ...]) -> Callable[[dns.message.Message], dns.message.Message]:
    """A server that tells just what is asked for: `a_A=("10.0.0.1",)` is the address of a.test."""

    def tell(query: dns.message.Message) -> dns.message.Message:
        name, _, kind = query.question[0].to_text().split()
        host = name.removesuffix(".test.")
        for wanted in (kind, "CNAME"):
            if found := records.get(f"{host}_{wanted}"):
                return answer(query, *(f"{host}.test 60 {wanted} {data}" for data in found))
        return answer(query, rcode="NXDOMAIN")

    return tell


async def test_an_alias_is_followed_though_the_server_does_not() -> None:
    tell = zone(
        users_CNAME=("u2.test.",), u2_CNAME=("u3.test.",), u3_SRV=("0 1 80 a.test.",), a_A=("10.0.0.1",)
    )
    async with FakeNameServer(tell) as server, on(server) as backend:
        (found,) = (await backend.fetch(USERS, None)).instances
    assert (found.service, found.host) == ("users", "10.0.0.1")


async def test_aliases_in_a_circle_are_an_error() -> None:
    tell = zone(users_CNAME=("u2.test.",), u2_CNAME=("users.test.",))
    async with FakeNameServer(tell) as server, on(server) as backend:
        with pytest.raises(BackendError, match="alias of an alias"):
            await backend.fetch(USERS, None)
        assert len(server.asked) < 20
        server.tell = lambda query: answer(
            query, "users.test 1 CNAME u2.test.", "u2.test 1 CNAME users.test."
        )
        with pytest.raises(BackendError):
            await backend.fetch(USERS, None)


async def test_an_alias_of_nothing_is_nothing() -> None:
    async with FakeNameServer(zone(users_CNAME=("u2.test.",))) as server, on(server) as backend:
        assert (await backend.fetch(USERS, None)).instances == ()


async def test_a_server_that_refers_to_others_does_not_say_that_there_is_nothing() -> None:
    def tell(query: dns.message.Message) -> dns.message.Message:
        return answer(query, authority="test 60 NS ns.elsewhere.example.")

    async with FakeNameServer(tell) as server, on(server) as backend:
        with pytest.raises(BackendError, match=r"refers to others.*use a resolver"):
            await backend.fetch(USERS, None)


# -- targets


def addresses_asked(server: FakeNameServer) -> int:
    return sum(kind == "A" for _, kind, _ in server.asked)


async def test_targets_are_looked_up_once_for_as_long_as_they_hold(clock: FakeClock) -> None:
    records = {f"t{n}_A": (f"10.0.0.{n}",) for n in range(1, 31)}
    tell = zone(users_SRV=tuple(f"0 1 80 t{n}.test." for n in range(1, 31)), **records)
    async with FakeNameServer(tell) as server, on(server, clock=clock) as backend:
        for _ in range(2):
            assert len((await backend.fetch(USERS, None)).instances) == 30
            assert addresses_asked(server) == 30
        await clock.advance(31)
        await backend.fetch(USERS, None)
        assert addresses_asked(server) == 60


async def test_targets_that_end_one_after_the_other_cause_no_storm(clock: FakeClock) -> None:
    targets = [f"t{n}" for n in range(40)]

    def tell(query: dns.message.Message) -> dns.message.Message:
        name = query.question[0].name.to_text(omit_final_dot=True)
        if name == "users.test":
            return answer(query, *(f"users.test 60 SRV 0 1 80 {target}.test." for target in targets))
        return answer(query, f"{name} {5 + int(name[1:-5]) % 10} A 10.0.0.1")

    async with (
        FakeNameServer(tell) as server,
        on(server, clock=clock, rng=random.Random(1), wait=30.0) as backend,
    ):
        reply = await backend.fetch(USERS, None)
        waiting = asyncio.create_task(backend.fetch(USERS, reply.cursor))
        for _ in range(310):
            await clock.advance(0.1)
        assert (await waiting).instances == reply.instances
    assert 5 < sum(kind == "SRV" for _, kind, _ in server.asked) <= 32
    assert addresses_asked(server) < 40 * 8


async def test_so_many_targets_are_looked_up_at_a_time() -> None:
    records = zone(users_SRV=tuple(f"0 1 80 t{n}.test." for n in range(1, 31)))
    async with FakeNameServer(lambda query: None) as server, on(server) as backend:
        server.tell = lambda query: None if query.question[0].name.to_text()[0] == "t" else records(query)
        asking = asyncio.create_task(backend.fetch(USERS, None))
        await until(lambda: addresses_asked(server) == 10)
        for _ in range(50):
            await asyncio.sleep(0)
        assert addresses_asked(server) == 10
        asking.cancel()


async def test_a_target_that_cannot_be_told_keeps_its_last_address(clock: FakeClock) -> None:
    tell = zone(users_SRV=("0 1 80 a.test.", "0 1 81 b.test."), a_A=("10.0.0.1",), b_AAAA=("2001:db8::1",))
    async with FakeNameServer(tell) as server, on(server, clock=clock) as backend:
        before = await backend.fetch(USERS, None)
        assert [i.host for i in before.instances] == ["10.0.0.1", "2001:db8::1"]
        server.tell = lambda query: (
            answer(query, rcode="SERVFAIL") if query.question[0].name.to_text() == "a.test." else tell(query)
        )
        await clock.advance(31)
        after = await backend.fetch(USERS, None)
        assert after.instances == before.instances


async def test_silence_about_the_targets_is_one_error_after_one_deadline(clock: FakeClock) -> None:
    tell = zone(users_SRV=tuple(f"0 1 80 t{n}.test." for n in range(30)))
    async with FakeNameServer(lambda query: None) as server, on(server, clock=clock) as backend:
        server.tell = lambda query: tell(query) if query.question[0].name.to_text()[0] == "u" else None
        asking = asyncio.create_task(backend.fetch(USERS, None))
        await until(lambda: addresses_asked(server) == 10)
        for _ in range(3):
            await clock.advance(1.01)
        with pytest.raises(UnreachableError, match="no answer in 3 s"):
            await asking
        assert addresses_asked(server) == 30  # Ten targets, thrice each.


async def test_the_same_target_twice_is_one_instance_of_the_better_priority() -> None:
    tell = zone(
        users_SRV=("5 1 80 a.test.", "1 9 80 A.test.", "1 0 81 a.test.", "7 1 80 ."), a_A=("10.0.0.1",)
    )
    async with FakeNameServer(tell) as server, on(server) as backend:
        found = (await backend.fetch(USERS, None)).instances
    assert [(i.id, i.weight, i.meta["priority"], i.status) for i in found] == [
        ("a.test:80", 9, "1", "passing"),
        ("a.test:81", 1, "1", "passing"),
    ]


async def test_a_target_that_nobody_can_call_leaves_its_priority_to_the_next() -> None:
    tell = zone(
        users_SRV=("1 1 80 a.test.", "2 1 80 b.test.", "3 1 80 b_d$.test."),
        a_A=("0.0.0.0",),
        b_A=("10.0.0.2",),
    )
    async with FakeNameServer(tell) as server, on(server) as backend:
        reply = await backend.fetch(USERS, None)
    assert [(i.host, i.status) for i in reply.instances] == [("10.0.0.2", "passing")]
    assert reply.skipped == 2


async def test_the_order_of_an_answer_says_nothing(clock: FakeClock) -> None:
    names = [f"t{n}" for n in range(9)]
    rng = random.Random(1)

    def tell(query: dns.message.Message) -> dns.message.Message:
        shuffled = rng.sample(names, len(names))
        return answer(
            query,
            *(f"users.test 1 SRV 0 1 80 {name}.test." for name in shuffled),
            additional=tuple(f"{name}.test 1 A 10.0.0.{name[1:]}" for name in shuffled if name != "t0"),
        )

    async with FakeNameServer(tell) as server, on(server, clock=clock, wait=10.0) as backend:
        before = await backend.fetch(USERS, None)
        waiting = asyncio.create_task(backend.fetch(USERS, before.cursor))
        for _ in range(11):
            await clock.advance(1)
        after = await waiting
    assert all(one is other for one, other in zip(before.instances, after.instances, strict=True))


# -- the rest


@pytest.mark.parametrize("service", ["a..b", "x" * 64, ".".join("x" * 60 for _ in range(5)), "a\\"])
async def test_a_service_that_can_be_no_name_is_refused_without_asking(service: str) -> None:
    async with FakeNameServer(whole) as server, on(server) as backend:
        with pytest.raises(BadRequestError, match="can't be a name in DNS"):
            await backend.fetch(Query(service), None)
        assert server.asked == []


@pytest.mark.parametrize(
    "values", [{"tags": ("v1",)}, {"datacenter": "dc2"}, {"filter": "x"}, {"node_meta": {"a": "b"}}]
)
async def test_queries_for_what_dns_has_not_are_refused(values: dict[str, Any]) -> None:
    async with FakeNameServer(whole) as server, on(server) as backend:
        with pytest.raises(UnsupportedError, match=f"DNS has no {next(iter(values))}"):
            await backend.fetch(Query("users", **values), None)


async def test_the_registry_filters_on_demand() -> None:
    tell = zone(users_SRV=("0 1 80 a.test.", "9 1 81 a.test."), a_A=("10.0.0.1",))
    async with FakeNameServer(tell) as server, on(server) as backend:
        reply = await backend.fetch(Query("users", server_filter=True), None)
        assert [i.port for i in reply.instances] == [80]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> list[NameServer]:
    """The name servers of this machine, as the test says."""
    servers: list[NameServer] = []

    def told() -> tuple[NameServer, ...]:
        if not servers:
            raise ValueError("this system names no name server: use DNSBackend(nameservers=...)")
        return tuple(servers)

    monkeypatch.setattr(_resolver, "system_servers", told)
    return servers


async def test_without_name_servers_the_systems_are_asked_and_read_again_when_they_fail(
    system: list[NameServer],
) -> None:
    with pytest.raises(ValueError, match="names no name server"):
        async with DNSBackend(domain="test"):
            pass
    system.append(NameServer("127.0.0.1", free_ports(1)[0]))
    async with FakeNameServer(whole) as server, DNSBackend(domain="test") as backend:
        system[:] = [NameServer("127.0.0.1", server.port)]
        with pytest.raises(UnreachableError):
            await backend.fetch(USERS, None)
        assert len((await backend.fetch(USERS, None)).instances) == 1
        system.clear()
        assert len((await backend.fetch(USERS, None)).instances) == 1


async def test_many_who_ask_at_once_find_out_once_where_the_servers_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[object] = []
    located = _resolver.located

    async def counting(servers: Any) -> Any:
        found.append(servers)
        await asyncio.sleep(0)
        return await located(servers)

    monkeypatch.setattr(_resolver, "located", counting)
    async with FakeNameServer(whole) as server, on(server) as backend:
        await asyncio.gather(*(backend.fetch(Query(f"s{number}"), None) for number in range(20)))
        assert len(server.asked) >= 20
    assert len(found) == 1


async def test_a_name_server_may_have_a_name_with_several_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody listens at the first of them, as on ::1 for localhost, the next is asked."""
    addresses: list[str] = []

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        if host == "ns.example":
            if not addresses:
                raise OSError(-2, "Name or service not known")
            return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (each, port)) for each in addresses]
        return await real(host, port, **_)

    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo
    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    async with (
        FakeNameServer(whole) as server,
        DNSBackend(f"ns.example:{server.port}", domain="test") as backend,
    ):
        with pytest.raises(UnreachableError, match="Name or service not known"):
            await backend.fetch(USERS, None)
        addresses[:] = ["127.0.0.2", "127.0.0.1"]
        assert len((await backend.fetch(USERS, None)).instances) == 1


def test_the_systems_name_servers_are_found() -> None:
    try:
        servers = system_servers()
    except ValueError as exc:
        assert "nameservers=" in str(exc)  # noqa: PT017 - either will do, as the machine is
    else:
        assert all(server.port == 53 for server in servers)


async def test_a_close_ends_a_fetch_that_waits(clock: FakeClock) -> None:
    async with FakeNameServer(lambda query: None) as server, on(server, clock=clock) as backend:
        waiting = [asyncio.create_task(backend.fetch(USERS, None)) for _ in range(3)]
        await until(lambda: server.asked)
        await backend.aclose()
        for task in waiting:
            with pytest.raises(ClosedError):
                await task
        assert len(backend._tasks) == 0
