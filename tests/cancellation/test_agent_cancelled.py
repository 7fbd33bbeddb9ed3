"""A program that opens, restarts and closes an agent, cancelled at every step: nothing listens or runs on."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from asyncsd.agent import Agent
from asyncsd.testing import FakeClock

from .steps import cancel_at_every_step

QUERY = b"GET /v1/catalog/services?index=1000&wait=60s HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def program(clock: FakeClock) -> AsyncGenerator[Coroutine[Any, Any, None], None]:
    agent = Agent(clock=clock)
    before = asyncio.all_tasks()

    async def run() -> None:
        async with agent:
            _, writer = await asyncio.open_connection("127.0.0.1", agent._server.port)
            try:
                writer.write(QUERY)
                await asyncio.sleep(0)
                await agent.restart()
            finally:
                writer.transport.abort()

    yield run()
    assert not agent.is_open
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    if agent._server.port:
        async with Agent(port=agent._server.port):  # The port is free.
            pass


async def test_an_agent_leaves_nothing_wherever_it_is_cancelled() -> None:
    assert await cancel_at_every_step(program) > 8
