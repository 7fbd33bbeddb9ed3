"""What a call by a service's name costs, beside plain aiohttp with the URLs from a cycle.

Three aiohttp servers in a process of their own answer a few bytes; the time is the CPU time of this process.
"""

import asyncio
import itertools
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection

import aiohttp
from _measure import Figure, Report, figure, run
from aiohttp import web

from asyncsd import Discovery, Instance, PeakEWMA, Policy, RoundRobin
from asyncsd.backends.memory import MemoryBackend
from asyncsd.ext.aiohttp import balanced

SERVERS = 3
CALLS = 1_000
"""Calls of each candidate in a round."""
IN_FLIGHT = (1, 64)
FLOOR = "plain aiohttp"

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


async def compare(report: Report, ports: list[int]) -> None:
    instances = [Instance(f"users-{port}", "users", "127.0.0.1", port) for port in ports]
    policies: tuple[Policy, ...] = (RoundRobin(), PeakEWMA())
    async with (
        Discovery(MemoryBackend(*instances)) as sd,
        aiohttp.ClientSession() as plain,
        aiohttp.ClientSession(middlewares=(balanced(sd, policy=policies[0]),)) as one,
        aiohttp.ClientSession(middlewares=(balanced(sd, policy=policies[1]),)) as other,
    ):
        candidates = {
            FLOOR: getter(plain, [f"http://127.0.0.1:{port}/hello" for port in ports]),
            **{
                f"balanced, {type(policy).__name__}": getter(session, ["http://users/hello"])
                for policy, session in zip(policies, (one, other), strict=True)
            },
        }
        for in_flight in IN_FLIGHT:
            times: dict[str, list[float]] = {name: [] for name in candidates}
            for call in candidates.values():
                await many(call, in_flight)  # Connections, and what Python learns of the code.
            for _ in range(report.rounds):
                for name, call in candidates.items():
                    times[name].append(await many(call, in_flight))
            figures: dict[str, Figure] = {name: figure(samples) for name, samples in times.items()}
            report.add(
                f"calls, {in_flight} in flight, CPU",
                figures,
                floors={name: FLOOR for name in candidates if name != FLOOR},
            )


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
