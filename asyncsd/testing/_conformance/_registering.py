"""What becomes of a registration."""

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from asyncsd import Instance, Lease, NotRegisteredError, ObservingBackend, RegistryBackend, TTLCheck

from ._suite import Suite, only, record


class Registering(Suite):
    """What becomes of a registration."""

    async def test_registering_again_replaces_without_a_moment_of_absence(
        self, backend: RegistryBackend, service: str
    ) -> None:
        self.needs("registers")
        first = record(service, meta={"turn": "0"})
        lease = await backend.register(first)
        reply = await self.until(backend, service, bool)
        done = asyncio.Event()

        async def watch(cursor: Any) -> None:
            while not done.is_set():
                reply = await self.until(backend, service, lambda _: True, cursor)
                assert len(reply.instances) == 1, "the instance was absent"
                cursor = reply.cursor
                if only(reply).meta["turn"] == "9":
                    done.set()

        async with asyncio.timeout(self.deadline), asyncio.TaskGroup() as group:
            group.create_task(watch(reply.cursor))
            for turn in range(1, 10):
                meta = type(first.meta)({"turn": str(turn)})
                lease = await backend.register(replace(first, meta=meta, port=80 + turn), lease)
            await done.wait()

    async def test_registering_again_keeps_the_status(self, backend: RegistryBackend, service: str) -> None:
        self.needs("registers", "ttl")
        given = record(service, checks=(TTLCheck(ttl=60.0),))
        lease = await backend.register(given)
        await self.renew(backend, lease)
        await self.until(backend, service, partial(has_statuses, ["passing"]))
        await backend.register(replace(given, port=81), lease)
        reply = await self.until(backend, service, lambda found: [i.port for i in found] == [81])
        assert only(reply).status == "passing"

    async def test_a_ttl_that_is_not_renewed_takes_the_instance_out(
        self, backend: RegistryBackend, service: str
    ) -> None:
        self.needs("registers", "ttl")
        lease = await backend.register(record(service, checks=(TTLCheck(ttl=3.0),)))
        await self.renew(backend, lease)
        await self.until(backend, service, partial(has_statuses, ["passing"]))
        await self.until(backend, service, partial(has_statuses, [] if self.expires else ["critical"]))

    @pytest.mark.parametrize("checks", [(), (TTLCheck(ttl=60.0),)], ids=["no check", "ttl"])
    async def test_renewing_what_is_not_registered_says_so(
        self, backend: RegistryBackend, service: str, checks: tuple[TTLCheck, ...]
    ) -> None:
        self.needs("registers")
        lease = await backend.register(record(service, checks=checks))
        await self.renew(backend, lease)
        await backend.deregister(lease)
        with pytest.raises(NotRegisteredError, match=f"{service}-1"):
            await self.renew(backend, lease)

    async def test_deregistering_twice_is_no_error(self, backend: RegistryBackend, service: str) -> None:
        self.needs("registers")
        lease = await backend.register(record(service))
        await self.until(backend, service, bool)
        await backend.deregister(lease)
        await backend.deregister(lease)
        await self.until(backend, service, lambda instances: not instances)

    async def test_deregistering_works_without_what_register_returned(
        self, backend: RegistryBackend, service: str
    ) -> None:
        """A `register` that was cut off may have gone through: there is a record then, and no lease."""
        self.needs("registers")
        given = record(service)
        await backend.register(given)
        await self.until(backend, service, bool)
        await backend.deregister(Lease(given, where="unknown"))
        await self.until(backend, service, lambda instances: not instances)

    async def test_draining_is_shown_and_taken_back(self, backend: RegistryBackend, service: str) -> None:
        self.needs("registers", "drains")
        lease = await backend.register(record(service))
        for on in (True, False, True):
            await backend.drain(lease, on)
            shown = ["critical" if on else "passing"]
            reply = await self.until(backend, service, partial(has_statuses, shown))
            assert only(reply).id == f"{service}-1"

    async def test_draining_what_is_not_registered_says_so(
        self, backend: RegistryBackend, service: str
    ) -> None:
        self.needs("registers", "drains")
        lease = await backend.register(record(service))
        await backend.deregister(lease)
        with pytest.raises(NotRegisteredError):
            await backend.drain(lease, True)

    async def test_observing_tells_once_a_registration_is_forgotten(
        self, backend: RegistryBackend, service: str
    ) -> None:
        observer = self._observer(backend)
        lease = await backend.register(record(service))
        async with asyncio.timeout(self.deadline):
            cursor = await observer.observe(lease, None)
            observing = asyncio.create_task(self._observe_on(observer, lease, cursor))
            await observer.observe(lease, None)
            assert not observing.done()
            await backend.deregister(lease)
            with pytest.raises(NotRegisteredError, match=f"{service}-1"):
                await observing

    async def test_observing_what_is_not_registered_says_so_at_once(
        self, backend: RegistryBackend, service: str
    ) -> None:
        observer = self._observer(backend)
        lease = await backend.register(record(service))
        cursor = await observer.observe(lease, None)
        await backend.deregister(lease)
        for start in (None, cursor):
            async with asyncio.timeout(self.deadline):
                with pytest.raises(NotRegisteredError):
                    await observer.observe(lease, start)

    def _observer(self, backend: RegistryBackend) -> ObservingBackend:
        self.needs("registers")
        if not isinstance(backend, ObservingBackend):
            pytest.skip("no ObservingBackend")
        return backend

    async def _observe_on(self, observer: ObservingBackend, lease: Lease, cursor: Any) -> None:
        while True:
            cursor = await observer.observe(lease, cursor)


def has_statuses(wanted: list[str], instances: tuple[Instance, ...]) -> bool:
    return [instance.status for instance in instances] == wanted
