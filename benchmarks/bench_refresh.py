"""One change, another port, in a service of 1,000 and of 5,000 instances: what it costs to hold the new list.

Each candidate is a process of its own that watches the service, alone at its turn. Its time is from the
return of the call that makes a change until it holds the new list, its CPU all that it takes until it waits
for the next one. Memory is the most that the process held, in a turn of a first list and three changes.

On a dev agent, which answers indented JSON, and on an agent in server mode, whose answers are half as long.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import aiohttp
from _catalog import Catalog
from _measure import Report, figure, run
from _peers import Peer, there
from _servers import ConsulAgent, ConsulCluster, need

SIZES = (1_000, 5_000)
CHANGES = 3
"""Of each candidate in a round."""
PACE = 0.15
"""Seconds between two changes: a watch leaves 0.12 between the starts of two fetches."""
FLOOR, PEER = "bare loop", "go-kit"
OURS: tuple[str, ...] = ("asyncsd, aio", "asyncsd, direct")
WHO = (FLOOR, *OURS, PEER, "python-consul2", "py-consul")
LIBRARIES = ("python-consul2", "py-consul")
"""These two have their turn in each third round only, for they are slow and have no goal."""
CPU, TIME, MEMORY = 0.25, 0.55, 65.0
"""The goals: of go-kit's CPU and of its time, and the most MB, with 5,000 instances."""
CHANGING = 500


class Turn(NamedTuple):
    """What the turn of one candidate gave: seconds for each of its changes, and MB."""

    cpu: list[float]
    time: list[float]
    peak: float


class Changes:
    """Changes one instance of a service, each time to a port that it hadn't before."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._number = 0

    @property
    def url(self) -> str:
        return self._catalog.url

    async def make(self, size: int) -> int:
        """Make one; the sum of the ports is then this."""
        self._number += 1
        port = 10_000 + self._number
        await self._catalog.change(f"of-{size}", CHANGING, port)
        return 8080 * (size - 1) + port


async def turn(name: str, changes: Changes, size: int) -> Turn:
    found = Turn([], [], 0.0)
    async with Peer(name, changes.url) as peer:
        peer.watch(f"of-{size}")
        await peer.until(lambda told: told.instances == size)
        await asyncio.sleep(PACE)
        for _ in range(CHANGES):
            before = peer.cpu()
            ports = await changes.make(size)
            returned = time.time_ns()
            told = await peer.until(lambda told, ports=ports: told.ports == ports)
            await asyncio.sleep(PACE)
            found.cpu.append(peer.cpu() - before)
            found.time.append((told.at - returned) / 1e9)
        return found._replace(peak=peer.peak())


async def compare(report: Report, changes: Changes, names: Sequence[str], size: int, where: str) -> None:
    turns: dict[str, list[Turn]] = {name: [] for name in names}
    for number in range(report.rounds):
        for name, found in turns.items():
            if name not in LIBRARIES or number % 3 == 0:
                found.append(await turn(name, changes, size))
    add(report, turns, f"one change in {size:,} instances, {where}", size)


def add(report: Report, turns: Mapping[str, Sequence[Turn]], title: str, size: int) -> None:
    """Tables beside the peer, which the goals are of, with the floor as a row."""
    of = PEER if PEER in turns else FLOOR
    floors = {name: of for name in turns if name != of}
    goals = of == PEER
    report.add(
        f"{title}, CPU",
        {
            name: figure([1e3 * seconds for turn in found for seconds in turn.cpu])
            for name, found in turns.items()
        },
        floors=floors,
        unit="ms a change",
        by="median",
        goals=dict.fromkeys(OURS, CPU) if goals else {},
    )
    report.add(
        f"{title}, time",
        {
            name: figure([1e3 * seconds for turn in found for seconds in turn.time])
            for name, found in turns.items()
        },
        floors=floors,
        unit="ms",
        by="median",
        goals=dict.fromkeys(OURS, TIME) if goals else {},
    )
    report.add(
        f"{title}, memory",
        {name: figure([turn.peak for turn in found]) for name, found in turns.items()},
        floors=floors,
        unit="MB at most",
        by="median",
        limits=dict.fromkeys(OURS, MEMORY) if size == max(SIZES) else {},
    )


async def filled(session: aiohttp.ClientSession, url: str) -> Changes:
    catalog = Catalog(session, url)
    for size in SIZES:
        await catalog.fill([f"of-{size}"], size)
    return Changes(catalog)


async def main(report: Report) -> None:
    names = there(*WHO)
    async with aiohttp.ClientSession() as session:
        async with ConsulAgent() as agent:
            changes = await filled(session, agent.url)
            for size in SIZES:
                await compare(report, changes, names, size, "dev agent")
        async with ConsulCluster(size=1) as server:
            changes = await filled(session, server.urls[0])
            served = [name for name in names if name in (FLOOR, *OURS, PEER)]
            await compare(report, changes, served, max(SIZES), "server")


if __name__ == "__main__":
    report = Report(__doc__ or "")
    need("consul")
    run(lambda: main(report))
    report.close()
