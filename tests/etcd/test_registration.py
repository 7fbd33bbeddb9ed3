"""What stands on a real server, seen beside the code under test."""

import json
import logging
from dataclasses import replace

import pytest

from asyncsd import Health, HTTPCheck, Lease, NotRegisteredError, Registration, TTLCheck, UnsupportedError
from asyncsd._registration import Record
from asyncsd.backends.etcd import EtcdBackend
from tests.etcd.running import both
from tests.support.etcd import EtcdServer, b64
from tests.support.running import fetched, running, until

pytestmark = pytest.mark.server("etcd")

ME = Registration(
    service="greeter", host="10.0.0.7", port=80, id="g1", tags=("v1",), weight=7, check=TTLCheck(ttl=60.0)
)
KEY = "/services/greeter/g1"


def me(**changes: object) -> Record:
    return replace(ME, **changes).record(id="g1", host="10.0.0.7")  # type: ignore[arg-type]


async def test_the_value_is_json_that_others_can_read(server: EtcdServer, backend: EtcdBackend) -> None:
    lease = await backend.register(me(meta={"zone": "a"}, scheme="https"))
    await backend.renew(lease, Health("warning"))
    assert {key: json.loads(value) for key, value in (await server.keys()).items()} == {
        KEY: {
            "host": "10.0.0.7",
            "port": 80,
            "id": "g1",
            "service": "greeter",
            "tags": ["v1"],
            "meta": {"zone": "a"},
            "weight": 7,
            "scheme": "https",
            "status": "warning",
        }
    }


async def test_heartbeats_that_say_the_same_wake_nobody(server: EtcdServer, backend: EtcdBackend) -> None:
    lease = await backend.register(me())
    await backend.renew(lease, Health("passing"))
    before = await server.post("/v3/kv/range", {"key": b64(KEY)})
    for _ in range(3):
        await backend.renew(lease, Health("passing", "another note"))
    after = await server.post("/v3/kv/range", {"key": b64(KEY)})
    assert after["header"]["revision"] == before["header"]["revision"]


async def test_new_values_keep_their_lease(server: EtcdServer, backend: EtcdBackend) -> None:
    lease = await backend.register(me())
    for weight in (2, 3):
        lease = await backend.register(me(weight=weight), lease)
    assert len(await server.leases()) == 1
    await backend.deregister(lease)
    assert await server.leases() == []
    assert await server.keys() == {}


async def test_another_ttl_is_another_lease_and_the_key_stays(
    server: EtcdServer, backend: EtcdBackend
) -> None:
    lease = await backend.register(me())
    await backend.renew(lease, Health("passing"))
    after = await backend.register(me(check=TTLCheck(ttl=30.0)), lease)
    assert after.state.lease != lease.state.lease
    assert json.loads((await server.keys())[KEY])["host"] == "10.0.0.7"
    [instance] = (await fetched(backend, "greeter", bool)).instances
    assert instance.status == "passing"


async def test_a_service_of_another_name_moves(server: EtcdServer, backend: EtcdBackend) -> None:
    lease = await backend.register(me())
    await backend.register(me(service="welcomer"), lease)
    assert list(await server.keys()) == ["/services/welcomer/g1"]


async def test_a_process_that_starts_anew_under_its_id_keeps_its_status(backend: EtcdBackend) -> None:
    await backend.renew(await backend.register(me()), Health("passing"))
    await backend.register(me(port=81))
    [instance] = (await fetched(backend, "greeter", bool)).instances
    assert (instance.port, instance.status) == (81, "passing")


async def test_a_process_that_starts_anew_is_not_drained_as_the_one_before(backend: EtcdBackend) -> None:
    old = await backend.register(me())
    await backend.renew(old, Health("passing"))
    await backend.drain(old, True)
    await backend.register(me())
    [instance] = (await fetched(backend, "greeter", bool)).instances
    assert instance.status == "passing"


async def test_what_another_has_taken_over_is_left_to_it(
    server: EtcdServer, backend: EtcdBackend, caplog: pytest.LogCaptureFixture
) -> None:
    old = await backend.register(me())
    await backend.renew(old, Health("passing"))
    new = await backend.register(me(port=81))
    with caplog.at_level(logging.WARNING, "asyncsd.etcd"):
        for _ in range(3):
            await backend.renew(old, Health("critical"))
    assert len(caplog.records) == 1
    await backend.drain(old, True)
    await backend.deregister(old)
    [instance] = (await fetched(backend, "greeter", bool)).instances
    assert (instance.port, instance.status) == (81, "passing")
    await backend.renew(new, Health("passing"))


async def test_without_a_ttl_there_is_no_lease(server: EtcdServer, backend: EtcdBackend) -> None:
    lease = await backend.register(me(check=None))
    assert await server.leases() == []
    await backend.renew(lease, Health("passing"))
    await backend.deregister(lease)
    with pytest.raises(NotRegisteredError):
        await backend.renew(lease, Health("passing"))


@both
async def test_a_key_removed_by_hand_is_put_again_at_once(server: EtcdServer, backend: EtcdBackend) -> None:
    async with running(backend, ME) as registrar:
        await registrar.ready()
        await server.post("/v3/kv/deleterange", {"key": b64(KEY)})
        # Far sooner than a heartbeat: it is observed.
        await fetched(backend, "greeter", lambda found: [i.status for i in found] == ["passing"])
    assert await server.keys() == {}


@both
async def test_a_lost_lease_is_made_anew(server: EtcdServer, backend: EtcdBackend) -> None:
    async with running(backend, ME) as registrar:
        await registrar.ready()
        [lease] = await server.leases()
        await server.post("/v3/lease/revoke", {"ID": lease})
        await fetched(backend, "greeter", lambda found: [i.status for i in found] == ["passing"])
        assert lease not in await server.leases()


async def test_a_registration_that_was_cut_off_is_removed_whatever_its_lease(
    server: EtcdServer, backend: EtcdBackend
) -> None:
    await backend.register(me())
    await backend.deregister(Lease(me(), where=""))
    assert await server.keys() == {}


async def test_a_registration_stays_past_its_ttl_and_goes_when_nobody_renews(
    server: EtcdServer, backend: EtcdBackend
) -> None:
    await backend.register(me(check=TTLCheck(ttl=2.0)))

    async def gone() -> bool:
        return await server.keys() == {}

    await until(gone)


@pytest.mark.parametrize("check", [HTTPCheck("/health")])
async def test_a_check_that_etcd_cannot_run_is_refused(backend: EtcdBackend, check: HTTPCheck) -> None:
    with pytest.raises(UnsupportedError, match="TTLCheck"):
        await backend.register(me(check=check))
