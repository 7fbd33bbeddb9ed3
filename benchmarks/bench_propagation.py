"""From the return of a registration to the Event on a queue, on a real Consul dev agent.

Beside it a loop of blocking queries as one would write it on aiohttp. Each has its turn alone, so that none
waits for another's work; a change comes every 150 ms. A watch leaves 100 ms (`Limits.least_interval`) and up
to a fifth between the starts of two fetches. The first two changes after a quiet time are told of at once,
faster ones then reach it together: the last table has the third of three at once, late by design.
"""

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
from _measure import Figure, Report, figure, run
from _servers import ConsulAgent, need

from asyncsd import Discovery, Event, Query
from asyncsd.backends.consul import ConsulBackend

CHANGES = 200
"""Changes of each candidate, over all rounds."""
PACE = 0.15
BURSTS = 2
"""Three changes at once, of each candidate in a round."""
FLOOR = "bare loop"
UNIT = "us"

Seen = asyncio.Queue[tuple[float, frozenset[str]]]
"""When, and the ids of the list that was then on the queue."""


@asynccontextmanager
async def bare(url: str, service: str) -> AsyncIterator[Seen]:
    """A loop without any of the care: no backoff, no deadline, no interval."""
    seen: Seen = asyncio.Queue()

    async def loop(session: aiohttp.ClientSession) -> None:
        params: dict[str, str] = {}
        while True:
            async with session.get(f"{url}/v1/health/service/{service}", params=params) as response:
                params = {"index": response.headers["X-Consul-Index"], "wait": "55s"}
                items: list[dict[str, Any]] = json.loads(await response.read())
            seen.put_nowait((time.perf_counter(), frozenset(item["Service"]["ID"] for item in items)))

    async with aiohttp.ClientSession() as session:
        task = asyncio.create_task(loop(session))
        try:
            yield seen
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class _Stamped(asyncio.Queue[Event]):
    """Notes when an Event was put."""

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self.seen = seen

    def put_nowait(self, item: Event) -> None:
        at = time.perf_counter()
        super().put_nowait(item)
        snapshot = item.snapshot
        if snapshot is not None:
            self.seen.put_nowait((at, frozenset(instance.id for instance in snapshot)))


def watched(client: Any) -> Callable[[str, str], AbstractAsyncContextManager[Seen]]:
    @asynccontextmanager
    async def watch(url: str, service: str) -> AsyncIterator[Seen]:
        seen: Seen = asyncio.Queue()
        query = Query(service, status="critical")
        async with Discovery(ConsulBackend(url, client=client)) as sd, sd.watch(query, queue=_Stamped(seen)):
            yield seen

    return watch


CANDIDATES = {FLOOR: bare, "aio": watched("aio"), "direct": watched("direct")}


class Changes:
    """Registers and deregisters one instance in turn, beside one that stays: an empty list is read twice."""

    def __init__(self, session: aiohttp.ClientSession, url: str, service: str) -> None:
        self._session = session
        self._url = f"{url}/v1/agent/service"
        self.service = service

    async def put(self, id: str, there: bool) -> float:
        """When the call returned."""
        path = "register" if there else f"deregister/{id}"
        body = {"ID": id, "Name": self.service, "Address": "127.0.0.1", "Port": 80} if there else None
        async with self._session.put(f"{self._url}/{path}", json=body) as response:
            response.raise_for_status()
            await response.read()
        return time.perf_counter()


async def when(seen: Seen, accept: Callable[[frozenset[str]], bool]) -> float:
    async with asyncio.timeout(10.0):
        while True:
            at, ids = await seen.get()
            if accept(ids):
                return at


async def paced(changes: Changes, seen: Seen, count: int) -> list[float]:
    took: list[float] = []
    there = False
    for _ in range(count):
        await asyncio.sleep(PACE)
        there = not there
        returned = await changes.put("comes-and-goes", there)
        at = await when(seen, lambda ids, there=there: ("comes-and-goes" in ids) is there)
        took.append((at - returned) * 1e6)
    return took


async def bursts(changes: Changes, seen: Seen) -> list[float]:
    took: list[float] = []
    ids = [f"one-of-{number}" for number in range(3)]
    for _ in range(BURSTS):
        await asyncio.sleep(2 * PACE)
        for id in ids:
            returned = await changes.put(id, True)
        at = await when(seen, lambda known: known.issuperset(ids))
        took.append((at - returned) * 1e6)
        for id in ids:
            await changes.put(id, False)
        await when(seen, lambda known: known.isdisjoint(ids))
    return took


async def compare(report: Report) -> None:
    a_round = -(-CHANGES // report.rounds)
    a_round += a_round % 2
    medians: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    thirds: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    everything: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    async with ConsulAgent() as agent, aiohttp.ClientSession() as session:
        changes = Changes(session, agent.url, "users")
        await changes.put("stays", True)
        for _ in range(report.rounds):
            for name, candidate in CANDIDATES.items():
                async with candidate(agent.url, changes.service) as seen:
                    await when(seen, lambda ids: ids == {"stays"})
                    took = await paced(changes, seen, a_round)
                    everything[name] += took
                    medians[name].append(statistics.median(took))
                    thirds[name].append(statistics.median(await bursts(changes, seen)))
    floors = {name: FLOOR for name in CANDIDATES if name != FLOOR}
    report.add(
        "propagation, a change every 150 ms, median of each round",
        {name: figure(samples) for name, samples in medians.items()},
        floors=floors,
        unit=UNIT,
        by="median",
    )
    report.add(
        f"propagation, a change every 150 ms, all {a_round * report.rounds} changes",
        {name: spread(samples) for name, samples in everything.items()},
        floors=floors,
        unit=UNIT,
        by="most",
        columns="least, median, p99",
    )
    report.add(
        "propagation, the third of three changes at once",
        {name: figure(samples) for name, samples in thirds.items()},
        floors=floors,
        unit=UNIT,
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
