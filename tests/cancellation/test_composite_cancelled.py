"""A composite cancelled at every step: no member stays open that it opened, and no watch goes on."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from asyncsd import Query
from asyncsd.backends.composite import Failover, Merge
from asyncsd.testing import FakeClock, MemoryBackend
from tests.support.members import REFUSED, FaultyMemory

from .steps import cancel_at_every_step


@pytest.mark.parametrize("kind", [Merge, Failover])
async def test_what_was_opened_is_closed_and_what_was_borrowed_is_not(
    kind: type[Merge] | type[Failover],
) -> None:
    @asynccontextmanager
    async def program(clock: FakeClock) -> AsyncGenerator[Coroutine[Any, Any, None], None]:
        own = FaultyMemory("a", clock=clock)
        borrowed = MemoryBackend(clock=clock)

        async def run() -> None:
            async with kind({"own": own, "borrowed": borrowed}, clock=clock) as backend:
                reply = await backend.fetch(Query("users"), None)
                names = await backend.fetch_names(None)
                own.add("b")
                reply = await backend.fetch(Query("users"), reply.cursor)
                own.down(REFUSED)
                await backend.fetch(Query("users"), reply.cursor)
                own.up()
                await backend.fetch_names(names.cursor)

        async with borrowed:
            yield run()
            assert not own.is_open
            assert borrowed.is_open

    assert await cancel_at_every_step(program) > 20


async def test_a_cancelled_fetch_leaves_its_cursor_good_and_others_waiting() -> None:
    clock = FakeClock()
    member = FaultyMemory("a", clock=clock)
    async with Merge(member, clock=clock) as merge:
        before = await merge.fetch(Query("users"), None)
        given_up, waiting = (asyncio.create_task(merge.fetch(Query("users"), before.cursor)) for _ in "ab")
        await clock.settle()
        given_up.cancel()
        await asyncio.wait([given_up])
        assert not waiting.done()
        member.add("b")
        await clock.advance(1.0)
        assert len((await waiting).instances) == 2
        assert len((await merge.fetch(Query("users"), before.cursor)).instances) == 2
