"""A registrar that runs on a real registry, and waiting for what becomes of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from asyncsd import BackendError, Instance, Query, Registrar, Registration, Reply

__all__ = ["fetched", "fetched_at_last", "running", "until"]


@asynccontextmanager
async def running(backend: Any, me: Registration, **options: Any) -> AsyncIterator[Registrar]:
    registrar = Registrar(backend, me, **options)
    task = asyncio.get_running_loop().create_task(registrar.run())
    try:
        async with asyncio.timeout(40):
            yield registrar
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    """Ask a real server again and again until it `holds`."""
    async with asyncio.timeout(seconds):
        while not await holds():
            pass


async def fetched(backend: Any, service: str, accept: Callable[[tuple[Instance, ...]], object]) -> Reply:
    """Fetch on until `accept(instances)`."""
    async with asyncio.timeout(20):
        reply: Reply = await backend.fetch(Query(service), None)
        while not accept(reply.instances):
            reply = await backend.fetch(Query(service), reply.cursor)
    return reply


async def fetched_at_last(
    backend: Any, service: str, accept: Callable[[tuple[Instance, ...]], object]
) -> None:
    """The same, past the errors of a server that has just come back, and is busy with what it missed."""

    async def holds() -> bool:
        try:
            return bool(accept((await backend.fetch(Query(service), None)).instances))
        except BackendError:
            return False

    await until(holds)
