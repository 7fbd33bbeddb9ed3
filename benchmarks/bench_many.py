"""2,000 watches through one Consul dev agent: until all are live, a change to its Event, CPU and memory.

Consul takes 200 connections of an address. Past `max_watches` (100) a feed of changes stands in for the
watches' own blocking queries; beside it the same without that feed, where they take turns within 5 seconds,
and bare loops, of which those past the 200th are refused. Each watches in a process of its own while ten
changes a second are written to the catalog, each kind in its turn, one service at a time.

How the instances stand on nodes decides how a changed one is found: each node's list is followed where there
are up to 50 nodes. All lists are read after a write where there are more, for nothing tells which changed;
a status is told at once there, too.
"""

import argparse
import asyncio
import itertools
import json
import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from _measure import Figure, Report, run
from _servers import ConsulAgent, need

PACE = 0.1
"""Seconds between two changes."""
IDLE = 5.0
KINDS = ("status", "port", "port, no check", "tags", "meta", "instance in", "instance out")
WAYS = ("feed", "turns", "loops")
Found = list[list[Any]]


class Layout(NamedTuple):
    nodes: int
    instances: int


LAYOUTS = {
    "1 node": Layout(1, 1),
    "20 nodes, 5 instances each": Layout(20, 5),
    "300 nodes": Layout(300, 1),
}


class Catalog:
    """Instances of many services, on nodes that are no agents."""

    def __init__(self, session: aiohttp.ClientSession, url: str, layout: Layout) -> None:
        self._session = session
        self._url = url
        self._layout = layout
        self._fresh = itertools.count(1000)

    async def fill(self, count: int) -> None:
        for node in range(self._layout.nodes):
            await self._put("register", {"Node": f"m{node}", "Address": "10.0.0.1"})
        for number in range(count):
            for instance in range(self._layout.instances):
                await self._put("register", self._body(number, instance, check=number % 2 == 0))

    async def change(self, kind: str, number: int) -> tuple[float, Callable[[Found], bool]]:
        """When the call returned, and what a list shows that has the change."""
        fresh = next(self._fresh)
        body = self._body(number, 0)
        service = body["Service"]
        accept: Callable[[Found], bool]
        match kind:
            case "status":
                body = {"Node": body["Node"], "SkipNodeUpdate": True, "Check": self._check(number, "warning")}
                accept = lambda found: any(one[4] == "warning" for one in found)  # noqa: E731
            case "tags":
                service["Tags"] = [f"t{fresh}"]
                accept = lambda found: any(f"t{fresh}" in (one[2] or ()) for one in found)  # noqa: E731
            case "meta":
                service["Meta"] = {"v": str(fresh)}
                accept = lambda found: any(one[3] == str(fresh) for one in found)  # noqa: E731
            case "instance in":
                service["ID"] = f"x{number}"
                accept = lambda found: any(one[0] == f"x{number}" for one in found)  # noqa: E731
            case "instance out":
                accept = lambda found: all(one[0] != f"x{number}" for one in found)  # noqa: E731
                at = await self._put("deregister", {"Node": body["Node"], "ServiceID": f"x{number}"})
                return at, accept
            case _:
                service["Port"] = fresh
                accept = lambda found: any(one[1] == fresh for one in found)  # noqa: E731
        return await self._put("register", body), accept

    def _body(self, number: int, instance: int, *, check: bool = False) -> dict[str, Any]:
        node = (number + instance) % self._layout.nodes
        id = f"i{number}-{instance}"
        body: dict[str, Any] = {
            "Node": f"m{node}",
            "SkipNodeUpdate": True,
            "Service": {"ID": id, "Service": f"service-{number}", "Address": "10.0.0.7", "Port": 80},
        }
        if check:
            body["Check"] = self._check(number, "passing", instance)
        return body

    @staticmethod
    def _check(number: int, status: str, instance: int = 0) -> dict[str, Any]:
        id = f"i{number}-{instance}"
        return {"CheckID": f"c-{id}", "Name": "up", "ServiceID": id, "Status": status}

    async def _put(self, verb: str, body: object) -> float:
        async with self._session.put(f"{self._url}/v1/catalog/{verb}", json=body) as answer:
            assert answer.status == 200, await answer.text()
            await answer.read()
        return time.perf_counter()


@dataclass
class Watching:
    """The process that watches, and what it has told."""

    process: asyncio.subprocess.Process
    count: int
    latest: dict[int, tuple[float, Found]] = field(default_factory=dict)
    refused: int = 0
    waiting: dict[int, tuple[Callable[[Found], bool], Callable[[float], None]]] = field(default_factory=dict)
    live: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            told = json.loads(line)
            if "refused" in told:
                self.refused = told["refused"]
                continue
            number, at = told["service"], told["at"]
            self.latest[number] = at, told["found"]
            if len(self.latest) == self.count:
                self.live.set()
            self._look(number)

    def _look(self, number: int) -> None:
        if number in self.waiting and number in self.latest:
            accept, done = self.waiting[number]
            at, found = self.latest[number]
            if accept(found):
                del self.waiting[number]
                done(at)

    def expect(self, number: int, accept: Callable[[Found], bool], done: Callable[[float], None]) -> None:
        self.waiting[number] = accept, done
        self._look(number)


@asynccontextmanager
async def watching(way: str, url: str, count: int) -> AsyncGenerator[Watching, None]:
    program = Path(__file__).parent / "_crowd.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(program),
        way,
        url,
        str(count),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=2**20,
        env={**os.environ, "PYTHONPATH": str(program.parent.parent)},
    )
    it = Watching(process, count)
    listening = asyncio.create_task(it.listen())
    try:
        yield it
    finally:
        process.kill()
        await process.wait()
        await listening


def cpu(pid: int) -> float:
    """The seconds of processor time that a process has used."""
    times = (task / "schedstat" for task in Path(f"/proc/{pid}/task").iterdir())
    return sum(int(one.read_text().split()[0]) for one in times) / 1e9


def memory(pid: int) -> float:
    """MB of a process in memory."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def connections(pid: int, port: int) -> int:
    """How many connections a process holds to a port."""
    own = set()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        try:
            own.add(str(one.readlink()))
        except OSError:
            continue
    lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return sum(f"socket:[{f[9]}]" in own and f[2].endswith(f":{port:04X}") and f[3] == "01" for f in lines)


class Bench:
    """One layout: its figures, by the way of watching."""

    def __init__(self, report: Report, layout: str) -> None:
        self.report = report
        self.layout = layout
        self.count: int = report.options.watches
        # Not in order, and each once: what was changed before may be found unchanged.
        self.numbers = iter(sorted(range(self.count), key=lambda number: number * 7919 % self.count))
        self.ready: dict[str, float] = {}
        self.held: dict[str, list[int]] = {}
        self.took: dict[str, dict[str, list[float]]] = {}
        self.used: dict[str, float] = {}
        self.memory: dict[str, float] = {}
        self.refused: dict[str, float] = {}

    async def compare(self, ways: tuple[str, ...]) -> None:
        layout = LAYOUTS[self.layout]
        async with ConsulAgent() as agent, aiohttp.ClientSession() as session:
            catalog = Catalog(session, agent.url, layout)
            await catalog.fill(self.count)
            for way in ways:
                await self._watch(way, catalog, agent)

    async def _watch(self, way: str, catalog: Catalog, agent: ConsulAgent) -> None:
        pid = agent._process.pid
        before = memory(pid)
        began = time.perf_counter()
        async with watching(way, agent.url, self.count) as it:
            held = self.held[way] = []
            counting = asyncio.create_task(self._count(it.process.pid, agent.port, held))
            try:
                async with asyncio.timeout(5.0 if way == "loops" else 15.0):
                    await it.live.wait()
                self.ready[way] = max(at for at, _ in it.latest.values()) - began
            except TimeoutError:
                print(f"{way}: only {len(it.latest)} of {self.count} are live", file=sys.stderr)
            if way == "loops":
                refused = it.refused
                await asyncio.sleep(IDLE)
                self.refused[f"{way}: requests refused in {IDLE:g} s"] = it.refused - refused
                self.refused[f"{way}: watches that never had an answer"] = self.count - len(it.latest)
                counting.cancel()
                return
            await asyncio.sleep(3.0)
            counting.cancel()
            await self._rate(f"{way}, idle", it.process.pid, pid, asyncio.sleep(IDLE))
            self.memory |= {
                f"{way}: ours": memory(it.process.pid),
                f"{way}: the agent, more than before": memory(pid) - before,
            }
            counting = asyncio.create_task(self._count(it.process.pid, agent.port, held, every=0.5))
            await self._rate(f"{way}, 10 changes/s", it.process.pid, pid, self._change(way, catalog, it))
            held.append(connections(it.process.pid, agent.port))
            counting.cancel()

    @staticmethod
    async def _count(pid: int, port: int, held: list[int], every: float = 0.02) -> None:
        while True:
            if (count := connections(pid, port)) or held:
                held.append(count)
            await asyncio.sleep(every)

    async def _rate(self, name: str, ours: int, theirs: int, work: Any) -> None:
        began, before = time.perf_counter(), (cpu(ours), cpu(theirs))
        await work
        seconds = time.perf_counter() - began
        self.used[f"{name}: ours"] = (cpu(ours) - before[0]) / seconds * 1000
        self.used[f"{name}: the agent"] = (cpu(theirs) - before[1]) / seconds * 1000

    async def _change(self, way: str, catalog: Catalog, it: Watching) -> None:
        took = self.took[way] = defaultdict(list)
        loop = asyncio.get_running_loop()
        due = loop.time()
        for _ in range(2 * self.report.rounds if way == "feed" else -(-self.report.rounds // 3)):
            number = 0
            for kind in KINDS:
                due += PACE
                await asyncio.sleep(due - loop.time())
                if kind != "instance out":
                    number = self._next(kind)
                at, accept = await catalog.change(kind, number)
                it.expect(
                    number, accept, lambda seen, kind=kind, at=at: took[kind].append((seen - at) * 1000)
                )
                if kind == "instance in":  # It has to be seen before it goes.
                    while number in it.waiting:  # noqa: ASYNC110 - another process tells
                        await asyncio.sleep(0.005)
                    due = max(due, loop.time() - PACE)
        for _ in range(150):
            if not it.waiting:
                break
            await asyncio.sleep(0.1)
        if it.waiting:
            print(f"{way}: {len(it.waiting)} changes weren't seen", file=sys.stderr)
            for _, done in it.waiting.values():  # They count by how long they were waited for.
                done(time.perf_counter())

    def _next(self, kind: str) -> int:
        """A service with a check for a change of status, and one without where that is the kind."""
        wanted = {"status": 0, "port": 0, "port, no check": 1}.get(kind)
        return next(number for number in self.numbers if wanted is None or number % 2 == wanted)

    def tell(self) -> None:
        def add(what: str, figures: dict[str, Figure], **options: Any) -> None:
            self.report.add(f"{self.count:,} watches, {what}, {self.layout}", figures, floors={}, **options)

        def once(values: dict[str, float]) -> dict[str, Figure]:
            return {name: Figure(value, value, value) for name, value in values.items()}

        if self.ready:
            add("until all are live", once(self.ready), unit="s")
        add(
            "connections",
            {
                way: Figure(min(held), sorted(held)[len(held) // 2], max(held))
                for way, held in self.held.items()
            },
            unit="connections",
            by="most",
            limits={"feed": 100},
        )
        swept = LAYOUTS[self.layout].nodes > 50
        for way, took in self.took.items():
            limits = {kind: 500.0 if swept and kind != "status" else 100.0 for kind in took}
            add(
                "a change to its Event" + (", in turns" if way == "turns" else ""),
                {kind: spread(took[kind]) for kind in KINDS},
                unit="ms",
                by="median",
                limits=limits if way == "feed" else {},
            )
        if self.used:
            add("processor time", once(self.used), unit="ms a second")
            add("memory", once(self.memory), unit="MB")
        if self.refused:
            add("bare loops", once(self.refused), unit="times")


def spread(samples: list[float]) -> Figure:
    ordered = sorted(samples)
    return Figure(ordered[0], ordered[len(ordered) // 2], ordered[math.ceil(0.99 * len(ordered)) - 1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--watches", type=int, default=2000, help="how many (default: %(default)s)")
    parser.add_argument("--way", choices=WAYS, action="append", help="only this one; may be repeated")
    parser.add_argument("--layout", choices=LAYOUTS, action="append", help="only this one; may be repeated")
    report = Report(__doc__ or "", parser)
    need("consul")
    for layout in report.options.layout or LAYOUTS:
        bench = Bench(report, layout)
        ways = tuple(report.options.way or (WAYS if layout == "1 node" else WAYS[:1]))
        run(lambda bench=bench, ways=ways: bench.compare(ways))
        bench.tell()
    report.close()


if __name__ == "__main__":
    main()
