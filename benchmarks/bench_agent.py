"""The embedded agent beside a real Consul dev agent: what it serves a second, how soon, and in what memory.

Both run as processes of their own on this machine and take turns. Who asks is a bare client on kept
connections; who waits, by the thousand, is a process of its own too.
"""

import asyncio
import multiprocessing
import resource
import selectors
import socket
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from multiprocessing.connection import Connection as Pipe
from typing import NamedTuple

from _http import Connection, message
from _measure import Figure, Report, figure, run
from _servers import AgentProcess, ConsulAgent, EmbeddedAgent, need

CONSUL, OURS = "Consul", "asyncsd agent"
CONNECTIONS = 8
SECONDS = 0.5
"""How long a rate is measured in a round."""
REGISTERED = 20
CHANGES = 200
CROWD_ROUNDS = 3
"""Rounds with those who wait by the thousand, at most: each takes seconds."""
PACE = 0.01
"""Seconds between a query and the change that ends its wait, so that it does wait."""
SPARE_FILES = 100

Start = Callable[[], AgentProcess]

SERVERS: dict[str, Start] = {
    CONSUL: lambda: ConsulAgent(limits={"http_max_conns_per_client": 10_000}),
    OURS: lambda: EmbeddedAgent("--connections", "10000"),
}
FLOORS = {OURS: CONSUL}


# -- what is asked


def registration(service: str, number: int, change: int = 0) -> bytes:
    body = {
        "ID": f"{service}-{number:04}",
        "Name": service,
        "Tags": ["v1", "blue"],
        "Meta": {"zone": "a", "change": str(change)},
        "Address": f"10.0.{number // 250}.{number % 250}",
        "Port": 8080,
        "Check": {"TTL": "1h", "Status": "passing"},
    }
    return message("PUT", "/v1/agent/service/register", body)


def reading(service: str, index: bytes = b"") -> bytes:
    blocking = f"?index={index.decode()}&wait=120s" if index else ""
    return message("GET", f"/v1/health/service/{service}{blocking}")


async def fill(connection: Connection, service: str, size: int) -> None:
    for number in range(size):
        await connection.ask(registration(service, number))


# -- rates


async def rate(port: int, requests: Callable[[], bytes]) -> float:
    """Requests a second over several connections."""

    async def work(connection: Connection) -> int:
        count = 0
        while time.perf_counter() < end:
            await connection.ask(requests())
            count += 1
        return count

    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(Connection(port)) for _ in range(CONNECTIONS)]
        began = time.perf_counter()
        end = began + SECONDS
        counts = await asyncio.gather(*map(work, connections))
        return sum(counts) / (time.perf_counter() - began)


async def rates(
    report: Report,
    agents: dict[str, AgentProcess],
    title: str,
    requests: Callable[[str], Callable[[], bytes]],
) -> None:
    samples: dict[str, list[float]] = {name: [] for name in agents}
    for _ in range(report.rounds):
        for name, agent in agents.items():
            samples[name].append(await rate(agent.port, requests(name)))
    report.add(
        title,
        {name: figure(found) for name, found in samples.items()},
        floors=FLOORS,
        unit="a second",
        by="median",
    )


async def reads(report: Report, agents: dict[str, AgentProcess], size: int) -> None:
    await everywhere(agents, f"of-{size}", size)
    title = f"reads of a service of {size:,} instances"
    await rates(report, agents, title, lambda _: lambda: reading(f"of-{size}"))


async def registrations(report: Report, agents: dict[str, AgentProcess]) -> None:
    """Change each of a few instances in turn: a real agent looks at all that it has each time."""
    turns = {name: iter(range(10_000_000)) for name in agents}

    def request(name: str) -> bytes:
        change, number = divmod(next(turns[name]), REGISTERED)
        return registration("many", number, change)

    title = f"registrations with a check, of {REGISTERED} instances in turn"
    await rates(report, agents, title, lambda name: lambda: request(name))


async def everywhere(agents: dict[str, AgentProcess], service: str, size: int) -> None:
    for agent in agents.values():
        async with Connection(agent.port) as connection:
            await fill(connection, service, size)


# -- change to wake-up


async def wake_ups(report: Report, agents: dict[str, AgentProcess]) -> None:
    a_round = -(-CHANGES // report.rounds)
    turns = iter(range(1, 10_000_000))
    samples: dict[str, list[float]] = {name: [] for name in agents}
    for _ in range(report.rounds):
        for name, agent in agents.items():
            async with Connection(agent.port) as waiting, Connection(agent.port) as changing:
                headers, _ = await waiting.ask(reading("of-5"))
                for _ in range(a_round):
                    answer = asyncio.create_task(waiting.ask(reading("of-5", headers[b"x-consul-index"])))
                    await asyncio.sleep(PACE)
                    assert not answer.done()
                    began = time.perf_counter()
                    changed = asyncio.create_task(changing.ask(registration("of-5", 0, next(turns))))
                    headers, _ = await answer
                    samples[name].append((time.perf_counter() - began) * 1e6)
                    await changed
    report.add(
        "from the call of a change to the answer of a query that waits",
        {name: spread(found) for name, found in samples.items()},
        floors=FLOORS,
        unit="us",
        by="median",
        columns="least, median, p99",
    )


def spread(samples: list[float]) -> Figure:
    ordered = sorted(samples)
    return Figure(ordered[0], statistics.median(ordered), ordered[int(0.99 * (len(ordered) - 1))])


# -- those who wait


class Crowd(NamedTuple):
    """So many queries that wait, spread over so many services."""

    queries: int
    services: int


CROWDS = (Crowd(500, 500), Crowd(5_000, 1))


class Cost(NamedTuple):
    """What a crowd costs a server."""

    memory: float
    """Bytes for each query."""
    last: float
    """Microseconds from the call that changed the first service until the last had its answer."""
    stall: float
    """Microseconds that another query took meanwhile, at most."""


def wait_by_thousands(pipe: Pipe, port: int, requests: list[bytes]) -> None:
    """Ask each on its own connection; tell when all are asked, and when those like the first have answers."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(requests) + SPARE_FILES, most))
    with selectors.DefaultSelector() as selector:
        for request in requests:
            one = socket.create_connection(("127.0.0.1", port))
            one.sendall(request)
            selector.register(one, selectors.EVENT_READ)
        woken = requests.count(requests[0])
        pipe.send("asked")
        answered: list[float] = []
        while len(answered) < woken:
            for key, _ in selector.select():
                answered.append(time.perf_counter())
                selector.unregister(key.fileobj)
        pipe.send(answered)
        pipe.recv()


async def cost(start: Start, crowd: Crowd) -> Cost:
    async with start() as agent, Connection(agent.port) as changing, Connection(agent.port) as other:
        requests: list[bytes] = []
        for number in range(crowd.services):
            await fill(changing, f"of-{number}", 5 // crowd.services or 1)
        for number in range(crowd.queries):
            service = f"of-{number % crowd.services}"
            headers, _ = await changing.ask(reading(service))
            requests.append(reading(service, headers[b"x-consul-index"]))
        before = await settled(agent)
        here, there = multiprocessing.Pipe()
        arguments = (there, agent.port, requests)
        child = multiprocessing.get_context("spawn").Process(target=wait_by_thousands, args=arguments)
        child.start()
        try:
            assert await asyncio.to_thread(here.recv) == "asked"
            memory = (await settled(agent) - before) / crowd.queries
            assert not here.poll(), "none is answered before the change"
            began = time.perf_counter()
            changed = asyncio.create_task(changing.ask(registration("of-0", 0, 1)))
            told = asyncio.ensure_future(asyncio.to_thread(here.recv))
            longest = 0.0
            while not told.done():
                asked = time.perf_counter()
                await other.ask(message("GET", "/v1/status/leader"))
                longest = max(longest, time.perf_counter() - asked)
                await asyncio.wait([told], timeout=0.001)
            await changed
            here.send("done")
            return Cost(memory, (max(await told) - began) * 1e6, longest * 1e6)
        finally:
            child.kill()
            child.join()


async def settled(agent: AgentProcess) -> int:
    """The bytes that the server has in memory, once these stay for a second."""
    last = -1
    for _ in range(20):
        await asyncio.sleep(1.0)
        now = agent.memory
        if abs(now - last) < 0.01 * now:
            break
        last = now
    return now


async def crowds(report: Report) -> None:
    for crowd in CROWDS:
        if crowd.queries + SPARE_FILES > (most := resource.getrlimit(resource.RLIMIT_NOFILE)[1]):
            print(f"left out: {crowd}, with at most {most:,} files (ulimit -Hn)", file=sys.stderr)
            continue
        found: dict[str, list[Cost]] = {name: [] for name in SERVERS}
        for _ in range(min(report.rounds, CROWD_ROUNDS)):
            for name, start in SERVERS.items():
                found[name].append(await cost(start, crowd))
        units = {
            "memory": "bytes each",
            "last": "us from a change until the last is answered",
            "stall": "us that another query takes meanwhile",
        }
        for field, unit in units.items() if crowd.services == 1 else [("memory", units["memory"])]:
            report.add(
                f"{crowd.queries:,} blocked queries, services: {crowd.services}, {field}",
                {name: figure([getattr(one, field) for one in costs]) for name, costs in found.items()},
                floors=FLOORS,
                unit=unit,
                by="median",
            )


# -- start-up


def process_start(start: Start) -> float:
    """Seconds from the start of the process until it has answered."""
    agent = start()
    began = time.perf_counter()
    try:
        agent._process.start()
        while not agent._process._is_ready():
            time.sleep(0.001)
        return time.perf_counter() - began
    finally:
        agent._process.stop()


IN_A_PROGRAM = """
import asyncio, time
import aiohttp
from asyncsd import Discovery
from asyncsd.backends.consul import ConsulBackend

async def main():
    began = time.perf_counter()
    from asyncsd.agent import Agent
    async with Agent() as agent, aiohttp.ClientSession() as session:
        async with session.get(agent.url + "/v1/status/leader") as response:
            await response.read()
        print(time.perf_counter() - began)

asyncio.run(main())
"""


async def program_start() -> float:
    """Seconds from the import, in a program that has the rest of asyncsd, until it has answered."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", IN_A_PROGRAM, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await program.communicate()
    return float(told)


async def starts(report: Report) -> None:
    samples: dict[str, list[float]] = {CONSUL: [], OURS: [], f"{OURS}, in a program": []}
    for _ in range(report.rounds):
        for name, start in SERVERS.items():
            samples[name].append(await asyncio.to_thread(process_start, start) * 1e6)
        samples[f"{OURS}, in a program"].append(await program_start() * 1e6)
    report.add(
        "from the start to the first answer",
        {name: figure(found) for name, found in samples.items()},
        floors={name: CONSUL for name in samples if name != CONSUL},
        unit="us",
        by="median",
    )


async def compare(report: Report) -> None:
    async with AsyncExitStack() as stack:
        agents = {name: await stack.enter_async_context(start()) for name, start in SERVERS.items()}
        await everywhere(agents, "of-5", 5)
        await wake_ups(report, agents)
        await registrations(report, agents)
        await reads(report, agents, 5)
        await reads(report, agents, 1_000)
    await crowds(report)
    await starts(report)


def main() -> None:
    report = Report(__doc__ or "")
    need("consul")
    run(lambda: compare(report))
    report.close()


if __name__ == "__main__":
    main()
