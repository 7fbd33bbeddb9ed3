"""What a real server tells, and how often it is asked."""

import asyncio
import time
from typing import Any

import pytest

from asyncsd import Health, Query, UnsupportedError
from asyncsd.backends.eureka import EurekaBackend
from tests.eureka.conftest import INTERVAL
from tests.eureka.running import me, statuses
from tests.support.eureka import EurekaServer
from tests.support.running import fetched

pytestmark = pytest.mark.server("eureka")

MACHINE = {"@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", "name": "MyOwn"}


async def post(server: EurekaServer, app: str, **values: Any) -> None:
    """Register an instance as another client would."""
    body = {
        "instanceId": "web-1:spring:8080",
        "app": app.upper(),
        "hostName": "web-1",
        "ipAddr": "10.0.0.9",
        "status": "UP",
        "port": {"$": 8080, "@enabled": "true"},
        "securePort": {"$": 443, "@enabled": "false"},
        "dataCenterInfo": MACHINE,
        **values,
    }
    status, told = await server.call("POST", f"/apps/{app.upper()}", {"instance": body})
    assert status == 204, told


async def test_a_spring_instance_reads_as_spring_reads_it(
    server: EurekaServer, backend: EurekaBackend, service: str
) -> None:
    await post(
        server,
        service,
        vipAddress=service,
        metadata={"zone": "a", "tags": "v1, blue", "weight": "3", "management.port": "9001"},
    )
    [instance] = (await fetched(backend, service, bool)).instances
    assert (instance.id, instance.host, instance.port) == ("web-1:spring:8080", "web-1", 8080)
    assert (instance.tags, instance.weight, instance.zone) == (("v1", "blue"), 3, "a")
    assert instance.meta["management.port"] == "9001"
    assert instance.url() == "http://web-1:8080/"


async def test_prefer_ip_takes_the_address(server: EurekaServer, service: str) -> None:
    await post(server, service)
    async with EurekaBackend(server.url, prefer_ip=True, interval=0.1) as backend:
        [instance] = (await fetched(backend, service, bool)).instances
        assert instance.host == "10.0.0.9"


async def test_a_secure_port_is_https(server: EurekaServer, backend: EurekaBackend, service: str) -> None:
    await post(server, service, securePort={"$": 8443, "@enabled": "true"})
    [instance] = (await fetched(backend, service, bool)).instances
    assert instance.url() == "https://web-1:8443/"


async def test_a_service_is_found_by_its_virtual_address_and_in_any_case(
    server: EurekaServer, backend: EurekaBackend, service: str
) -> None:
    await post(server, f"{service}-app", vipAddress=f"{service}, other-{service}")
    for name in (service, service.upper(), f"Other-{service}", f"{service}-app"):
        [instance] = (await fetched(backend, name, bool)).instances
        assert instance.service == name


async def test_names_are_spelled_as_the_virtual_address(
    server: EurekaServer, backend: EurekaBackend, service: str
) -> None:
    await post(server, f"{service}-Mixed", vipAddress=f"{service}-Mixed")
    await post(server, f"{service}-OTHER", vipAddress="else")
    await fetched(backend, f"{service}-OTHER", bool)
    names = (await backend.fetch_names(None)).services
    assert {f"{service}-Mixed", f"{service}-other"} <= set(names)


@pytest.mark.parametrize("status", ["STARTING", "DOWN", "UNKNOWN", "OUT_OF_SERVICE"])
async def test_only_what_is_up_passes(
    server: EurekaServer, backend: EurekaBackend, service: str, status: str
) -> None:
    await post(server, service, status=status)
    await fetched(backend, service, statuses("critical"))


async def test_on_amazon_the_zone_is_the_machines(
    server: EurekaServer, backend: EurekaBackend, service: str
) -> None:
    machine = {
        "@class": "com.netflix.appinfo.AmazonInfo",
        "name": "Amazon",
        "metadata": {"availability-zone": "us-east-1c", "instance-id": "i-1"},
    }
    await post(server, service, dataCenterInfo=machine)
    [instance] = (await fetched(backend, service, bool)).instances
    assert instance.zone == "us-east-1c"


async def test_instances_stay_the_same_objects_while_only_their_leases_change(
    server: EurekaServer, backend: EurekaBackend, service: str
) -> None:
    lease = await backend.register(me(service))
    await backend.renew(lease, Health("passing"))
    before = await fetched(backend, service, statuses("passing"))
    await post(server, service, instanceId="other")
    await backend.renew(lease, Health("passing"))
    after = await fetched(backend, service, lambda found: len(found) == 2)
    whole = await backend.fetch(Query(service, consistency="consistent"), None)
    same = [one for one in (*after.instances, *whole.instances) if one.id == f"{service}-1"]
    assert same[0] is same[1] is before.instances[0]


async def test_many_fetches_are_served_by_one_poll(
    server: EurekaServer, backend: EurekaBackend, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    get = backend._transport.get

    async def counted(server: Any, path: str, kind: Any) -> Any:
        asked.append(path)
        return await get(server, path, kind)

    monkeypatch.setattr(backend._transport, "get", counted)
    replies = await asyncio.gather(*(backend.fetch(Query(f"{service}-{n}"), None) for n in range(50)))
    assert asked == ["/apps"]
    async with EurekaBackend(server.url) as other:
        await other.register(me(f"{service}-49"))
    waits = [
        asyncio.create_task(backend.fetch(Query(f"{service}-{n}"), reply.cursor))
        for n, reply in enumerate(replies)
    ]
    began = time.monotonic()
    async with asyncio.timeout(20):
        assert (await waits[49]).instances
    assert len(asked) < 10 + 2 * (time.monotonic() - began) / INTERVAL, "a poll at a time"
    for wait in waits:
        wait.cancel()
    await asyncio.wait(waits)


@pytest.mark.parametrize("field", [{"datacenter": "b"}, {"filter": "x"}, {"node_meta": {"a": "b"}}])
async def test_what_eureka_has_nothing_of_is_refused(backend: EurekaBackend, field: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match=next(iter(field))):
        await backend.fetch(Query("greeter", **field), None)
