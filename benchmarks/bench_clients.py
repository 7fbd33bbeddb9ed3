"""The two Consul clients beside each other and beside `consul.aio` as it comes, on a real Consul dev agent.

Requests one after the other, and what each costs this process in CPU time. Ours give Instances; `consul.aio`
gives the decoded JSON, and opens a connection for each request. A refresh is one change among 1,000
instances: from the return of the call that made it until the new list is held.
"""

import asyncio
import itertools
import json
import logging
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from _measure import Report, figure, run
from _servers import ConsulAgent, need
from consul import aio

import asyncsd.backends.consul
from asyncsd import Discovery, Event, Query, Registration, TTLCheck
from asyncsd._registration import Health
from asyncsd.backends.consul import ConsulBackend

SIZES = (5, 1_000)
REQUESTS = {5: 100, 1_000: 10}
"""Requests of each candidate in a round."""
REFRESHES = 5
PASSES = 100
WIDE = 64
LIBRARY, BARE = "consul.aio as it comes", "bare loop"

Call = Callable[[], Awaitable[object]]


def item(service: str, number: int, tags: tuple[str, ...] = ("v1", "blue")) -> dict[str, Any]:
    """An instance as the catalog takes it, of a node that no agent looks after."""
    id = f"{service}-{number:04}"
    return {
        "Node": "elsewhere",
        "Address": "10.0.0.1",
        "Service": {
            "ID": id,
            "Service": service,
            "Tags": tags,
            "Meta": {"zone": "a", "version": "1.2.3"},
            "Address": f"10.0.{number // 250}.{number % 250}",
            "Port": 8080,
        },
        "Check": {"CheckID": f"service:{id}", "Name": "alive", "ServiceID": id, "Status": "passing"},
    }


async def write(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> None:
    async with session.put(f"{url}/v1/catalog/register", json=body) as response:
        response.raise_for_status()


async def fill(session: aiohttp.ClientSession, url: str) -> None:
    for size in SIZES:
        for first in range(0, size, WIDE):
            numbers = range(first, min(first + WIDE, size))
            await asyncio.gather(*(write(session, url, item(f"of-{size}", number)) for number in numbers))


# -- requests


async def requests(report: Report, title: str, calls: dict[str, Call], count: int) -> None:
    rates: dict[str, list[float]] = {name: [] for name in calls}
    costs: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        await call()
    for _ in range(report.rounds):
        for name, call in calls.items():
            began, cpu = time.perf_counter(), time.process_time()
            for _ in range(count):
                await call()
            costs[name].append((time.process_time() - cpu) / count * 1e6)
            rates[name].append(count / (time.perf_counter() - began))
    floors = {name: LIBRARY for name in calls if name != LIBRARY}
    report.add(
        f"{title}, CPU",
        {name: figure(samples) for name, samples in costs.items()},
        floors=floors,
        unit="us a request",
    )
    report.add(
        f"{title}, rate",
        {name: figure(samples) for name, samples in rates.items()},
        floors=floors,
        unit="requests a second",
        by="median",
    )


async def reads(report: Report, library: aio.Consul, backends: dict[str, ConsulBackend], size: int) -> None:
    service = f"of-{size}"
    query = Query(service)
    calls: dict[str, Call] = {LIBRARY: lambda: library.health.service(service)}
    for name, backend in backends.items():
        calls[name] = lambda backend=backend: backend.fetch(query, None)
    await requests(report, f"health reads of {size:,} instances", calls, REQUESTS[size])


async def passes(report: Report, library: aio.Consul, backends: dict[str, ConsulBackend]) -> None:
    calls: dict[str, Call] = {}
    await library.agent.service.register("theirs", "ttl-theirs", check={"ttl": "600s"})
    calls[LIBRARY] = lambda: library.agent.check.ttl_pass("service:ttl-theirs")
    for name, backend in backends.items():
        registration = Registration(
            service="ours", id=f"ttl-{name}", host="127.0.0.1", port=80, check=TTLCheck(ttl=600.0)
        )
        lease = await backend.register(registration.record(id=f"ttl-{name}", host="127.0.0.1"))
        calls[name] = lambda backend=backend, lease=lease: backend.renew(lease, Health("passing"))
    await requests(report, "TTL passes", calls, PASSES)


# -- refresh

Held = asyncio.Queue[list[str]]
"""The tags of the instance that changes, for each list that is held."""
CHANGING = 500


@asynccontextmanager
async def polling(ask: Callable[[str | None], Awaitable[tuple[str, list[Any]]]]) -> AsyncIterator[Held]:
    held: Held = asyncio.Queue()

    async def loop() -> None:
        index = None
        while True:
            index, items = await ask(index)
            by_id = {item["Service"]["ID"]: item["Service"] for item in items}
            held.put_nowait(by_id[f"of-1000-{CHANGING:04}"]["Tags"])

    task = asyncio.create_task(loop())
    try:
        yield held
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def bare(url: str) -> AsyncIterator[Held]:
    async with aiohttp.ClientSession() as session:

        async def ask(index: str | None) -> tuple[str, list[Any]]:
            params = {} if index is None else {"index": index, "wait": "55s"}
            async with session.get(f"{url}/v1/health/service/of-1000", params=params) as response:
                return response.headers["X-Consul-Index"], json.loads(await response.read())

        async with polling(ask) as held:
            yield held


@asynccontextmanager
async def library_loop(url: str) -> AsyncIterator[Held]:
    host, port = url.removeprefix("http://").split(":")
    library = aio.Consul(host, int(port))

    async def ask(index: str | None) -> tuple[str, list[Any]]:
        answer: tuple[str, list[Any]] = await library.health.service("of-1000", index=index, wait="55s")
        return answer

    async with polling(ask) as held:
        yield held


class _Tags(asyncio.Queue[Event]):
    def __init__(self, held: Held) -> None:
        super().__init__()
        self.held = held

    def put_nowait(self, item: Event) -> None:
        super().put_nowait(item)
        if item.snapshot:
            self.held.put_nowait(list(item.snapshot[CHANGING].tags))


def watched(client: Any) -> Callable[[str], AbstractAsyncContextManager[Held]]:
    @asynccontextmanager
    async def watch(url: str) -> AsyncIterator[Held]:
        held: Held = asyncio.Queue()
        async with (
            Discovery(ConsulBackend(url, client=client)) as sd,
            sd.watch("of-1000", queue=_Tags(held)),
        ):
            yield held

    return watch


async def refresh(report: Report, session: aiohttp.ClientSession, url: str) -> None:
    candidates = {BARE: bare, LIBRARY: library_loop, "aio": watched("aio"), "direct": watched("direct")}
    costs: dict[str, list[float]] = {name: [] for name in candidates}
    times: dict[str, list[float]] = {name: [] for name in candidates}
    tags = (f"change-{number}" for number in itertools.count())
    for _ in range(report.rounds):
        for name, candidate in candidates.items():
            async with candidate(url) as held, asyncio.timeout(60.0):
                await held.get()
                for _ in range(REFRESHES):
                    await asyncio.sleep(0.15)
                    tag = next(tags)
                    cpu = time.process_time()
                    await write(session, url, item("of-1000", CHANGING, (tag,)))
                    returned = time.perf_counter()
                    while tag not in await held.get():
                        pass
                    costs[name].append((time.process_time() - cpu) * 1e6)
                    times[name].append((time.perf_counter() - returned) * 1e6)
    floors = {name: BARE for name in candidates if name != BARE}
    for title, samples in (("CPU", costs), ("time", times)):
        report.add(
            f"refresh, one change in 1,000 instances, {title}",
            {name: figure(found) for name, found in samples.items()},
            floors=floors,
            unit="us a change",
            by="median",
        )


# -- code


def code(report: Report) -> None:
    folder = Path(asyncsd.backends.consul.__file__).parent
    files = {LIBRARY: Path(aio.__file__), "aio": folder / "_aio.py", "direct": folder / "_direct.py"}
    report.add(
        "code of each client's file",
        {name: figure([float(lines(path))]) for name, path in files.items()},
        floors={},
        unit="lines that aren't blank",
    )


def lines(path: Path) -> int:
    return sum(1 for line in path.read_text().splitlines() if line.strip())


async def compare(report: Report) -> None:
    async with AsyncExitStack() as stack:
        agent = await stack.enter_async_context(ConsulAgent())
        session = await stack.enter_async_context(aiohttp.ClientSession())
        await fill(session, agent.url)
        library = aio.Consul("127.0.0.1", agent.port)
        backends: dict[str, ConsulBackend] = {
            "aio": await stack.enter_async_context(ConsulBackend(agent.url, client="aio")),
            "direct": await stack.enter_async_context(ConsulBackend(agent.url, client="direct")),
        }
        for size in SIZES:
            await reads(report, library, backends, size)
        await passes(report, library, backends)
        await refresh(report, session, agent.url)


def main() -> None:
    warnings.simplefilter("ignore")  # consul.aio's own, of connectors and its arguments.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # And what its __del__ leaves behind.
    report = Report(__doc__ or "")
    need("consul")
    code(report)
    run(lambda: compare(report))
    report.close()


if __name__ == "__main__":
    main()
