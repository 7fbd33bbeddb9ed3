"""How a backend opens and closes, and what it leaves."""

import asyncio
import gc
import warnings
from typing import Any

import pytest

from asyncsd import ClosedError, ObservingBackend, Query, RegistryBackend

from ._suite import Suite, record


class Lifecycle(Suite):
    """How a backend opens and closes, and what it leaves."""

    async def test_is_open_between_enter_and_close(self) -> None:
        backend = self.make_backend()
        assert not backend.is_open
        async with backend:
            assert backend.is_open
        assert not backend.is_open

    async def test_calls_before_it_is_open_and_after_its_close_are_closed_errors(self, service: str) -> None:
        backend = self.make_backend()
        with pytest.raises(ClosedError):
            await backend.fetch(Query(service), None)
        async with backend:
            await backend.fetch(Query(service), None)
        with pytest.raises(ClosedError):
            await backend.fetch(Query(service), None)
        if self.registers:
            with pytest.raises(ClosedError):
                await backend.register(record(service))

    async def test_opening_an_open_one_is_refused(self, backend: RegistryBackend, service: str) -> None:
        with pytest.raises(RuntimeError):
            await backend.__aenter__()
        await backend.fetch(Query(service), None)

    async def test_closing_twice_and_without_opening_is_fine(self) -> None:
        await self.make_backend().aclose()
        async with self.make_backend() as backend:
            await backend.aclose()
            await backend.aclose()

    async def test_close_ends_what_waits_at_once(self, service: str) -> None:
        async with self.make_backend() as backend:
            now = await backend.fetch(Query(service), None)
            waiting = [asyncio.create_task(backend.fetch(Query(service), now.cursor)) for _ in range(3)]
            await backend.fetch(Query(service), None)
            async with asyncio.timeout(self.deadline):
                await backend.aclose()
                ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(error) for error in ended] == [ClosedError] * 3

    async def test_close_ends_an_observation_at_once(self, service: str) -> None:
        self.needs("registers")
        async with self.make_backend() as backend:
            if not isinstance(backend, ObservingBackend):
                pytest.skip("no ObservingBackend")
            observer: Any = backend
            lease = await observer.register(record(service))
            cursor = await observer.observe(lease, None)
            waiting = asyncio.create_task(observer.observe(lease, cursor))
            await observer.observe(lease, None)
            async with asyncio.timeout(self.deadline):
                await observer.aclose()
                with pytest.raises(ClosedError):
                    await waiting

    async def test_belongs_to_the_loop_that_opened_it(self, backend: RegistryBackend, service: str) -> None:
        async def ask() -> None:
            await backend.fetch(Query(service), None)

        with pytest.raises(RuntimeError, match="loop"):
            await asyncio.to_thread(lambda: asyncio.run(ask()))

    async def test_leaves_no_task_and_nothing_unclosed(self, service: str) -> None:
        gc.collect()
        before = asyncio.all_tasks()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            async with self.make_backend() as backend:
                await self.put(backend, record(service))
                reply = await self.until(backend, service, bool)
                waiting = asyncio.create_task(backend.fetch(Query(service), reply.cursor))
                await backend.fetch(Query(service), None)
            async with asyncio.timeout(self.deadline):
                await asyncio.gather(waiting, return_exceptions=True)
            del backend, waiting, reply
            gc.collect()
        assert not [str(warning.message) for warning in caught]
        assert not asyncio.all_tasks() - before
