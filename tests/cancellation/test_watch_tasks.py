"""`finish` and TaskOwner leave nothing behind, whenever they are cancelled."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from asyncsd._tasks import TaskOwner, finish
from asyncsd.testing import FakeClock
from tests.cancellation.steps import cancel_at_every_step

Body = Coroutine[Any, Any, object]


async def test_a_cleanup_runs_to_its_end_however_its_caller_is_cancelled() -> None:
    @asynccontextmanager
    async def world(clock: FakeClock) -> AsyncGenerator[Body, None]:
        registered = {"instance"}

        async def deregister() -> None:
            for _ in range(5):
                await asyncio.sleep(0)
            registered.discard("instance")

        async def caller() -> None:
            try:
                await clock.sleep(1.0)
            finally:
                await finish(deregister(), 5.0, role="deregister", service="users")

        yield caller()
        assert not registered

    assert await cancel_at_every_step(world) > 6


async def test_an_owner_that_is_cancelled_while_closing_still_ends_its_tasks() -> None:
    @asynccontextmanager
    async def world(clock: FakeClock) -> AsyncGenerator[Body, None]:
        ended: list[str] = []

        async def slow_to_end(name: str) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                for _ in range(3):
                    await asyncio.sleep(0)
                ended.append(name)

        async def body() -> None:
            owner = TaskOwner()
            for name in ("a", "b"):
                owner.spawn(slow_to_end(name), role="test", service=name)
            try:
                await clock.sleep(1.0)
            finally:
                await owner.aclose()

        yield body()
        assert sorted(ended) == ["a", "b"]

    await cancel_at_every_step(world)
