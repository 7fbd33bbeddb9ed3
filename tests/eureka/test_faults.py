"""A real server that freezes, and one that comes back and knows nothing."""

import asyncio

import pytest

from asyncsd import Backoff, Discovery, Instance, Query, Registration, TTLCheck, UnreachableError
from asyncsd.backends.eureka import EurekaBackend
from tests.support.eureka import EurekaServer
from tests.support.running import fetched_at_last, until

pytestmark = pytest.mark.server("eureka")


def backend_on(server: EurekaServer) -> EurekaBackend:
    return EurekaBackend(server.url, user="app", password="secret", interval=0.1, timeout=2.0)


def nobody(found: tuple[Instance, ...]) -> bool:
    return not found


async def test_a_frozen_server_is_an_error_in_time_and_no_harm(guarded: EurekaServer, service: str) -> None:
    async with backend_on(guarded) as backend:
        # A server that has just begun is slow at first.
        await fetched_at_last(backend, service, nobody)
        before = await backend.fetch(Query(service), None)
        guarded.freeze()
        async with asyncio.timeout(20):
            waiting = [asyncio.create_task(backend.fetch(Query(service), before.cursor)) for _ in range(20)]
            for wait in waiting:
                with pytest.raises(UnreachableError, match=r"no answer in 2 s"):
                    await wait
        guarded.thaw()
        await fetched_at_last(backend, service, nobody)


async def test_a_server_that_lost_all_is_told_again_while_the_old_list_serves(
    guarded: EurekaServer, service: str
) -> None:
    me = Registration(service=service, host="10.0.0.7", port=80, check=TTLCheck(ttl=6.0))
    sd = Discovery(backend_on(guarded), backoff=Backoff(maximum=0.5))
    async with sd, sd.register(me, timeout=15.0, required=True), sd.watch(service) as events:
        async with asyncio.timeout(20):
            while not (event := await events.get()).snapshot:
                pass
        guarded.kill()
        async with asyncio.timeout(20):
            while not (event := await events.get()).stale:
                pass
        assert isinstance(event.error, UnreachableError)
        assert event.snapshot
        guarded.launch()
        await guarded.ready()
        async with asyncio.timeout(20):
            while (event := await events.get()).stale:
                assert event.snapshot, "the list was empty for a moment"
        assert event.snapshot

        async def there() -> bool:
            status, told = await guarded.call("GET", f"/apps/{service.upper()}")
            return status == 200 and [i["status"] for i in told["application"]["instance"]] == ["UP"]

        await until(there)
