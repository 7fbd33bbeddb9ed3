"""What 100 watches cost on each registry in threads, connections, memory and idle CPU, beside a loop by hand.

Each is a process of its own, that watches 100 services of one to three instances. KB a watch is the
anonymous memory that it has more than one with a single watch. CPU is that of a minute in which nothing
changes, so that every wait has ended once and begun again; Eureka, DNS and the file are asked each second.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

from _measure import Figure, Report, run
from _registries import POLLED, PUSHING, Place, here
from _writers import WRITERS

WATCHES = 100
IDLE = 60.0
SETTLED = 5.0
"""Seconds until what follows the beginning is over."""
MOST_CPU = 0.1
"""% of a core, where the registry tells of changes."""
PROGRAM = Path(__file__).with_name("_registry_watches.py")
TICKS = os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    threads: int
    connections: int
    memory: int
    cpu: float


class Watching:
    """A process with so many watches."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._proc = Path(f"/proc/{process.pid}")

    @classmethod
    async def start(cls, who: str, registry: str, place: Place, watches: int) -> "Watching":
        where = place.bare if who == "bare" else place.url
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(str(PROGRAM), who, registry, where, str(watches)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        async with asyncio.timeout(90.0):
            assert await process.stdout.readline() == b"watching\n", (who, registry)
        return cls(process)

    async def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(20.0):
            await self._process.wait()

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    def cost(self) -> Cost:
        """As of now; `cpu` in seconds since its start."""
        status = dict(line.split(":\t", 1) for line in (self._proc / "status").read_text().splitlines())
        times = (self._proc / "stat").read_text().rpartition(") ")[2].split()
        return Cost(
            threads=int(status["Threads"]),
            connections=self._connections(),
            memory=int(status["RssAnon"].split()[0]),
            cpu=(int(times[11]) + int(times[12])) / TICKS,
        )

    def _connections(self) -> int:
        """TCP connections that stand."""
        mine = {str(link.readlink()) for link in (self._proc / "fd").iterdir() if link.is_symlink()}
        lines = [
            line.split()
            for table in ("tcp", "tcp6")
            for line in (self._proc / "net" / table).read_text().splitlines()[1:]
        ]
        return sum(line[3] == "01" and f"socket:[{line[9]}]" in mine for line in lines)


async def fill(name: str, place: Place) -> None:
    async with WRITERS[name](place.writer) as writer:
        for service in range(WATCHES):
            for number in range(1 + service % 3):
                await writer.put(f"s{service}", number + 1)


async def compare(report: Report) -> None:
    names = report.options.only or (*PUSHING, *POLLED)
    costs: dict[str, Cost] = {}
    async with AsyncExitStack() as stack:
        starts = here(*names)
        places = {name: await stack.enter_async_context(start()) for name, start in starts.items()}
        await asyncio.gather(*(fill(name, place) for name, place in places.items()))
        alone: dict[str, int] = {}
        for name, one in (await started(stack, places, 1)).items():
            alone[name] = one.cost().memory
            await one.end()
        crowds = await started(stack, places, WATCHES)
        await asyncio.sleep(SETTLED)
        before = {name: one.cost() for name, one in crowds.items()}
        await asyncio.sleep(report.options.idle)
        for name, one in crowds.items():
            after = one.cost()
            costs[name] = after._replace(
                cpu=(after.cpu - before[name].cpu) / report.options.idle * 100,
                memory=max(1, (after.memory - alone[name]) // (WATCHES - 1)),
            )
        for one in crowds.values():
            await one.end()
    add(report, costs)


async def started(stack: AsyncExitStack, places: Mapping[str, Place], watches: int) -> dict[str, Watching]:
    """A process of each kind for each registry, all started at once."""
    rows = [(who, name, place) for name, place in places.items() for who in ("bare", "asyncsd")]
    found: dict[str, Watching] = {}

    async def start(who: str, name: str, place: Place) -> None:
        found[row(who, name)] = one = await Watching.start(who, name, place, watches)
        stack.callback(one.kill)

    await asyncio.gather(*(start(*each) for each in rows))
    return {row(who, name): found[row(who, name)] for who, name, _ in rows}


def row(who: str, name: str) -> str:
    return f"{name}, bare" if who == "bare" else name


def add(report: Report, costs: Mapping[str, Cost]) -> None:
    limits = dict.fromkeys((name for name in costs if name in PUSHING), MOST_CPU)
    for title, unit, field in (
        ("threads", "threads", "threads"),
        ("connections", "connections", "connections"),
        ("KB a watch", "KB", "memory"),
        ("idle CPU", "% of a core", "cpu"),
    ):
        figures = {name: float(getattr(cost, field)) for name, cost in costs.items()}
        report.add(
            f"{WATCHES} watches: {title}",
            {name: Figure(value, value, value) for name, value in figures.items()},
            floors={name: f"{name}, bare" for name in figures if not name.endswith(", bare")},
            unit=unit,
            by="median",
            limits=limits if field == "cpu" else {},
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", choices=(*PUSHING, *POLLED), help="of the registries only these")
    parser.add_argument("--idle", type=float, default=IDLE, help="seconds of doing nothing")
    report = Report(__doc__ or "", parser)
    run(lambda: compare(report))
    report.close()


if __name__ == "__main__":
    main()
