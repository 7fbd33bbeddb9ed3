"""Reads from a real cluster that loses its leader."""

import asyncio

import pytest

from asyncsd import BackendError, Health, Query, Registration, TTLCheck
from asyncsd.backends.consul import ConsulBackend
from tests.support.consul import ClientKind, ConsulCluster

pytestmark = pytest.mark.server("consul")

ME = Registration(service="users", port=80, check=TTLCheck(ttl=60.0)).record(id="me", host="127.0.0.1")


async def test_an_election_costs_errors_at_most_and_never_a_wrong_list(client: ClientKind) -> None:
    async with ConsulCluster() as cluster:
        leader = await cluster.leader()
        followers = [number for number in range(3) if number != leader]
        # The one that will be killed is asked first: reads fail over to the others.
        urls = [cluster.urls[number] for number in (leader, *followers)]
        async with (
            ConsulBackend(urls[1], client=client) as near,
            ConsulBackend(urls, client=client) as all_three,
        ):
            lease = await near.register(ME)
            await near.renew(lease, Health("passing"))
            reply = await all_three.fetch(Query("users"), None)
            while [i.status for i in reply.instances] != ["passing"]:
                reply = await all_three.fetch(Query("users"), reply.cursor)
            errors: list[BackendError] = []
            cluster.kill(leader)
            async with asyncio.timeout(30):
                while True:
                    try:
                        after = await all_three.fetch(Query("users", consistency="consistent"), None)
                        break
                    except BackendError as exc:
                        errors.append(exc)
            assert [i.id for i in after.instances] == ["me"]
            assert after.known_leader
            assert not any(error.permanent for error in errors)
            assert await cluster.leader() in followers
            await near.renew(lease, Health("passing"))
            stale = await all_three.fetch(Query("users", consistency="stale", max_stale=5.0), None)
            assert [i.id for i in stale.instances] == ["me"]
