"""What stands on a real server, seen beside the code under test."""

import asyncio
import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from asyncsd import (
    BadRequestError,
    Health,
    HTTPCheck,
    Lease,
    NotRegisteredError,
    Query,
    Registration,
    TTLCheck,
    UnsupportedError,
)
from asyncsd._registration import Record
from asyncsd.backends.etcd2 import Etcd2Backend
from tests.support.etcd import EtcdServer
from tests.support.running import fetched, running, until

pytestmark = pytest.mark.server("etcd34")

ME = Registration(
    service="greeter", host="10.0.0.7", port=80, id="g1", tags=("v1",), weight=7, check=TTLCheck(ttl=60.0)
)


@pytest.fixture
def server(shared_server: EtcdServer) -> EtcdServer:
    return shared_server


def me(**changes: object) -> Record:
    return replace(ME, **changes).record(id="g1", host="10.0.0.7")  # type: ignore[arg-type]


async def node(server: EtcdServer, root: str) -> dict[str, Any]:
    told: dict[str, Any] = (await server.v2("GET", f"/keys{root}/greeter/g1"))["node"]
    return told


def passing(found: Any) -> bool:
    return [instance.status for instance in found] == ["passing"]


async def test_the_value_is_json_that_others_can_read(
    server: EtcdServer, backend: Etcd2Backend, root: str
) -> None:
    lease = await backend.register(me(meta={"zone": "a"}, scheme="https"))
    await backend.renew(lease, Health("warning"))
    found = await node(server, root)
    assert found["key"] == f"{root}/greeter/g1"
    assert 55 < found["ttl"] <= 60
    value = json.loads(found["value"])
    assert len(value.pop("owner")) == 8
    assert value == {
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


async def test_heartbeats_that_say_the_same_wake_nobody(
    server: EtcdServer, backend: Etcd2Backend, root: str
) -> None:
    lease = await backend.register(me())
    await backend.renew(lease, Health("passing"))
    before = await backend.fetch(Query("greeter"), None)
    waiting = asyncio.create_task(backend.fetch(Query("greeter"), before.cursor))
    await server.listened()
    stood = await node(server, root)
    for _ in range(3):
        await backend.renew(lease, Health("passing", "another note"))
    after = await node(server, root)
    assert after["expiration"] > stood["expiration"]
    assert after["value"] == stood["value"]
    assert not waiting.done()
    await backend.renew(lease, Health("warning"))
    async with asyncio.timeout(20):
        assert [instance.status for instance in (await waiting).instances] == ["warning"]


async def test_another_ttl_is_that_of_the_key(server: EtcdServer, backend: Etcd2Backend, root: str) -> None:
    lease = await backend.register(me())
    await backend.renew(lease, Health("passing"))
    lease = await backend.register(me(check=TTLCheck(ttl=29.5)), lease)
    assert 25 < (await node(server, root))["ttl"] <= 30
    await backend.renew(lease, Health("passing"))
    assert 25 < (await node(server, root))["ttl"] <= 30
    lease = await backend.register(me(check=None), lease)
    assert "ttl" not in await node(server, root)
    assert passing((await backend.fetch(Query("greeter"), None)).instances)


async def test_a_service_of_another_name_moves(server: EtcdServer, backend: Etcd2Backend, root: str) -> None:
    lease = await backend.register(me())
    lease = await backend.register(me(service="welcomer"), lease)
    assert list(await server.keys_v2(root)) == [f"{root}/welcomer/g1"]
    await backend.deregister(lease)
    assert await server.keys_v2(root) == {}


async def test_a_process_that_starts_anew_under_its_id_keeps_its_status(backend: Etcd2Backend) -> None:
    await backend.renew(await backend.register(me()), Health("passing"))
    await backend.register(me(port=81))
    [instance] = (await fetched(backend, "greeter", bool)).instances
    assert (instance.port, instance.status) == (81, "passing")


async def test_a_process_that_starts_anew_is_not_drained_as_the_one_before(backend: Etcd2Backend) -> None:
    old = await backend.register(me())
    await backend.renew(old, Health("passing"))
    await backend.drain(old, True)
    await backend.register(me())
    assert passing((await fetched(backend, "greeter", bool)).instances)


@pytest.mark.parametrize("check", [TTLCheck(ttl=60.0), None])
@pytest.mark.parametrize("port", [80, 81])
async def test_what_another_has_taken_over_is_left_to_it(
    backend: Etcd2Backend, caplog: pytest.LogCaptureFixture, check: TTLCheck | None, port: int
) -> None:
    old = await backend.register(me(check=check))
    await backend.renew(old, Health("passing"))
    new = await backend.register(me(port=port, check=check))
    with caplog.at_level(logging.WARNING, "asyncsd.etcd2"):
        for _ in range(3):
            await backend.renew(old, Health("critical"))
    assert len(caplog.records) == 1
    await backend.drain(old, True)
    await backend.deregister(old)
    [instance] = (await fetched(backend, "greeter", bool)).instances
    assert (instance.port, instance.status) == (port, "passing")
    await backend.renew(new, Health("passing"))


async def test_an_answer_that_was_lost_does_no_harm(
    server: EtcdServer, backend: Etcd2Backend, root: str
) -> None:
    lease = await backend.register(me())
    await backend.renew(lease, Health("passing"))
    known = lease.state.value
    await backend.renew(lease, Health("warning"))
    lease.state.value, lease.state.status = known, "passing"  # As if nobody had heard that it was taken.
    await backend.renew(lease, Health("passing"))
    assert passing((await backend.fetch(Query("greeter"), None)).instances)
    await backend.deregister(lease)
    assert await server.keys_v2(root) == {}


async def test_without_a_ttl_it_stands_until_it_is_deregistered(
    server: EtcdServer, backend: Etcd2Backend, root: str
) -> None:
    lease = await backend.register(me(check=None))
    assert "ttl" not in await node(server, root)
    await backend.renew(lease, Health("passing"))
    await backend.deregister(lease)
    with pytest.raises(NotRegisteredError):
        await backend.renew(lease, Health("passing"))


async def test_a_key_removed_by_hand_is_put_again_at_once(
    server: EtcdServer, backend: Etcd2Backend, root: str
) -> None:
    async with running(backend, replace(ME, check=TTLCheck(ttl=300.0))) as registrar:
        await registrar.ready()
        await server.listened()
        await server.v2("DELETE", f"/keys{root}/greeter/?recursive=true")
        # Far sooner than a heartbeat: it is observed.
        await fetched(backend, "greeter", passing)
    assert await server.keys_v2(root) == {}


async def test_a_registration_that_was_cut_off_is_removed_whatever_stands(
    server: EtcdServer, backend: Etcd2Backend, root: str
) -> None:
    await backend.register(me())
    await backend.deregister(Lease(me(), where=""))
    await backend.deregister(Lease(me(), where=""))
    assert await server.keys_v2(root) == {}


async def test_a_registration_stays_past_its_ttl_and_goes_when_nobody_renews(
    server: EtcdServer, backend: Etcd2Backend, root: str
) -> None:
    lease = await backend.register(me(check=TTLCheck(ttl=3.0)))
    created = (await node(server, root))["createdIndex"]
    loop = asyncio.get_running_loop()
    end = loop.time() + 4.0
    while loop.time() < end:
        await backend.renew(lease, Health("passing"))
    assert (await node(server, root))["createdIndex"] == created

    async def gone() -> bool:
        return await server.keys_v2(root) == {}

    await until(gone)
    with pytest.raises(NotRegisteredError, match="g1"):
        await backend.renew(lease, Health("passing"))


@pytest.mark.parametrize("id", ["_hidden", ".", "..", "%5F", "a%/b", "ü"])
async def test_names_that_mean_something_to_etcd_are_shown_as_others(
    backend: Etcd2Backend, root: str, id: str
) -> None:
    names = {"service": f"{id}s", "id": id}
    lease = await backend.register(replace(ME, **names).record(id=id, host="10.0.0.7"))  # type: ignore[arg-type]
    assert [i.id for i in (await backend.fetch(Query(f"{id}s"), None)).instances] == [id]
    assert list((await backend.fetch_names(None)).services) == [f"{id}s"]
    await backend.deregister(lease)
    assert (await backend.fetch(Query(f"{id}s"), None)).instances == ()


async def test_a_folder_in_the_place_of_the_key_is_told(
    server: EtcdServer, backend: Etcd2Backend, root: str
) -> None:
    await server.v2("PUT", f"/keys{root}/greeter/g1/x", value="y")
    with pytest.raises(BadRequestError, match="a folder stands where the key should be"):
        await backend.register(me())
    await server.v2("PUT", f"/keys{root}/welcomer", value="y")
    with pytest.raises(BadRequestError, match="a key stands where a folder should be"):
        await backend.register(me(service="welcomer"))


@pytest.mark.parametrize("check", [HTTPCheck("/health")])
async def test_a_check_that_etcd_cannot_run_is_refused(backend: Etcd2Backend, check: HTTPCheck) -> None:
    with pytest.raises(UnsupportedError, match="TTLCheck"):
        await backend.register(me(check=check))
