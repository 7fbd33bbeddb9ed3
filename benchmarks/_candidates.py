"""One watch of a registry, by asyncsd or by hand, with somebody who reads what it tells."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

from _bare import BARE, Tell, Watch, running
from _registries import Place
from _writers import WRITERS, Writer

from asyncsd import Discovery, Event, Instance, Query
from asyncsd.backends.memory import MemoryBackend


class Seen:
    """Notes when a reader has got a list of so many instances from its queue."""

    def __init__(self) -> None:
        self._waiting: tuple[int, asyncio.Future[float]] | None = None
        self._latest = -1

    def got(self, count: int) -> None:
        self._latest = count
        if self._waiting is not None and self._waiting[0] == count and not self._waiting[1].done():
            self._waiting[1].set_result(time.perf_counter())

    def expect(self, count: int) -> asyncio.Future[float]:
        """When that is the next time the case; to be called before the change."""
        told: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        if self._latest == count:
            told.set_result(time.perf_counter())
        self._waiting = (count, told)
        return told


class Candidate(NamedTuple):
    """A watch of `service`, and whoever changes that."""

    service: str
    seen: Seen
    writer: Writer


class Took(NamedTuple):
    """Microseconds of one change until the reader has it: from when it was begun, and from its return."""

    begun: float
    returned: float


async def change(one: Candidate, there: bool) -> Took:
    """The second instance comes, or goes."""
    told = one.seen.expect(1 + there)
    began = time.perf_counter()
    await (one.writer.put if there else one.writer.remove)(one.service, 2)
    returned = time.perf_counter()
    async with asyncio.timeout(30.0):
        at = await told
    return Took((at - began) * 1e6, (at - returned) * 1e6)


@asynccontextmanager
async def ours(name: str, place: Place) -> AsyncGenerator[Candidate, None]:
    async with AsyncExitStack() as stack:
        writer = await stack.enter_async_context(WRITERS[name](place.writer))
        sd = await stack.enter_async_context(Discovery.from_url(place.url))
        yield await stack.enter_async_context(_watched(sd, writer))


@asynccontextmanager
async def _watched(sd: Discovery, writer: Writer) -> AsyncGenerator[Candidate, None]:
    seen = Seen()
    queue: asyncio.Queue[Event] = asyncio.Queue()

    async def read() -> None:
        while True:
            event = await queue.get()
            seen.got(-1 if event.snapshot is None else len(event.snapshot))

    async with running(read()):
        await writer.put("ours", 1)
        async with sd.watch(Query("ours", status="critical"), queue=queue):
            async with asyncio.timeout(30.0):
                await seen.expect(1)
            yield Candidate("ours", seen, writer)


@asynccontextmanager
async def bare(name: str, place: Place) -> AsyncGenerator[Candidate, None]:
    async with AsyncExitStack() as stack:
        writer = await stack.enter_async_context(WRITERS[name](place.writer))
        watch = await stack.enter_async_context(BARE[name](place.bare))
        yield await stack.enter_async_context(_by_hand(watch, writer))


@asynccontextmanager
async def _by_hand(watch: Watch, writer: Writer) -> AsyncGenerator[Candidate, None]:
    seen = Seen()
    queue: asyncio.Queue[frozenset[str]] = asyncio.Queue()

    async def read() -> None:
        while True:
            seen.got(len(await queue.get()))

    async with running(read()):
        await writer.put("bare", 1)
        async with watch("bare", queue.put_nowait):
            async with asyncio.timeout(30.0):
                await seen.expect(1)
            yield Candidate("bare", seen, writer)


class _InMemory:
    """What is written tells the watch itself."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._tell: Callable[[frozenset[str]], None] | None = None

    @asynccontextmanager
    async def watch(self, _: str, tell: Tell) -> AsyncGenerator[None, None]:
        self._tell = tell
        tell(frozenset(self._ids))
        yield

    async def put(self, service: str, number: int) -> None:
        self._ids.add(f"{service}-{number}")
        self._told()

    async def remove(self, service: str, number: int) -> None:
        self._ids.discard(f"{service}-{number}")
        self._told()

    def _told(self) -> None:
        if self._tell is not None:
            self._tell(frozenset(self._ids))


class _Memory:
    def __init__(self, backend: MemoryBackend) -> None:
        self._backend = backend

    async def put(self, service: str, number: int) -> None:
        self._backend.put(Instance(f"{service}-{number}", service, "127.0.0.1", 8000 + number))

    async def remove(self, service: str, number: int) -> None:
        self._backend.remove(f"{service}-{number}")


@asynccontextmanager
async def ours_in_memory() -> AsyncGenerator[Candidate, None]:
    async with Discovery(MemoryBackend()) as sd, _watched(sd, _Memory(sd.backend)) as one:
        yield one


@asynccontextmanager
async def bare_in_memory() -> AsyncGenerator[Candidate, None]:
    """A queue that is put by the call that changes something."""
    here = _InMemory()
    async with _by_hand(here.watch, here) as one:
        yield one
