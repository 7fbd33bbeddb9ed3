"""How what asyncsd does grows with the number of instances of a service, and with the number of services.

Each row says its unit. One change among N instances is measured from the return of the call that made it
until the Event is on the queue, with the CPU of this process: in the memory registry, which leaves asyncsd's
own part, on the embedded agent and on a Consul dev agent. N services of 5 instances are watched by a process
of its own through one embedded agent, at the default `max_watches`; so is the service of N whose memory is
told.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from zlib import crc32

from _http import Connection, message
from _measure import Figure, Report, figure, measure, run
from _peers import Peer
from _servers import AgentProcess, ConsulAgent, EmbeddedAgent, missing

from asyncsd import Discovery, Event, Instance, Query, Snapshot
from asyncsd.backends.consul import ConsulBackend
from asyncsd.backends.memory import MemoryBackend
from asyncsd.balance import Balancer, PeakEWMA, RoundRobin

SIZES = (10, 100, 1_000, 10_000)
OF_EACH = 5
"""Instances of each of the many services."""
CONNECTIONS = 8
NODES = 1_000
"""On which all of the instances lie, in about equal numbers."""
PACE = 0.15
"""Seconds between two changes: a watch leaves more than 0.1 s between two fetches."""
QUIET = 1.5
"""Seconds after which a process that watches has nothing left to do."""
CHANGES = 5
"""Changes of one service among many: with more than `max_watches` of them each takes seconds."""
LONGEST = 60.0
"""Seconds that anything may take among many services."""

Rows = dict[int, dict[str, Figure]]


# -- what there is


def made(number: int, port: int = 8080) -> Instance:
    return Instance(f"users-{number:05}", "users", f"10.0.{number // 250}.{number % 250}", port)


def node(number: int) -> bytes:
    return message("PUT", "/v1/catalog/register", {"Node": f"node-{number}", "Address": "10.0.0.1"})


def entry(service: str, number: int, port: int = 8080) -> bytes:
    """An instance as the catalog takes it, of a node that no agent looks after."""
    id = f"{service}-{number:05}"
    return message(
        "PUT",
        "/v1/catalog/register",
        {
            "Node": f"node-{crc32(id.encode()) % NODES}",
            "Address": "10.0.0.1",
            "Service": {
                "ID": id,
                "Service": service,
                "Tags": ["v1", "blue"],
                "Meta": {"zone": "a", "version": "1.2.3"},
                "Address": f"10.0.{number // 250}.{number % 250}",
                "Port": port,
            },
            "Check": {"CheckID": f"service:{id}", "Name": "alive", "ServiceID": id, "Status": "passing"},
        },
    )


async def fill(connections: list[Connection], requests: list[bytes]) -> None:
    async def work(connection: Connection, requests: list[bytes]) -> None:
        for request in requests:
            await connection.ask(request)

    shares = (requests[number::CONNECTIONS] for number in range(CONNECTIONS))
    await asyncio.gather(*map(work, connections, shares))


async def connected(stack: AsyncExitStack, agent: AgentProcess) -> list[Connection]:
    connections = [await stack.enter_async_context(Connection(agent.port)) for _ in range(CONNECTIONS)]
    await fill(connections, [node(number) for number in range(NODES)])
    return connections


# -- without a server


def picks(report: Report, rows: Rows) -> None:
    query = Query("users")
    for size in SIZES:
        there = [made(number) for number in range(size)]
        fewer = there[: size // 2] + there[size // 2 + 1 :]
        events = [Event(query, Snapshot.of(query, some)) for some in (there, fewer)]
        balancers = {type(policy).__name__: Balancer(policy) for policy in (RoundRobin(), PeakEWMA())}
        for balancer in balancers.values():
            balancer.feed(events[0])
        found = measure(
            {f"{name}.pick, ns": balancer.pick for name, balancer in balancers.items()}, rounds=report.rounds
        )
        balancer = balancers["PeakEWMA"]

        def update(balancer: Balancer[Instance] = balancer, events: list[Event] = events) -> None:
            balancer.feed(events[1])
            balancer.feed(events[0])

        took = measure({"new": update}, rounds=report.rounds)["new"]
        found["an instance joins or leaves a balancer, us"] = Figure(*(value / 2e3 for value in took))
        rows[size] |= found


# -- one change among many instances


class Watched(asyncio.Queue[Event]):
    """Notes when the last Event was put."""

    at = 0.0
    cpu = 0.0

    def put_nowait(self, item: Event) -> None:
        self.at = time.perf_counter()
        self.cpu = time.process_time()
        super().put_nowait(item)


async def changes(
    rows: dict[str, Figure], what: str, rounds: int, inbox: Watched, change: Callable[[int], Awaitable[Any]]
) -> None:
    """`change(port)` gives one instance that port; a first one isn't counted."""
    times: list[float] = []
    spent: list[float] = []
    for number in range(rounds + 1):
        await asyncio.sleep(PACE)
        port = 9000 + number
        cpu = time.process_time()
        await change(port)
        began = time.perf_counter()
        while not any(after.port == port for _, after in (await inbox.get()).changed):
            pass
        if number:
            times.append((inbox.at - began) * 1e3)
            spent.append((inbox.cpu - cpu) * 1e3)
    rows[f"one change, {what}, ms"] = figure(times)
    rows[f"CPU of it, {what}, ms"] = figure(spent)


async def in_memory(report: Report, rows: Rows) -> None:
    for size in SIZES:
        async with MemoryBackend() as backend, Discovery(backend) as sd:
            backend.put(*map(made, range(size)))
            inbox = Watched()
            async with sd.watch("users", queue=inbox):
                await inbox.get()

                async def change(port: int, backend: MemoryBackend = backend, size: int = size) -> None:
                    backend.put(made(size // 2, port))

                await changes(rows[size], "memory registry", report.rounds, inbox, change)


async def on_agents(report: Report, rows: Rows) -> None:
    agents: dict[str, Callable[[], AgentProcess]] = {"embedded agent": EmbeddedAgent, "Consul": ConsulAgent}
    if absent := missing("consul"):
        print(f"left out: {', '.join(absent)} isn't there (make servers)", file=sys.stderr)
        del agents["Consul"]
    for what, start in agents.items():
        async with start() as agent, AsyncExitStack() as stack:
            connections = await connected(stack, agent)
            there = 0
            for size in SIZES:
                await fill(connections, [entry("users", number) for number in range(there, size)])
                there = size
                if what != "Consul":
                    await memory_of_one(rows[size], agent, connections, size)
                inbox = Watched()
                backend = ConsulBackend(agent.url, client="direct")
                async with Discovery(backend) as sd, sd.watch("users", queue=inbox):
                    await inbox.get()

                    async def change(
                        port: int, size: int = size, connection: Connection = connections[0]
                    ) -> None:
                        await connection.ask(entry("users", size // 2, port))

                    await changes(rows[size], what, report.rounds, inbox, change)


async def memory_of_one(
    rows: dict[str, Figure], agent: AgentProcess, connections: list[Connection], size: int
) -> None:
    """What a watch of `size` instances holds, as the system sees it: over that of a first, small one."""
    await connections[0].ask(entry("one", 0))
    async with Peer("asyncsd, direct", agent.url) as peer:
        peer.watch("one")
        await peer.until(lambda told: told.instances == 1)
        await asyncio.sleep(QUIET)
        before = peer.memory()
        peer.watch("users")
        await peer.until(lambda told: told.instances == size)
        await asyncio.sleep(QUIET)
        rows["memory of a watch of N instances, MB"] = figure([peer.memory() - before])


# -- many services


async def many_services(rows: Rows) -> None:
    async with EmbeddedAgent("--connections", "1000") as agent, AsyncExitStack() as stack:
        connections = await connected(stack, agent)
        there = 0
        for size in SIZES:
            await fill(
                connections,
                [entry(f"many-{one}", n) for one in range(there, size) for n in range(OF_EACH)],
            )
            there = size
            try:
                rows[size] |= await services(agent, connections[0], size)
            except TimeoutError:
                print(f"left out: {size:,} services took more than {LONGEST:g} s", file=sys.stderr)


async def services(agent: AgentProcess, connection: Connection, size: int) -> dict[str, Figure]:
    async with Peer("asyncsd, direct", agent.url) as peer:
        await connection.ask(entry("one", 0))
        peer.watch("one")
        await peer.until(lambda told: told.service == "one")
        await asyncio.sleep(QUIET)
        memory, cpu = peer.memory(), peer.cpu()
        began = time.perf_counter()
        peer.watch("many", size)
        heard: set[str] = set()
        await peer.until(lambda told: heard.add(told.service) or len(heard) == size, within=LONGEST)
        ready, ready_cpu = time.perf_counter() - began, peer.cpu() - cpu
        await asyncio.sleep(QUIET)
        held = peer.memory() - memory
        took: list[float] = []
        for number in range(CHANGES):
            service = f"many-{number * size // CHANGES}"
            await connection.ask(entry(service, 0, 9000 + size + number))  # It had another at each size.
            changed = time.time_ns()
            told = await peer.until(lambda told, name=service: told.service == name, within=LONGEST)
            took.append((told.at - changed) / 1e6)
            await asyncio.sleep(PACE)
        idle_from, cpu = time.perf_counter(), peer.cpu()
        await asyncio.sleep(2 * QUIET)
        idle = (peer.cpu() - cpu) / (time.perf_counter() - idle_from)
        return {
            "N services of 5, until all are heard, s": figure([ready]),
            "N services of 5, CPU until then, s": figure([ready_cpu]),
            "N services of 5, memory, MB": figure([held]),
            "N services of 5, connections": figure([float(peer.connections())]),
            "N services of 5, a change until told, ms": figure(took),
            "N services of 5, CPU when idle, %": figure([idle * 100]),
        }


def grown(few: dict[str, Figure], many: dict[str, Figure]) -> dict[str, Figure]:
    """How many times as much; what was nothing has no such factor."""
    return {
        name: Figure(*(much / little for little, much in zip(few[name], one, strict=True)))
        for name, one in many.items()
        if min(few[name]) > 0
    }


async def grow(report: Report) -> None:
    rows: Rows = {size: {} for size in SIZES}
    picks(report, rows)
    await in_memory(report, rows)
    await on_agents(report, rows)
    await many_services(rows)
    for size in SIZES:
        report.add(f"growth, {size:,}", rows[size], floors={}, unit="as each row says", by="median")
    few, many = SIZES[0], SIZES[-1]
    report.add(
        f"growth, {many:,} over {few}",
        grown(rows[few], rows[many]),
        floors={},
        unit="as each row says",
        by="median",
        columns="by the least, by the medians, by the most",
    )


def main() -> None:
    report = Report(__doc__ or "")
    run(lambda: grow(report))
    report.close()


if __name__ == "__main__":
    main()
