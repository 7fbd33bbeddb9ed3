"""A program that uses all of Discovery, cancelled at every step: nothing stays registered or running."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from asyncsd import Discovery, Instance, Registration, RoundRobin, TTLCheck
from asyncsd.testing import FakeClock, MemoryBackend

from .steps import cancel_at_every_step

ME = Registration(service="greeter", host="10.0.0.7", port=8080, check=TTLCheck(ttl=15.0))
USERS = [Instance(id=f"u{n}", service="users", host=f"10.0.0.{n}", port=80) for n in (1, 2)]


@asynccontextmanager
async def program(clock: FakeClock) -> AsyncGenerator[Coroutine[Any, Any, None], None]:
    registry = MemoryBackend(*USERS, clock=clock)
    open_channels: set[str] = set()

    async def connect(instance: Instance) -> str:
        open_channels.add(instance.id)
        return instance.id

    async def disconnect(channel: str) -> None:
        await asyncio.sleep(0)
        open_channels.remove(channel)

    async def run() -> None:
        async with Discovery(registry, clock=clock) as sd, sd.register(ME, drain=1.0) as registration:
            channels = sd.balancer("users", RoundRobin(), factory=connect, close=disconnect)
            async with sd.watch("greeter") as events, channels.acquire():
                await events.get()
                await registration.update(tags=("v2",))
                await events.get()

    yield run()
    assert registry.instances("greeter") == ()
    assert not registry.is_open
    assert not open_channels


async def test_a_whole_program_leaves_nothing_behind() -> None:
    steps = await cancel_at_every_step(program)
    assert steps > 20
