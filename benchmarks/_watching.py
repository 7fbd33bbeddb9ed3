"""A program that watches services of a Consul, in one of several ways: a benchmark starts it beside go-kit's.

`python _watching.py WHO URL` takes commands on its input, a line each: "watch NAME" and "watch NAME COUNT",
which is NAME-0 to NAME-(COUNT-1), "register NAME PORT", which only asyncsd does, and "close". Each list that
it then holds is a line on its output: the time in nanoseconds since 1970, the service, how many instances it
has, and the sum of their ports. go-kit's counterpart is tests/servers/gokit/watch.
"""

import argparse
import asyncio
import inspect
import json
import logging
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import aiohttp

WAIT = "55s"

Watch = Callable[[str], Coroutine[Any, Any, None]]
"""Watches one service until it is cancelled, or all is closed."""


class Program(AsyncExitStack):
    """What is open, in the order of its making, and the tasks that watch."""

    def __init__(self, url: str, max_watches: int | None) -> None:
        super().__init__()
        self.url = url
        self.max_watches = max_watches
        self.tasks: set[asyncio.Task[None]] = set()
        self.register: Callable[[str, int], Coroutine[Any, Any, object]]

    async def cancel(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def say(*words: object) -> None:
    print(*words, flush=True)


def tell(service: str, items: list[dict[str, Any]]) -> None:
    say(time.time_ns(), service, len(items), sum(item["Service"]["Port"] for item in items))


async def bare(program: Program) -> Watch:
    """A loop without any of the care: no backoff, no deadline, no interval. It goes on from the old index."""
    # aiohttp's own limits are 100 connections, and 300 s, which is less than Consul's longest wait.
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(), raise_for_status=True
    )
    await program.enter_async_context(session)
    program.push_async_callback(program.cancel)

    path = f"{program.url}/v1/health/service"

    async def watch(service: str) -> None:
        params = {"passing": "1"}
        last: object = None
        while True:
            try:
                async with session.get(f"{path}/{service}", params=params) as response:
                    params |= {"index": response.headers["X-Consul-Index"], "wait": WAIT}
                    items = json.loads(await response.read())
            except aiohttp.ClientError:
                await asyncio.sleep(1.0)
                continue
            if items != last:
                last = items
                tell(service, items)

    return watch


async def library(program: Program) -> Watch:
    """consul.aio as it comes, of python-consul2 or py-consul: the loop of its documentation."""
    from consul import ConsulException, Timeout, aio

    host, _, port = program.url.removeprefix("http://").rpartition(":")
    client = aio.Consul(host, int(port))

    async def close() -> None:
        if inspect.isawaitable(closing := client.close() if hasattr(client, "close") else None):
            await closing

    program.push_async_callback(close)
    program.push_async_callback(program.cancel)

    async def watch(service: str) -> None:
        index: str | None = None
        last: object = None
        while True:
            try:
                index, items = await client.health.service(service, index=index, wait=WAIT, passing=True)
            except (ConsulException, Timeout, aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(1.0)
                continue
            if items != last:
                last = items
                tell(service, items)

    return watch


async def ours(client: Any, program: Program) -> Watch:
    from asyncsd import Discovery, Event, Registration, TTLCheck
    from asyncsd.backends.consul import ConsulBackend

    class Telling(asyncio.Queue[Event]):
        """Tells of a list when it is on the queue."""

        def put_nowait(self, item: Event) -> None:
            super().put_nowait(item)
            at = time.time_ns()
            if item.snapshot is not None and item.error is None and not item.closed:
                ports = sum(instance.port for instance in item.snapshot)
                say(at, item.query.service, len(item.snapshot), ports)

    options = {} if program.max_watches is None else {"max_watches": program.max_watches}
    backend = ConsulBackend(program.url, client=client, **options)
    sd = await program.enter_async_context(Discovery(backend))

    async def register(service: str, port: int) -> None:
        me = Registration(service=service, host="127.0.0.1", port=port, check=TTLCheck())
        await program.enter_async_context(sd.register(me))

    program.register = register

    async def watch(service: str) -> None:
        inbox = Telling(8)
        async with sd.watch(service, queue=inbox):
            while not (await inbox.get()).closed:
                pass

    return watch


async def main(start: Callable[[Program], Coroutine[Any, Any, Watch]], program: Program) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    watch = await start(program)
    say("ready")
    while line := (await reader.readline()).decode():
        command, *words = line.split()
        if command == "watch":
            name, *count = words
            services = [f"{name}-{number}" for number in range(int(count[0]))] if count else [name]
            program.tasks.update(asyncio.create_task(watch(service)) for service in services)
        elif command == "register":
            await program.register(words[0], int(words[1]))
        elif command == "close":
            began = time.perf_counter_ns()
            await program.aclose()
            took = time.perf_counter_ns() - began
            await asyncio.gather(*program.tasks, return_exceptions=True)
            say("closed", took)
    await program.aclose()


WHO = {
    "bare": bare,
    "library": library,
    "aio": partial(ours, "aio"),
    "direct": partial(ours, "direct"),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("who", choices=WHO)
    parser.add_argument("url")
    parser.add_argument("--uvloop", action="store_true", help="run on uvloop")
    parser.add_argument("--max-watches", type=int, help="ConsulBackend's max_watches")
    options = parser.parse_args()
    # Of hundreds of watches that fail, each tells so.
    logging.getLogger("asyncsd").addHandler(logging.NullHandler())
    running = main(WHO[options.who], Program(options.url, options.max_watches))
    if options.uvloop:
        import uvloop

        uvloop.run(running)
    else:
        asyncio.run(running)
