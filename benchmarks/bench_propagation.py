"""From the return of a registration or deregistration to the Event on a queue, on a real Consul dev agent.

Beside asyncsd: a loop of blocking queries as one would write it on aiohttp, go-kit's instancer, and the loop
of consul.aio's documentation with python-consul2 and with py-consul. Each is a process of its own, and
watches a service of its own all the time. They have their changes in turn, in another order in each round,
one at a time: the others only wait. A change is made over a bare socket, whose return is timed before the
answer is looked at; both times are the wall clock's, in nanoseconds, of one machine. A time below zero is a
list that was held before the change's own call had returned.

A watch of asyncsd leaves 100 ms (`Limits.least_interval`) and up to a fifth between the starts of two
fetches: each service changes every 180 ms. The first two changes after a quiet time are told of at once,
faster ones then reach it together: one table has the third of three at once, late by design.

CPU is that of the whole process from a round's first change to its last, divided by its changes. The 99th
percentile is that of all changes: of 200, two lie beyond it.
"""

import asyncio
import random
import socket
import statistics
import time
from contextlib import AsyncExitStack

from _http import message
from _measure import Figure, Report, figure, run
from _peers import PEERS, Peer, there
from _servers import ConsulAgent, need

CHANGES = 200
"""Changes of each peer, over all rounds."""
CYCLE = 0.18
"""Seconds in which each peer has one change."""
BURSTS = 2
"""Three changes at once, of each peer in a round."""
PORT = 80
"""That of the instance which stays; those that come and go have the next ones."""
GOAL = 1.1

BARE, BARE_UVLOOP = "bare loop", "bare loop, uvloop"
OURS = [name for name in PEERS if name.startswith("asyncsd")]
FLOORS = {name: BARE_UVLOOP if name.endswith("uvloop") else BARE for name in PEERS}
del FLOORS[BARE], FLOORS[BARE_UVLOOP]


class Watched:
    """A peer and its service, with one instance that stays: a list that becomes empty is read twice."""

    def __init__(self, peer: Peer, service: str, agent: socket.socket) -> None:
        self.peer = peer
        self._service = service
        self._agent = agent
        self.times: list[list[float]] = []
        """Microseconds of each change, by rounds."""
        self.cpu: list[float] = []
        """Microseconds of CPU a change, by rounds."""
        self.thirds: list[list[float]] = []

    def put(self, port: int, there: bool) -> int:
        """When the call returned, in nanoseconds since 1970.

        It blocks this program, which has nothing else to do then, and does nothing after it.
        """
        id = f"{self._service}-{port}"
        body = {"ID": id, "Name": self._service, "Address": "127.0.0.1", "Port": port}
        path = "register" if there else f"deregister/{id}"
        self._agent.sendall(message("PUT", f"/v1/agent/service/{path}", body if there else None))
        answer = self._agent.recv(65_536)
        returned = time.time_ns()
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        return returned

    async def start(self) -> None:
        self.put(PORT, True)
        self.peer.watch(self._service)
        await self._has()

    async def change(self, there: bool) -> None:
        returned = self.put(PORT + 1, there)
        held = await self._has(PORT + 1) if there else await self._has()
        self.times[-1].append((held - returned) / 1e3)

    async def burst(self) -> None:
        ports = [PORT + number for number in (1, 2, 3)]
        for port in ports:
            returned = self.put(port, True)
        self.thirds[-1].append((await self._has(*ports) - returned) / 1e3)

    async def calm(self) -> None:
        """Undo the burst."""
        for number in (1, 2, 3):
            self.put(PORT + number, False)
        await self._has()

    async def _has(self, *ports: int) -> int:
        """When it held the list of these ports and the one that stays."""
        return (await self.peer.until(lambda told: told.ports == PORT + sum(ports))).at


async def a_round(peers: list[Watched], changes: int) -> None:
    for peer in peers:
        peer.times.append([])
        peer.thirds.append([])
    began = {peer: peer.peer.cpu() for peer in peers}
    for number in range(changes):
        for peer in peers:
            rest = asyncio.create_task(asyncio.sleep(CYCLE / len(peers)))
            await peer.change(number % 2 == 0)
            await rest
    for peer in peers:
        peer.cpu.append((peer.peer.cpu() - began[peer]) / changes * 1e6)
    for _ in range(BURSTS):
        for step in (Watched.burst, Watched.calm):
            await asyncio.sleep(CYCLE)
            for peer in peers:
                await step(peer)
    await asyncio.sleep(CYCLE)


async def compare(report: Report) -> None:
    changes = -(-CHANGES // report.rounds)
    changes += changes % 2
    chance = random.Random(0)
    async with AsyncExitStack() as stack:
        agent = await stack.enter_async_context(ConsulAgent())
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", agent.port)))
        peers: list[Watched] = []
        for number, name in enumerate(there(*PEERS)):
            peer = await stack.enter_async_context(Peer(name, agent.url))
            peers.append(Watched(peer, f"users-{number}", connection))
            await peers[-1].start()
        for _ in range(report.rounds):
            await a_round(chance.sample(peers, len(peers)), changes)
    show(report, {watched.peer.name: watched for watched in peers})


def show(report: Report, peers: dict[str, Watched]) -> None:
    floors = {name: floor for name, floor in FLOORS.items() if name in peers and floor in peers}
    report.add(
        "propagation, median of each round",
        {name: figure([statistics.median(times) for times in peer.times]) for name, peer in peers.items()},
        floors=floors,
        goals=dict.fromkeys(OURS, GOAL),
        unit="us",
        by="median",
    )
    report.add(
        "propagation, all changes",
        {name: spread([time for times in peer.times for time in times]) for name, peer in peers.items()},
        floors=floors,
        unit="us",
        by="most",
        columns="least, median, p99",
    )
    report.add(
        "propagation, CPU a change",
        {name: figure(peer.cpu) for name, peer in peers.items()},
        floors=floors,
        unit="us",
        by="median",
    )
    report.add(
        "propagation, the third of three changes at once",
        {name: figure([statistics.median(times) for times in peer.thirds]) for name, peer in peers.items()},
        floors=floors,
        unit="us",
        by="median",
    )


def spread(samples: list[float]) -> Figure:
    ordered = sorted(samples)
    return Figure(ordered[0], statistics.median(ordered), ordered[int(0.99 * (len(ordered) - 1))])


def main() -> None:
    report = Report(__doc__ or "")
    need("consul")
    run(lambda: compare(report))
    report.close()


if __name__ == "__main__":
    main()
