"""What a registration becomes on a real server."""

import logging
import time
from dataclasses import replace
from typing import Any

import pytest

from asyncsd import (
    BackendError,
    Health,
    HTTPCheck,
    Lease,
    NotRegisteredError,
    Query,
    Registration,
    TTLCheck,
    UnreachableError,
    UnsupportedError,
)
from asyncsd.backends.eureka import EurekaBackend
from tests.eureka.running import me, statuses
from tests.support.eureka import EurekaServer
from tests.support.running import fetched, running, until

pytestmark = pytest.mark.server("eureka")


async def standing(server: EurekaServer, service: str) -> dict[str, Any]:
    found = await server.instance(service.upper(), f"{service}-1")
    assert found is not None
    found["metadata"].pop("@class", None)  # Java's, where the map is empty.
    return found


async def test_everything_stands_where_spring_looks(
    server: EurekaServer, backend: EurekaBackend, service: str
) -> None:
    record = me(service, tags=("v1", "b,c"), meta={"zone": "a", "management.port": "9001"}, weight=7)
    lease = await backend.register(record)
    await backend.renew(lease, Health("passing"))
    found = await standing(server, service)
    assert found["app"] == service.upper()
    assert found["vipAddress"] == found["secureVipAddress"] == service
    assert (found["hostName"], found["ipAddr"], found["status"]) == ("10.0.0.7", "10.0.0.7", "UP")
    assert found["port"] == {"$": 80, "@enabled": "true"}
    assert found["securePort"]["@enabled"] == "false"
    assert found["metadata"] == {"zone": "a", "management.port": "9001", "tags": "v1,b%2Cc", "weight": "7"}
    lease_info = found["leaseInfo"]
    assert (lease_info["renewalIntervalInSecs"], lease_info["durationInSecs"]) == (10, 30)
    assert found["homePageUrl"] == "http://10.0.0.7:80/"


async def test_https_stands_under_the_secure_port(
    server: EurekaServer, backend: EurekaBackend, service: str
) -> None:
    await backend.register(me(service, host="2001:db8::1", port=8443, scheme="https"))
    found = await standing(server, service)
    assert found["securePort"] == {"$": 8443, "@enabled": "true"}
    assert found["port"]["@enabled"] == "false"
    assert found["homePageUrl"] == "https://[2001:db8::1]:8443/"


async def test_a_new_status_is_posted_and_the_same_is_not(
    server: EurekaServer, backend: EurekaBackend, service: str
) -> None:
    lease = await backend.register(me(service, weight=9, warning_weight=2))
    assert (await standing(server, service))["status"] == "DOWN"
    await backend.renew(lease, Health("warning"))
    found = await standing(server, service)
    assert (found["status"], found["metadata"]) == ("UP", {"asyncsd.warning": "true", "weight": "2"})
    posted = found["lastDirtyTimestamp"]
    await backend.renew(lease, Health("warning"))
    assert (await standing(server, service))["lastDirtyTimestamp"] == posted


async def test_an_unchanged_heartbeat_renews_the_lease(
    server: EurekaServer, backend: EurekaBackend, service: str
) -> None:
    lease = await backend.register(me(service, check=None))
    before = (await standing(server, service))["leaseInfo"]
    assert before["durationInSecs"] == 90
    await backend.renew(lease, Health("passing"))
    assert (await standing(server, service))["leaseInfo"]["lastRenewalTimestamp"] > before[
        "lastRenewalTimestamp"
    ]


async def test_draining_overrides_the_status_and_survives_a_change(
    server: EurekaServer, backend: EurekaBackend, service: str
) -> None:
    record = me(service)
    lease = await backend.register(record)
    await backend.renew(lease, Health("passing"))
    await backend.drain(lease, True)
    lease = await backend.register(replace(record, port=81), lease)
    await backend.renew(lease, Health("passing"))
    found = await standing(server, service)
    assert (found["status"], found["overriddenStatus"], found["port"]["$"]) == (
        "OUT_OF_SERVICE",
        "OUT_OF_SERVICE",
        81,
    )
    await backend.drain(lease, False)
    found = await standing(server, service)
    assert (found["status"], found["overriddenStatus"], found["metadata"].get("asyncsd.drained")) == (
        "UP",
        "UNKNOWN",
        None,
    )


async def test_a_drain_that_was_never_ended_does_not_hold_the_next_process(
    server: EurekaServer, backend: EurekaBackend, service: str
) -> None:
    await backend.drain(await backend.register(me(service)), True)
    lease = await backend.register(me(service))
    await backend.renew(lease, Health("passing"))
    assert (await standing(server, service))["status"] == "UP"


async def test_what_an_operator_took_out_of_service_stays_out(
    server: EurekaServer, backend: EurekaBackend, service: str
) -> None:
    lease = await backend.register(me(service))
    await backend.renew(lease, Health("passing"))
    path = f"/apps/{service.upper()}/{service}-1/status?value=OUT_OF_SERVICE"
    assert (await server.call("PUT", path))[0] == 200
    await fetched(backend, service, statuses("critical"))
    await backend.renew(lease, Health("warning"))
    await backend.register(me(service), lease)
    await backend.renew(await backend.register(me(service)), Health("passing"))
    assert (await standing(server, service))["status"] == "OUT_OF_SERVICE"


async def test_a_clock_that_is_behind_loses_no_change(
    server: EurekaServer, backend: EurekaBackend, service: str
) -> None:
    await backend.register(me(service))
    backend._registry._now = lambda: time.time() - 3600
    await backend.register(me(service, port=81))
    assert (await standing(server, service))["port"]["$"] == 81


async def test_what_somebody_else_registered_under_the_id_is_left_to_them(
    server: EurekaServer, backend: EurekaBackend, service: str, caplog: pytest.LogCaptureFixture
) -> None:
    old = await backend.register(me(service))
    new = await backend.register(me(service, port=81))
    with caplog.at_level(logging.WARNING, "asyncsd.eureka"):
        for _ in range(3):
            await backend.renew(old, Health("warning"))
    assert len(caplog.records) == 1
    await backend.drain(old, True)
    await backend.deregister(old)
    found = await standing(server, service)
    assert (found["port"]["$"], found["overriddenStatus"], found["metadata"]) == (81, "UNKNOWN", {})
    await backend.renew(new, Health("passing"))


async def test_a_change_that_was_cut_off_is_still_ones_own(
    server: EurekaServer,
    backend: EurekaBackend,
    service: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lease = await backend.register(me(service))
    send = backend._transport.send

    async def cut_off(method: str, *arguments: Any, **named: Any) -> None:
        await send(method, *arguments, **named)
        if method == "POST":
            raise UnreachableError("cut off, and taken all the same")

    for change in (
        lambda: backend.renew(lease, Health("passing")),
        lambda: backend.register(me(service, port=81), lease),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(backend._transport, "send", cut_off)
            with pytest.raises(UnreachableError):
                await change()
        await backend.renew(lease, Health("passing"))
        await backend.renew(lease, Health("warning"))
    assert (await standing(server, service))["metadata"] == {"asyncsd.warning": "true"}
    await backend.deregister(lease)
    assert await server.instance(service.upper(), f"{service}-1") is None
    assert not caplog.records


async def test_a_registration_that_was_cut_off_is_removed_whatever_stands_there(
    server: EurekaServer, backend: EurekaBackend, service: str
) -> None:
    await backend.register(me(service))
    await backend.deregister(Lease(me(service), where=""))
    assert await server.instance(service.upper(), f"{service}-1") is None


async def test_another_service_or_id_takes_the_old_one_away(
    server: EurekaServer, backend: EurekaBackend, service: str
) -> None:
    lease = await backend.register(me(service))
    await backend.register(me(f"{service}-new"), lease)
    assert await server.instance(service.upper(), f"{service}-1") is None


async def test_what_the_server_has_forgotten_is_registered_again_at_once(
    server: EurekaServer, backend: EurekaBackend, service: str
) -> None:
    registration = Registration(service=service, host="10.0.0.7", port=80, id="g1", check=TTLCheck(ttl=3.0))
    async with running(backend, registration) as registrar:
        await registrar.ready()
        assert (await server.call("DELETE", f"/apps/{service.upper()}/g1"))[0] == 200

        async def there() -> bool:
            found = await server.instance(service.upper(), "g1")
            return found is not None and found["status"] == "UP"

        await until(there)
    assert await server.instance(service.upper(), "g1") is None


async def test_renewing_what_the_server_forgot_says_so(
    server: EurekaServer, backend: EurekaBackend, service: str
) -> None:
    lease = await backend.register(me(service))
    await server.call("DELETE", f"/apps/{service.upper()}/{service}-1")
    for call in (backend.renew(lease, Health("passing")), backend.drain(lease, True)):
        with pytest.raises(NotRegisteredError, match=server.url):
            await call
    await backend.deregister(lease)


async def test_the_zone_of_the_backend_is_that_of_what_it_registers(
    server: EurekaServer, service: str
) -> None:
    async with EurekaBackend(server.url, zone="b", interval=0.1) as backend:
        await backend.register(me(service))
        [instance] = (await fetched(backend, service, bool)).instances
        assert (instance.zone, dict(instance.meta)) == ("b", {"zone": "b"})
        await backend.register(me(service, meta={"zone": "a"}))
        await fetched(backend, service, lambda found: found[0].zone == "a")


async def test_a_check_that_eureka_cannot_run_is_refused(backend: EurekaBackend, service: str) -> None:
    with pytest.raises(UnsupportedError, match="TTLCheck"):
        await backend.register(me(service, check=HTTPCheck("/health")))


async def test_a_path_that_is_no_eurekas_is_said_so(server: EurekaServer, service: str) -> None:
    async with EurekaBackend(server.url.replace("/eureka", "/nothing")) as backend:
        for call in (backend.register(me(service)), backend.fetch(Query(service), None)):
            with pytest.raises(BackendError, match=r"its path the right one\?.*/nothing/apps"):
                await call


@pytest.mark.parametrize("service", [".", "..", "a/b", "50%", "with space", "ünï"])
async def test_a_name_that_no_path_holds_is_found_by_it(backend: EurekaBackend, service: str) -> None:
    lease = await backend.register(me(service))
    await backend.renew(lease, Health("passing"))
    (found,) = (await fetched(backend, service, bool)).instances
    assert found.service == service
    await backend.deregister(lease)
