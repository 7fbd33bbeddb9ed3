"""What a fetch without a cursor tells."""

import asyncio
from typing import Any

import pytest

from asyncsd import CatalogBackend, Query, RegistryBackend, TTLCheck

from ._suite import Suite, ids, only, record

VALUES: dict[str, dict[str, Any]] = {
    "tags": {"tags": ("v1", "blue")},
    "meta": {"meta": {"zone": "a", "version": "1.2"}},
    "weight": {"weight": 7},
    "name": {"host": "db-1.example"},
    "ipv6": {"host": "2001:db8::1"},
    "port": {"port": 65535},
    "no port": {"port": 0},
    "scheme": {"scheme": "https"},
    "unicode": {"meta": {"owner": "Zoë 日本 ☕", "quote": "\"'\\<&>"}, "tags": ("größe",)},
    "odd tags": {"tags": ("a b", "a/b", "a,b", "a=b", "k:v", "%2F", "?x#y")},
    "many tags": {"tags": tuple(f"tag-{n}" for n in range(100))},
    "long meta": {"meta": {f"key-{n}": "x" * 500 for n in range(20)}},
}


class Reading(Suite):
    """What a fetch without a cursor tells."""

    async def test_unknown_service_is_empty(self, backend: RegistryBackend, service: str) -> None:
        async with asyncio.timeout(self.deadline):
            assert (await backend.fetch(Query(service), None)).instances == ()

    async def test_without_a_cursor_it_answers_at_once(self, backend: RegistryBackend, service: str) -> None:
        await self.put(backend, record(service))
        await self.until(backend, service, bool)
        async with asyncio.timeout(self.deadline):
            for _ in range(3):
                assert ids((await backend.fetch(Query(service), None)).instances) == [f"{service}-1"]

    @pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
    async def test_what_is_registered_is_what_is_read(
        self, backend: RegistryBackend, service: str, values: dict[str, Any]
    ) -> None:
        self.needs_carried(*values)
        given = record(service, **values)
        await self.put(backend, given)
        read = only(await self.until(backend, service, bool))
        assert (read.id, read.service, read.host, read.port) == (given.id, service, given.host, given.port)
        assert read.tags == given.tags
        # A registry may keep more there: Consul has no other place for the scheme.
        assert dict(given.meta).items() <= dict(read.meta).items()
        assert read.weight == given.weight
        assert read.scheme == given.scheme
        assert read.zone == given.meta.get("zone")
        assert read.status == "passing"

    @pytest.mark.parametrize("id", ["a b", "a/b", "ü?x=1#y", "a%2Fb", "a:b,c;d"])
    async def test_ids_may_have_odd_characters(self, backend: RegistryBackend, service: str, id: str) -> None:
        self.needs_carried("id")
        odd = f"{service} {id}"
        lease = await self.put(backend, record(service, id=odd))
        assert only(await self.until(backend, service, bool)).id == odd
        await self.drop(backend, lease)
        await self.until(backend, service, lambda instances: not instances)

    async def test_several_instances_and_services_are_kept_apart(
        self, backend: RegistryBackend, service: str
    ) -> None:
        other = f"{service}-other"
        await self.put(backend, record(service, 1))
        await self.put(backend, record(service, 2, port=81))
        await self.put(backend, record(other, 1))
        reply = await self.until(backend, service, lambda instances: len(instances) == 2)
        assert ids(reply.instances) == [f"{service}-1", f"{service}-2"]
        assert {instance.service for instance in reply.instances} == {service}
        assert ids((await self.until(backend, other, bool)).instances) == [f"{other}-1"]

    async def test_every_status_is_told_and_the_registry_filters_on_demand(
        self, backend: RegistryBackend, service: str
    ) -> None:
        self.needs("registers", "ttl")
        for number, status in enumerate(("passing", "warning", "critical")):
            lease = await self.put(
                backend, record(service, number, tags=(status,), checks=(TTLCheck(ttl=60.0),))
            )
            await self.renew(backend, lease, status)
        expected = [f"{service}-0", f"{service}-1", f"{service}-2"]
        reply = await self.until(
            backend,
            service,
            lambda found: sorted(i.status for i in found) == ["critical", "passing", "warning"],
        )
        assert ids(reply.instances) == expected
        assert all(instance.tags == (instance.status,) for instance in reply.instances)
        for query, few in (
            (Query(service, server_filter=True), expected[:1]),
            (Query(service, status="critical", server_filter=True), expected),
            (Query(service, status="critical", tags=("warning",), server_filter=True), expected[1:2]),
            (Query(service, tags=("passing", "no-such"), server_filter=True), []),
        ):
            assert ids((await backend.fetch(query, None)).instances) == few, query

    async def test_names_of_all_services_with_their_tags(
        self, backend: RegistryBackend, service: str
    ) -> None:
        if not isinstance(backend, CatalogBackend):
            pytest.skip("no CatalogBackend")
        now = await backend.fetch_names(None)
        assert service not in now.services
        await self.put(backend, record(service, 1, tags=("a", "b")))
        await self.put(backend, record(service, 2, tags=("b", "c")))
        async with asyncio.timeout(self.deadline):
            while set(now.services.get(service, ())) != {"a", "b", "c"}:
                now = await backend.fetch_names(now.cursor)

    async def test_local_host_is_an_address(self, backend: RegistryBackend) -> None:
        self.needs("registers")
        assert await backend.local_host()
