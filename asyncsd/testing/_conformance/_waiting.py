"""What a fetch with a cursor waits for, and what ends it."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from asyncsd import CatalogBackend, Instance, Meta, Query, RegistryBackend, TTLCheck

from ._suite import Suite, ids, only, record


class Waiting(Suite):
    """What a fetch with a cursor waits for, and what ends it."""

    async def test_a_waiting_fetch_sees_an_instance_come_and_go(
        self, backend: RegistryBackend, service: str
    ) -> None:
        self.needs("pushes")
        coming = await self.waiting(backend, service, bool)
        lease = await self.put(backend, record(service))
        assert ids((await coming).instances) == [f"{service}-1"]
        going = await self.waiting(backend, service, lambda instances: not instances)
        await self.drop(backend, lease)
        assert (await going).instances == ()

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("tags", ("v2",)),
            ("meta", Meta({"load": "high"})),
            ("weight", 9),
            ("port", 81),
            ("host", "10.0.0.2"),
        ],
    )
    async def test_a_waiting_fetch_sees_a_change(
        self, backend: RegistryBackend, service: str, field: str, value: Any
    ) -> None:
        self.needs("pushes")
        before = record(service, tags=("v1",), meta={"load": "low"})
        await self.put(backend, before)
        await self.until(backend, service, bool)

        def changed(instances: tuple[Instance, ...]) -> bool:
            return [getattr(instance, field) for instance in instances] == [value]

        waiting = await self.waiting(backend, service, changed)
        after: dict[str, Any] = {field: value}
        await self.put(backend, replace(before, **after))
        assert only(await waiting).id == before.id

    @pytest.mark.parametrize("status", ["passing", "warning"])
    async def test_a_waiting_fetch_sees_a_change_of_status(
        self, backend: RegistryBackend, service: str, status: str
    ) -> None:
        self.needs("pushes", "registers", "ttl")
        lease = await self.put(backend, record(service, checks=(TTLCheck(ttl=60.0),)))
        await self.until(backend, service, bool)
        waiting = await self.waiting(backend, service, lambda found: [i.status for i in found] == [status])
        await self.renew(backend, lease, status)
        assert only(await waiting).status == status

    async def test_what_changed_between_two_fetches_is_told_by_the_second(
        self, backend: RegistryBackend, service: str
    ) -> None:
        before = await backend.fetch(Query(service), None)
        await self.put(backend, record(service))
        reply = await self.until(backend, service, bool, before.cursor)
        assert ids(reply.instances) == [f"{service}-1"]

    async def test_unchanged_it_returns_after_its_wait_with_the_same(
        self, quick: RegistryBackend, service: str
    ) -> None:
        await self.put(quick, record(service, tags=("v1",), meta={"a": "b"}))
        before = await self.until(quick, service, bool)
        async with asyncio.timeout(self.deadline):
            after = await quick.fetch(Query(service), before.cursor)
        assert after.instances == before.instances

    async def test_a_cancelled_fetch_loses_nothing(self, backend: RegistryBackend, service: str) -> None:
        before = await backend.fetch(Query(service), None)
        for _ in range(5):
            waiting = asyncio.create_task(backend.fetch(Query(service), before.cursor))
            await backend.fetch(Query(service), None)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        await self.put(backend, record(service))
        assert ids((await self.until(backend, service, bool, before.cursor)).instances) == [f"{service}-1"]

    async def test_many_wait_at_once_and_each_hears_of_its_own(
        self, backend: RegistryBackend, service: str
    ) -> None:
        services = [f"{service}-{number}" for number in range(20)]
        before = [await backend.fetch(Query(name), None) for name in services]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self.until(backend, name, bool, reply.cursor))
                for name, reply in zip(services, before, strict=True)
            ]
            for name in reversed(services):
                await self.put(backend, record(name))
        assert [ids(task.result().instances) for task in tasks] == [[f"{name}-1"] for name in services]

    async def test_several_wait_for_the_same_and_all_hear(
        self, backend: RegistryBackend, service: str
    ) -> None:
        before = await backend.fetch(Query(service), None)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.until(backend, service, bool, before.cursor)) for _ in range(5)]
            await self.put(backend, record(service))
        assert [len(task.result().instances) for task in tasks] == [1] * 5

    async def test_waiting_for_names_hears_of_a_new_service_and_of_the_last_gone(
        self, backend: RegistryBackend, service: str
    ) -> None:
        if not isinstance(backend, CatalogBackend):
            pytest.skip("no CatalogBackend")
        catalog = backend

        async def follow(cursor: Any, *, listed: bool) -> None:
            async with asyncio.timeout(self.deadline):
                names = await catalog.fetch_names(cursor)
                while (service in names.services) is not listed:
                    names = await catalog.fetch_names(names.cursor)

        coming = asyncio.create_task(follow((await catalog.fetch_names(None)).cursor, listed=True))
        lease = await self.put(backend, record(service))
        await coming
        going = asyncio.create_task(follow((await catalog.fetch_names(None)).cursor, listed=False))
        await self.drop(backend, lease)
        await going
