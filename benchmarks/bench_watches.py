"""500 watches at once, of services of 5 instances: memory, time until all are told, connections, closing.

Each candidate is a process of its own, alone at its turn. Memory is what the process holds for itself with
all 500 told and settled, less what it held before the first, for each watch. "Ready" is from the command
until the last of them was told. Closing is from that command until all is closed, with 500 queries in flight.
In the end all candidates rest side by side, and the CPU is read that each takes for 10 s in which no wait of
55 s is over, and for a minute in which each is over once and begins again. (go-kit's are 5 minutes long.)

The agent's own limit of 200 connections of one address is raised. "asyncsd, default" holds at most 100 of
them, the other rows of asyncsd as many as there are watches. go-kit and consul.aio as it comes hold one each.
That of py-consul has a pool of 100 connections, and never tells of more services.
"""

import asyncio
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import NamedTuple

import aiohttp
from _catalog import Catalog
from _measure import Figure, Report, figure, run
from _peers import Peer, there
from _servers import ConsulAgent, need

WATCHES, INSTANCES = 500, 5
SERVICE = "watched"
ALL = ("--max-watches", str(WATCHES + 100))
FLOOR, PEER, DEFAULT = "bare loop", "go-kit", "asyncsd, default"
OURS: tuple[str, ...] = ("asyncsd, aio", "asyncsd, direct")
WHO: Mapping[str, tuple[str, Sequence[str]]] = {
    FLOOR: (FLOOR, ()),
    **{name: (name, ALL) for name in OURS},
    DEFAULT: ("asyncsd, direct", ()),
    PEER: (PEER, ()),
    "python-consul2": ("python-consul2", ()),
}
"""The rows: which of the peers, and its options."""
SETTLE = 0.8
IDLE, MINUTE = 10.0, 60.0
READY, MEMORY, CPU, CLOSE = 1.3, 25.0, 0.1, 100.0
"""The goals: of the floor's time, KB a watch, percent of one CPU, and milliseconds."""
FILES = 16_384
"""Open files that the agent needs for all of them at once."""


class Turn(NamedTuple):
    """What the turn of one candidate gave."""

    kilobytes: float
    seconds: float
    sockets: int
    closing: float
    left: int
    """Sockets that weren't there before, after the closing."""


async def watching(peer: Peer) -> float:
    """Have it watch all services; the seconds until the last was told."""
    missing = {f"{SERVICE}-{number}" for number in range(WATCHES)}
    began = time.time_ns()
    peer.watch(SERVICE, WATCHES)
    async with asyncio.timeout(60.0):
        async for told in peer.told():
            if told.instances == INSTANCES:
                missing.discard(told.service)
            if not missing:
                return (told.at - began) / 1e9
    raise AssertionError(f"{peer.name} has ended by itself")


async def turn(row: str, url: str) -> Turn:
    name, options = WHO[row]
    async with Peer(name, url, *options) as peer:
        memory, sockets = peer.memory(), peer.connections()
        seconds = await watching(peer)
        await asyncio.sleep(SETTLE)
        kilobytes = (peer.memory() - memory) * 1024 / WATCHES
        opened = peer.connections() - sockets
        closing = await peer.close()
        await asyncio.sleep(0.1)
        return Turn(kilobytes, seconds, opened, closing, peer.connections() - sockets)


async def resting(rows: Sequence[str], url: str) -> dict[float, dict[str, Figure]]:
    """Percent of a CPU that each takes while nothing happens, all at once, by the seconds for that."""
    found: dict[float, dict[str, Figure]] = {}
    async with AsyncExitStack() as stack:
        peers: dict[str, Peer] = {}
        for row in rows:
            name, options = WHO[row]
            peers[row] = await stack.enter_async_context(Peer(name, url, *options))
            await watching(peers[row])
        await asyncio.sleep(SETTLE)
        began = time.monotonic()
        before = {row: peer.cpu() for row, peer in peers.items()}
        for seconds in (IDLE, MINUTE):
            await asyncio.sleep(began + seconds - time.monotonic())
            found[seconds] = {
                row: figure([(peer.cpu() - before[row]) / seconds * 100]) for row, peer in peers.items()
            }
    return found


def add(report: Report, turns: Mapping[str, Sequence[Turn]]) -> None:
    def figures(take: Callable[[Turn], float]) -> dict[str, Figure]:
        return {row: figure([take(turn) for turn in found]) for row, found in turns.items()}

    floors = {row: FLOOR for row in turns if row != FLOOR}
    title = f"{WATCHES} watches"
    judged = (*OURS, DEFAULT)
    report.add(
        f"{title}, memory",
        figures(lambda turn: turn.kilobytes),
        floors=floors,
        unit="KB a watch",
        by="median",
        limits=dict.fromkeys(judged, MEMORY),
    )
    report.add(
        f"{title}, ready",
        figures(lambda turn: turn.seconds),
        floors=floors,
        unit="s",
        by="median",
        goals=dict.fromkeys(judged, READY),
    )
    report.add(
        f"{title}, connections", figures(lambda turn: turn.sockets), floors={}, unit="sockets", by="median"
    )
    report.add(
        f"{title}, closing",
        figures(lambda turn: 1e3 * turn.closing),
        floors=floors,
        unit="ms",
        by="median",
        limits=dict.fromkeys(judged, CLOSE),
    )
    report.add(
        f"{title}, left after closing",
        figures(lambda turn: turn.left),
        floors={},
        unit="sockets",
        by="most",
        limits=dict.fromkeys(judged, 0.0),
    )


async def main(report: Report) -> None:
    there_are = there(*{name for name, _ in WHO.values()})
    rows = [row for row, (name, _) in WHO.items() if name in there_are]
    limits = {"http_max_conns_per_client": 2 * WATCHES * len(WHO)}
    async with ConsulAgent(limits=limits) as agent:
        async with aiohttp.ClientSession() as session:
            services = [f"{SERVICE}-{number}" for number in range(WATCHES)]
            await Catalog(session, agent.url).fill(services, INSTANCES)
        turns: dict[str, list[Turn]] = {row: [] for row in rows}
        for _ in range(report.rounds):
            for row, found in turns.items():
                found.append(await turn(row, agent.url))
        add(report, turns)
        for seconds, figures in (await resting(rows, agent.url)).items():
            report.add(
                f"{WATCHES} watches, at rest for {seconds:g} s",
                figures,
                floors={},
                unit="% of one CPU",
                limits=dict.fromkeys((*OURS, DEFAULT), CPU),
            )


if __name__ == "__main__":
    report = Report(__doc__ or "")
    need("consul")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < FILES:
        print(f"left out: this takes {FILES} open files, and {most} are allowed", file=sys.stderr)
        raise SystemExit(0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, most))
    run(lambda: main(report))
    report.close()
