"""What readers of a real ZooKeeper see: of ours, of go-kit's, and of what is overdue."""

import pytest

from asyncsd import Discovery, Health, HTTPCheck, Query, Registration, TTLCheck, UnsupportedError
from asyncsd.testing import FakeClock
from tests.support.zookeeper import ZooKeeper
from tests.zookeeper.watching import ME, PATH, event, patient, read, registered, watched, write

pytestmark = pytest.mark.server("zookeeper")


async def test_bare_addresses_as_go_kit_writes_them_are_instances(server: ZooKeeper) -> None:
    node = "/services/users/_c_4fbb0f64b2c2-0000000007"
    async with patient(server.host) as backend, watched(backend, "users") as events:
        await event(events, lambda e: not e.stale)
        await write(server.host, node, b"10.0.0.1:8080")
        found = await event(events, lambda e: e.snapshot)
        assert found.snapshot is not None
        assert [instance.address for instance in found.snapshot] == ["10.0.0.1:8080"]
        await write(server.host, node, b"no address")
        await event(events, lambda e: not e.snapshot)
        assert (await backend.fetch(Query("users"), None)).skipped == 1


async def test_what_somebody_else_wrote_over_is_written_again(server: ZooKeeper) -> None:
    record = ME.record(id="one", host="127.0.0.1")
    async with patient(server.host) as backend:
        lease = await backend.register(record)
        await backend.renew(lease, Health("passing"))
        await write(server.host, PATH, b"10.9.9.9:1")
        await backend.renew(lease, Health("passing"))
        [instance] = (await backend.fetch(Query("greeter"), None)).instances
        assert instance.address == "127.0.0.1:8080"


async def test_a_renewal_without_news_writes_nothing(server: ZooKeeper) -> None:
    async with patient(server.host) as backend:
        lease = await backend.register(ME.record(id="one", host="127.0.0.1"))
        await backend.renew(lease, Health("passing", "first"))
        before = await read(server.host, PATH)
        for note in ("second", "third"):
            await backend.renew(lease, Health("passing", note))
        after = await read(server.host, PATH)
        assert before is not None
        assert after is not None
        assert after[1].mzxid == before[1].mzxid


async def test_what_isnt_renewed_turns_critical_and_goes(server: ZooKeeper) -> None:
    me = Registration(service="greeter", host="h", port=1, check=TTLCheck(ttl=0.2, deregister_after=0.3))
    clock = FakeClock()
    async with patient(server.host, clock=clock) as backend, watched(backend) as events:
        lease = await backend.register(me.record(id="one", host="h"))
        await backend.renew(lease, Health("passing"))
        await event(events, lambda e: e.snapshot)
        await clock.advance(0.25)
        await event(events, lambda e: e.snapshot is not None and len(e.snapshot.unfit) == 1)
        await clock.advance(0.3)
        await event(events, lambda e: e.snapshot is not None and not e.snapshot.unfit)
        assert await read(server.host, PATH) is None


async def test_a_check_that_zookeeper_cant_run_is_refused(server: ZooKeeper) -> None:
    me = Registration(service="greeter", host="h", port=1, check=HTTPCheck("/"))
    async with patient(server.host) as backend:
        with pytest.raises(UnsupportedError, match=r"HTTPCheck.*TTLCheck"):
            await backend.register(me.record(id="one", host="h"))


async def test_below_a_chroot_that_nobody_made(server: ZooKeeper) -> None:
    async with Discovery.from_url(f"zk://{server.host}/apps/blue?session_timeout=20") as sd:
        async with sd.register(ME):
            async with sd.balancer("greeter").acquire(timeout=10.0) as instance:
                assert instance.id == "one"
            assert dict(await sd.services()) == {"greeter": ()}
            assert await read(server.host, "/apps/blue/services/greeter/one") is not None
        assert await read(server.host, "/apps/blue/services/greeter/one") is None


async def test_at_the_root_zookeepers_own_node_is_no_service(server: ZooKeeper) -> None:
    async with patient(server.host, prefix="/") as backend, registered(backend):
        assert dict((await backend.fetch_names(None)).services) == {"greeter": ()}


async def test_a_consistent_read_sees_what_was_written_before(server: ZooKeeper) -> None:
    async with patient(server.host) as writer, patient(server.host) as reader:
        for port in range(1, 20):
            await writer.register(Registration(service="s", port=port).record(id="one", host="h"))
            reply = await reader.fetch(Query("s", consistency="consistent"), None)
            assert [instance.port for instance in reply.instances] == [port]
