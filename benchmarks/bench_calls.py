"""What a call by a service's name costs, beside plain aiohttp with the URLs from a cycle.

Three aiohttp servers in a process of their own answer a few bytes; the time is the CPU time of this process.
"""

import asyncio
import itertools
import multiprocessing
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from functools import lru_cache
from multiprocessing.connection import Connection
from typing import Any, Literal

import aiohttp
from _measure import Figure, Report, figure, measure, run
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from asyncsd import Discovery, Instance, PeakEWMA, Policy, RoundRobin
from asyncsd.backends.memory import MemoryBackend
from asyncsd.ext.aiohttp import _aimed, balanced  # pyright: ignore[reportPrivateUsage]

SERVERS = 3
CALLS = 320
"""Calls of each candidate in a slice of a round."""
SLICES = 4
IN_FLIGHT = (1, 64)
FLOOR = "plain aiohttp"
GOAL = 1.10
MEDIAN: Literal["median"] = "median"
LEAST: Literal["least"] = "least"
POLICIES: tuple[Policy, ...] = (RoundRobin(), PeakEWMA())
SERVICE = URL("http://users/hello")

Call = Callable[[], Awaitable[None]]


def serve(ready: Connection) -> None:
    """Serve on ports that the system chooses, until the process is ended."""

    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    async def main() -> None:
        ports: list[int] = []
        for _ in range(SERVERS):
            app = web.Application()
            app.router.add_get("/hello", hello)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            ports.append(runner.addresses[0][1])
        ready.send(ports)
        await asyncio.Event().wait()

    asyncio.run(main())


async def many(call: Call, in_flight: int) -> float:
    """The CPU time of a call, in ns."""
    left = iter(range(CALLS))

    async def worker() -> None:
        for _ in left:
            await call()

    began = time.process_time_ns()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return (time.process_time_ns() - began) / CALLS


def getter(session: aiohttp.ClientSession, urls: list[str]) -> Call:
    turn = itertools.cycle(urls).__next__

    async def call() -> None:
        async with session.get(turn()) as response:
            await response.read()

    return call


async def nothing(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """A middleware that does nothing."""
    return await handler(request)


def addressing(ports: list[int]) -> aiohttp.ClientMiddlewareType:
    """A middleware that only writes the addresses, each in its turn, into the requests."""
    turn = itertools.cycle(
        [(URL(f"http://127.0.0.1:{port}/hello"), f"127.0.0.1:{port}") for port in ports]
    ).__next__

    async def middleware(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.url, request.headers[aiohttp.hdrs.HOST] = turn()
        return await handler(request)

    return middleware


async def compare(report: Report, ports: list[int]) -> None:
    instances = [Instance(f"users-{port}", "users", "127.0.0.1", port) for port in ports]
    addresses = [f"http://127.0.0.1:{port}/hello" for port in ports]
    names = ["http://users/hello"]
    async with Discovery(MemoryBackend(*instances)) as sd, AsyncExitStack() as stack:
        middlewares: dict[str, tuple[list[str], tuple[aiohttp.ClientMiddlewareType, ...]]] = {
            FLOOR: (addresses, ()),
            "a middleware that does nothing": (addresses, (nothing,)),
            "one that sets the address": (names, (addressing(ports),)),
            **{
                f"balanced, {type(policy).__name__}": (names, (balanced(sd, policy=policy),))
                for policy in POLICIES
            },
        }
        candidates: dict[str, Call] = {}
        for name, (urls, chain) in middlewares.items():
            session = await stack.enter_async_context(aiohttp.ClientSession(middlewares=chain))
            candidates[name] = getter(session, urls)
        for in_flight in IN_FLIGHT:
            figures = await interleaved(candidates, in_flight, report.rounds)
            for title, by in (("", MEDIAN), (", at least", LEAST)):
                report.add(
                    f"calls, {in_flight} in flight, CPU{title}",
                    figures,
                    floors={name: FLOOR for name in candidates if name != FLOOR},
                    goals={name: GOAL for name in candidates if name.startswith("balanced")},
                    by=by,
                )
        await parts(report, sd)


async def interleaved(candidates: dict[str, Call], in_flight: int, rounds: int) -> dict[str, Figure]:
    """Each round in slices, in which the candidates take turns at being the first."""
    for call in candidates.values():
        for _ in range(SLICES):  # Connections, and what Python learns of the code.
            await many(call, in_flight)
    times: dict[str, list[float]] = {name: [0.0] * rounds for name in candidates}
    order = deque(candidates.items())
    for number in range(rounds):
        for _ in range(SLICES):
            for name, call in order:
                times[name][number] += await many(call, in_flight) / SLICES
            order.rotate()
    return {name: figure(samples) for name, samples in times.items()}


class Answered:
    """A response that is all there."""

    status = 200
    connection = None


class Asked:
    """What a middleware sees of a request."""

    def __init__(self) -> None:
        self.url = SERVICE
        self.headers = CIMultiDict({"Host": "users"})


async def parts(report: Report, sd: Discovery[MemoryBackend]) -> None:
    """What the pieces of a balanced call take when nothing else runs in between: caches are warm."""
    answered = Answered()

    async def handler(_: Any) -> Any:
        return answered

    def through(middleware: Any) -> Callable[[], object]:
        def ask() -> None:
            with suppress(StopIteration):
                middleware(Asked(), handler).send(None)

        return ask

    def begun(policy: Policy) -> Callable[[], object]:
        balancer = sd.balancer("users", policy)

        def begin_and_end() -> None:
            _, end = balancer.begin()
            end(None)

        return begin_and_end

    aimed = lru_cache(_aimed)
    candidates: dict[str, Callable[[], object]] = {"the request alone": through(nothing)}
    for policy in POLICIES:
        candidates[f"with balanced, {type(policy).__name__}"] = through(balanced(sd, policy=policy))
    for policy in POLICIES:
        candidates[f"begin and end, {type(policy).__name__}"] = begun(policy)
    candidates["the URL and Host of an instance"] = lambda: aimed(SERVICE, None, "127.0.0.1", 8080)
    report.add("calls, the parts, warm", measure(candidates, rounds=report.rounds), floors={})


def main() -> None:
    report = Report(__doc__ or "")
    context = multiprocessing.get_context("spawn")
    ready, theirs = context.Pipe()
    servers = context.Process(target=serve, args=(theirs,), daemon=True)
    servers.start()
    try:
        run(lambda: compare(report, ready.recv()))
    finally:
        servers.terminate()
        servers.join()
    report.close()


if __name__ == "__main__":
    main()
