"""What dnsmasq says, as instances."""

import asyncio
from collections.abc import Iterator

import pytest

from asyncsd import (
    BackendError,
    Discovery,
    Instance,
    NoInstances,
    Query,
    Registration,
    RoundRobin,
    UnreachableError,
    UnsupportedError,
)
from asyncsd.backends.dns import DNSBackend
from tests.dns.watching import on
from tests.support.dnsmasq import Dnsmasq

pytestmark = pytest.mark.server("dnsmasq")

MANY = [f"srv-host=_http._tcp.many.test,host-with-a-long-name-{n}.test,80" for n in range(100)]

RECORDS = (
    "srv-host=_http._tcp.users.test,a.test,8080,0,5",
    "srv-host=_http._tcp.users.test,a.test,8081,0,0",
    "srv-host=_http._tcp.users.test,b.test,8080,10,0",
    "srv-host=_http._tcp.none.test",
    "srv-host=_http._tcp.elsewhere.test,db-1.example,5432",
    "srv-host=_http._tcp.aliased.test,alias.test,80",
    "srv-host=_http._tcp.six.test,six.test,80",
    "srv-host=_http._tcp.several.test,several.test,80",
    "host-record=a.test,10.0.0.1",
    "host-record=b.test,10.0.0.2,2001:db8::2",
    "host-record=six.test,2001:db8::1",
    "host-record=several.test,10.0.1.1",
    "host-record=several.test,10.0.1.2",
    "host-record=nobody.test,0.0.0.0",
    "cname=alias.test,alias2.test,a.test",
    "txt-record=text.test,it is here",
    *MANY,
    *(f"host-record=host-with-a-long-name-{n}.test,10.0.2.{n + 1}" for n in range(100)),
)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """One server for all whose tests only read."""
    server = Dnsmasq(*RECORDS)
    asyncio.run(server.start())
    yield server.address
    server.stop()


async def read(backend: DNSBackend, service: str) -> tuple[Instance, ...]:
    async with backend:
        return (await backend.fetch(Query(service), None)).instances


async def test_srv_records_are_instances_whose_backups_are_warnings(address: str) -> None:
    assert await read(on(address), "users") == (
        Instance(
            id="a.test:8080", service="users", host="10.0.0.1", port=8080,
            meta={"priority": "0"}, weight=5, node="a.test",
        ),
        Instance(
            id="a.test:8081", service="users", host="10.0.0.1", port=8081,
            meta={"priority": "0"}, weight=1, node="a.test",
        ),
        Instance(
            id="b.test:8080", service="users", host="10.0.0.2", port=8080,
            meta={"priority": "10"}, weight=1, node="b.test", status="warning",
        ),
    )  # fmt: skip


async def test_a_balancer_has_the_best_priority_and_by_its_weights(address: str) -> None:
    async with Discovery(on(address)) as sd:
        best = sd.balancer("users", RoundRobin())
        async with best.acquire():
            picked = [best.pick().port for _ in range(12)]
        assert (picked.count(8080), picked.count(8081)) == (10, 2)
        everyone = sd.balancer(Query("users", status="warning"), RoundRobin())
        async with everyone.acquire():
            assert {everyone.pick().host for _ in range(14)} == {"10.0.0.1", "10.0.0.2"}


async def test_names_that_are_not_there_or_have_no_such_record_are_empty(address: str) -> None:
    for backend, service in (
        (on(address), "nosuch"),
        (on(address), "none"),  # Its target is ".".
        (on(address, domain="test"), "text"),  # The name is there, and has no SRV record.
    ):
        assert await read(backend, service) == ()


async def test_a_server_that_refuses_is_an_error_and_no_empty_list(address: str) -> None:
    async with on(address, domain="elsewhere.example") as backend:
        with pytest.raises(
            BackendError, match=r"REFUSED for users\.elsewhere\.example.*does it serve"
        ) as told:
            await backend.fetch(Query("users"), None)
    assert not isinstance(told.value, UnreachableError)
    assert address in str(told.value)


async def test_addresses_are_instances_with_the_port_that_is_given(address: str) -> None:
    found = await read(on(address, domain="test", port=80), "several")
    assert [(i.id, i.host, i.port, i.weight) for i in found] == [
        ("10.0.1.1:80", "10.0.1.1", 80, 1),
        ("10.0.1.2:80", "10.0.1.2", 80, 1),
    ]
    (found,) = await read(on(address, domain="test", record="AAAA", port=80), "b")
    assert (found.id, found.url()) == ("[2001:db8::2]:80", "http://[2001:db8::2]:80/")
    (found,) = await read(on(address, domain="test", port=80), "alias")
    assert found.host == "10.0.0.1"


async def test_an_address_of_nobody_is_left_out_and_counted(address: str) -> None:
    async with on(address, domain="test", port=80) as backend:
        reply = await backend.fetch(Query("nobody"), None)
    assert (reply.instances, reply.skipped) == ((), 1)


@pytest.mark.parametrize(
    ("service", "hosts"),
    [
        ("six", {"six.test:80": "2001:db8::1"}),
        ("aliased", {"alias.test:80": "10.0.0.1"}),
        ("several", {"several.test:80/10.0.1.1": "10.0.1.1", "several.test:80/10.0.1.2": "10.0.1.2"}),
        # The server doesn't know this address: the caller's own system may.
        ("elsewhere", {"db-1.example:5432": "db-1.example"}),
    ],
)
async def test_targets_are_resolved(address: str, service: str, hosts: dict[str, str]) -> None:
    assert {i.id: i.host for i in await read(on(address), service)} == hosts


async def test_targets_stay_names_for_tls_where_that_is_asked_for(address: str) -> None:
    found = await read(on(address, resolve=False), "several")
    assert [(i.id, i.host) for i in found] == [("several.test:80", "several.test")]


@pytest.mark.parametrize("tcp", [False, True])
async def test_an_answer_that_udp_cannot_hold_comes_whole_by_tcp(address: str, tcp: bool) -> None:
    found = await read(on(address, tcp=tcp), "many")
    assert len(found) == len(MANY)
    assert all(i.host.startswith("10.0.2.") for i in found)


async def test_a_service_is_a_whole_name_where_there_is_no_domain(address: str) -> None:
    assert len(await read(DNSBackend(address), "_http._tcp.users.test")) == 3


async def test_a_watch_sees_an_address_change_and_keeps_the_others() -> None:
    async with Dnsmasq("srv-host=_http._tcp.users.test,a.test,80", "srv-host=_http._tcp.users.test,b.test,80",
                       "srv-host=_http._tcp.users.test,c.test,80") as server:  # fmt: skip
        await server.hosts(a="10.0.0.1", b="10.0.0.2", c="10.0.0.3")
        async with on(server.address) as backend:
            before = await backend.fetch(Query("users"), None)
            again = await backend.fetch(Query("users"), None)
            assert all(one is other for one, other in zip(before.instances, again.instances, strict=True))
            await server.hosts(a="10.0.0.1", b="10.0.0.9", c="10.0.0.3")
            async with asyncio.timeout(20):
                after = await backend.fetch(Query("users"), before.cursor)
    assert [i.host for i in after.instances] == ["10.0.0.1", "10.0.0.9", "10.0.0.3"]
    assert [i.id for i in after.instances] == ["a.test:80", "b.test:80", "c.test:80"]
    assert after.instances[0] is before.instances[0]


async def test_registering_is_refused_by_an_error_that_says_why(address: str) -> None:
    async with Discovery.from_url(f"dns://{address}/test?port=80") as sd:
        with pytest.raises(UnsupportedError, match="DNSBackend is for reading only"):
            sd.register(Registration(service="users", port=80))
        with pytest.raises(UnsupportedError, match="can't list"):
            await sd.services()


async def test_no_instances_says_that_the_name_has_none(address: str) -> None:
    async with Discovery(on(address)) as sd:
        async with sd.watch("nosuch") as events:
            await events.get()
            with pytest.raises(NoInstances, match="the service has no instances"):
                async with sd.balancer("nosuch").acquire(timeout=0.05):
                    pass


async def test_many_services_and_readers_at_once(address: str) -> None:
    services = ("users", "six", "nosuch", "many")
    async with on(address) as backend:
        replies = await asyncio.gather(
            *(backend.fetch(Query(name), None) for name in services for _ in range(25))
        )
    assert [len(reply.instances) for reply in replies] == [3] * 25 + [1] * 25 + [0] * 25 + [100] * 25
