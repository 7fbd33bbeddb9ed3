"""Two real servers that replicate to each other, and preserve themselves as they do by default."""

import time
from collections.abc import Iterator

import pytest

from asyncsd import Health, Query, Registration, TTLCheck
from asyncsd.backends.eureka import EurekaBackend
from tests.eureka.running import me, statuses
from tests.support.eureka import EurekaPair, EurekaServer
from tests.support.running import fetched, running, until

pytestmark = pytest.mark.server("eureka")


@pytest.fixture(scope="module")
def started() -> Iterator[EurekaPair]:
    pair = EurekaPair()
    yield pair
    pair.stop()


@pytest.fixture
async def pair(started: EurekaPair) -> EurekaPair:
    """Both run, though a test may have killed one."""
    await started.start()
    return started


async def test_what_is_registered_with_one_is_read_from_the_other(pair: EurekaPair, service: str) -> None:
    async with (
        EurekaBackend(pair.urls[0]) as one,
        EurekaBackend(pair.urls[1], interval=0.1) as other,
    ):
        lease = await one.register(me(service))
        await one.renew(lease, Health("passing"))
        await fetched(other, service, statuses("passing"))
        await one.drain(lease, True)
        await fetched(other, service, statuses("critical"))
        await one.drain(lease, False)
        await fetched(other, service, statuses("passing"))
        await one.deregister(lease)
        await fetched(other, service, statuses())


async def test_the_servers_of_the_own_zone_are_asked_first(pair: EurekaPair, service: str) -> None:
    zones = {"a": pair.urls[0], "b": [pair.urls[1]]}
    for zone, url in zip("ab", pair.urls, strict=True):
        async with EurekaBackend(zones, zone=zone) as backend:
            assert (await backend.register(me(service))).where == url


async def test_a_server_that_preserves_itself_keeps_what_is_not_renewed(
    pair: EurekaPair, service: str
) -> None:
    async with EurekaBackend(pair.urls, interval=0.1, wait=0.5) as backend:
        lease = await backend.register(me(service, check=TTLCheck(ttl=1.0)))
        await backend.renew(lease, Health("passing"))
        reply = await fetched(backend, service, statuses("passing"))
        end = time.time() + 3.0  # Twice the TTL, and two evictions.
        while time.time() < end:
            reply = await backend.fetch(Query(service), reply.cursor)
            assert [instance.status for instance in reply.instances] == ["passing"]


async def test_a_frozen_server_is_left_for_the_other(pair: EurekaPair, service: str) -> None:
    async with EurekaBackend(pair.urls, interval=0.1, timeout=2.0) as backend:
        lease = await backend.register(me(service))
        await until(lambda: known_as(pair.servers[1], service, "DOWN"))
        pair.servers[0].freeze()
        try:
            await backend.renew(lease, Health("passing"))
            await fetched(backend, service, statuses("passing"))
            assert str(backend._transport.server) == pair.urls[1]
        finally:
            pair.servers[0].thaw()


async def known_as(server: EurekaServer, service: str, status: str) -> bool:
    found = await server.instance(service.upper(), f"{service}-1")
    return found is not None and found["status"] == status


async def test_a_killed_server_takes_nothing_with_it(pair: EurekaPair, service: str) -> None:
    registration = Registration(
        service=service, host="10.0.0.7", port=80, id=f"{service}-1", check=TTLCheck(ttl=3.0)
    )
    async with EurekaBackend(pair.urls, interval=0.1, timeout=2.0) as backend:
        async with running(backend, registration) as registrar:
            await registrar.ready()
            await fetched(backend, service, statuses("passing"))
            pair.servers[0].kill()
            # It may not have been replicated yet: then the other doesn't know it, and is told.
            await until(lambda: known_as(pair.servers[1], service, "UP"))
            await fetched(backend, service, statuses("passing"))
        await fetched(backend, service, statuses())
