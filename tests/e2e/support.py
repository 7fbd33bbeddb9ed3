"""What a program on a real registry does: servers to call, calls at a steady rate, and what a watch tells."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from asyncsd import Balancer, Discovery, Event, Instance, Query, Retry

__all__ = [
    "Calls",
    "Seen",
    "calling",
    "counted",
    "eventually",
    "fresh",
    "greeter",
    "held_connections",
    "watching",
]


async def eventually(holds: Callable[[], Awaitable[object] | object], within: float = 15.0) -> float:
    """Ask again and again until it `holds`; the seconds that this took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(within):
        while True:
            answer = holds()
            if await answer if isinstance(answer, Awaitable) else answer:
                return loop.time() - began
            await asyncio.sleep(0.02)


# -- what is called


@asynccontextmanager
async def greeter() -> AsyncGenerator[TestServer, None]:
    """A server at `port` that says hello, and is healthy."""

    async def hello(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.add_routes([web.get("/sayHello", hello), web.get("/health", hello)])
    async with TestServer(app, host="127.0.0.1") as server:
        yield server


# -- who calls


class Calls:
    """Calls at a steady rate: how many came to each port, and what failed."""

    def __init__(self) -> None:
        self.answered: Counter[int] = Counter()
        self.failed: list[Exception] = []

    def __repr__(self) -> str:
        return f"Calls({self.answered.total()} answered, failed: {self.failed})"

    def good(self, least: int) -> bool:
        """Whether there were so many, and none failed."""
        return not self.failed and self.answered.total() >= least


@asynccontextmanager
async def calling(
    *balancers: Balancer[Instance], every: float = 0.02, retry: Retry | None = None, workers: int = 1
) -> AsyncGenerator[Calls, None]:
    """Call what each balancer gives, `every` so many seconds, while the block runs."""
    calls = Calls()

    async def hello(instance: Instance) -> None:
        async with session.get(instance.url("/sayHello")) as response:
            response.raise_for_status()
            assert await response.text() == "hello"
        calls.answered[instance.port] += 1

    async def work() -> None:
        while True:
            for balancer in balancers:
                try:
                    # As good as no wait: a list that is empty for a moment fails the call.
                    await balancer.call(hello, retry=retry, timeout=0.001)
                except Exception as exc:  # noqa: BLE001 - the test asks for it
                    calls.failed.append(exc)
            await asyncio.sleep(every)

    # No connection is kept: one that its server closes just then would fail a call that nobody picked wrong.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        tasks = [asyncio.get_running_loop().create_task(work()) for _ in range(workers)]
        try:
            yield calls
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


# -- who watches


class Seen:
    """All Events of a watch in their order, none merged into another."""

    def __init__(self, queue: asyncio.Queue[Event]) -> None:
        self._queue = queue
        self._events: list[Event] = []

    async def until(self, holds: Callable[[Event], object], within: float = 15.0) -> Event:
        """The next Event that `holds`."""
        async with asyncio.timeout(within):
            while True:
                self._events.append(event := await self._queue.get())
                if holds(event):
                    return event

    @property
    def events(self) -> list[Event]:
        """All so far."""
        while not self._queue.empty():
            self._events.append(self._queue.get_nowait())
        return self._events

    @property
    def counts(self) -> list[int]:
        """How long the lists were, from the first that wasn't empty."""
        counts = [len(event.snapshot or ()) for event in self.events if not event.closed]
        return counts[next((number for number, count in enumerate(counts) if count), len(counts)) :]


@asynccontextmanager
async def watching(sd: Discovery[Any], query: Query | str) -> AsyncGenerator[Seen, None]:
    queue: asyncio.Queue[Event] = asyncio.Queue(100_000)
    async with sd.watch(query, queue=queue):
        yield Seen(queue)


def fresh(size: int) -> Callable[[Event], bool]:
    """An Event with so many instances that is to be trusted."""
    return lambda event: not event.stale and event.error is None and len(event.snapshot or ()) == size


# -- the ways to the agent


@contextmanager
def counted(port: int) -> Generator[list[float], None, None]:
    """The times at which this loop tried to connect to a port."""
    loop: Any = asyncio.get_running_loop()
    attempts: list[float] = []
    connect = loop.sock_connect

    async def sock_connect(sock: socket.socket, address: Any) -> None:
        if address[1] == port:
            attempts.append(loop.time())
        await connect(sock, address)

    loop.sock_connect = sock_connect
    try:
        yield attempts
    finally:
        del loop.sock_connect


def held_connections(port: int) -> int:
    """How many TCP connections stand to this port of 127.0.0.1, as the kernel tells it."""
    remote = f"0100007F:{port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(fields[2] == remote and fields[3] == "01" for fields in map(str.split, lines))
