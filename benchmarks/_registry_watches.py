"""A process that watches services: `python _registry_watches.py WHO REGISTRY PLACE WATCHES`.

WHO is "asyncsd" or "bare". It prints a line once every list is there, and ends when its standard input does.
"""

import asyncio
import gc
import sys
from contextlib import AsyncExitStack

from asyncsd import Discovery, Event, Query


async def watch_ours(stack: AsyncExitStack, url: str, names: list[str]) -> None:
    sd = await stack.enter_async_context(Discovery.from_url(url))
    queues: list[asyncio.Queue[Event]] = [asyncio.Queue(maxsize=8) for _ in names]
    for name, queue in zip(names, queues, strict=True):
        await stack.enter_async_context(sd.watch(Query(name, status="critical"), queue=queue))
    for queue in queues:
        while not (await queue.get()).snapshot:
            pass


async def watch_bare(stack: AsyncExitStack, registry: str, place: str, names: list[str]) -> None:
    from _bare import BARE  # Here, since its libraries are no memory of asyncsd's.

    watch = await stack.enter_async_context(BARE[registry](place))
    queues: list[asyncio.Queue[frozenset[str]]] = [asyncio.Queue() for _ in names]
    for name, queue in zip(names, queues, strict=True):
        await stack.enter_async_context(watch(name, queue.put_nowait))
    for queue in queues:
        while not await queue.get():
            pass


async def main(who: str, registry: str, place: str, watches: str) -> None:
    names = [f"s{number}" for number in range(int(watches))]
    async with AsyncExitStack() as stack:
        if who == "bare":
            await watch_bare(stack, registry, place, names)
        else:
            await watch_ours(stack, place, names)
        gc.collect()
        print("watching", flush=True)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
