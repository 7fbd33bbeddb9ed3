"""Name servers that die, freeze and come back."""

import asyncio
import time

import pytest

from asyncsd import Discovery, Query, UnreachableError
from tests.dns.watching import on
from tests.support.dnsmasq import Dnsmasq
from tests.support.process import free_ports
from tests.support.running import fetched

pytestmark = pytest.mark.server("dnsmasq")

ONE = ("srv-host=_http._tcp.users.test,a.test,80", "host-record=a.test,10.0.0.1")
TWO = ("srv-host=_http._tcp.users.test,b.test,80", "host-record=b.test,10.0.0.2")


async def test_a_server_that_is_not_there_is_an_error_at_once() -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    for tcp in (False, True):
        async with on(address, timeout=60.0, tcp=tcp) as backend, asyncio.timeout(15):
            with pytest.raises(UnreachableError, match=address):
                await backend.fetch(Query("users"), None)


async def test_the_next_server_answers_for_one_that_was_killed() -> None:
    async with Dnsmasq(*ONE) as first, Dnsmasq(*ONE) as second, on(first.address, second.address) as backend:
        before = await backend.fetch(Query("users"), None)
        first.kill()
        after = await backend.fetch(Query("users"), None)
        assert after.instances == before.instances
        second.kill()
        with pytest.raises(UnreachableError, match="none of 2 DNS servers") as told:
            await backend.fetch(Query("users"), None)
        assert first.address in str(told.value)
        assert second.address in str(told.value)
        await first.start()
        assert (await backend.fetch(Query("users"), None)).instances == before.instances


@pytest.mark.parametrize("tcp", [False, True])
async def test_a_frozen_server_is_left_and_not_asked_first_again(tcp: bool) -> None:
    async with (
        Dnsmasq(*ONE) as first,
        Dnsmasq(*ONE) as second,
        on(first.address, second.address, tcp=tcp, timeout=2.5) as backend,
    ):
        first.freeze()
        assert len((await backend.fetch(Query("users"), None)).instances) == 1
        assert backend._resolver._rotation.first.port == second.port
        assert len((await backend.fetch(Query("users"), None)).instances) == 1
        second.freeze()
        with pytest.raises(UnreachableError, match=r"no answer in 2\.5 s"):
            await backend.fetch(Query("users"), None)
        first.thaw()
        assert len((await backend.fetch(Query("users"), None)).instances) == 1


async def test_a_server_that_cannot_tell_leaves_the_question_to_the_next() -> None:
    async with Dnsmasq() as ignorant, Dnsmasq(*ONE, "local=/other/") as knows:
        async with on(ignorant.address, knows.address, domain="other") as backend:
            assert (await backend.fetch(Query("users"), None)).instances == ()


async def test_a_watch_serves_on_while_the_server_is_gone_and_hears_it_again() -> None:
    async with Dnsmasq(*ONE) as server, Discovery(on(server.address)) as sd, sd.watch("users") as events:
        async with asyncio.timeout(20):
            event = await events.get()
            assert [i.host for i in event.snapshot or ()] == ["10.0.0.1"]
            server.kill()
            event = await events.get()
            assert event.stale
            assert isinstance(event.error, UnreachableError)
            assert [i.host for i in event.snapshot or ()] == ["10.0.0.1"]
            fetches = sd.health().watches[Query("users")].fetches
            began = time.monotonic()
            await server.restart(*ONE, *TWO)
            while event.stale or len(event.snapshot or ()) != 2:
                event = await events.get()
            made = sd.health().watches[Query("users")].fetches - fetches
            assert made <= 4 * (time.monotonic() - began) + 4


async def test_closing_ends_a_question_to_a_frozen_server_at_once() -> None:
    async with Dnsmasq(*ONE) as server, on(server.address, timeout=30.0) as backend:
        server.freeze()
        waiting = [asyncio.create_task(backend.fetch(Query("users"), None)) for _ in range(3)]
        async with asyncio.timeout(15):
            await asyncio.sleep(0)
            await backend.aclose()
            ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(error).__name__ for error in ended} == {"ClosedError"}


async def test_a_change_is_seen_after_the_ttl() -> None:
    async with Dnsmasq(*ONE[:1], "local-ttl=1") as server, on(server.address, max_ttl=30.0) as backend:
        await server.hosts(a="10.0.0.1")
        began = time.monotonic()
        before = await backend.fetch(Query("users"), None)
        await server.hosts(a="10.0.0.7")
        async with asyncio.timeout(20):
            after = await backend.fetch(Query("users"), before.cursor)
        assert [i.host for i in after.instances] == ["10.0.0.7"]
        assert time.monotonic() - began > 0.5
        await fetched(backend, "users", bool)
