"""The two Consul clients beside each other and beside `consul.aio` as it comes, on a real Consul dev agent.

Requests one after the other, and what each costs this process in CPU time. Ours give Instances; `consul.aio`
gives the decoded JSON, and opens a connection for each request.
"""

import logging
import time
import warnings
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
from _catalog import Catalog
from _measure import Report, figure, run
from _servers import ConsulAgent, need
from consul import aio

import asyncsd.backends.consul
from asyncsd import Query, Registration, TTLCheck
from asyncsd._checks import Health
from asyncsd.backends.consul import ConsulBackend

SIZES = (5, 1_000)
REQUESTS = {5: 100, 1_000: 10}
"""Requests of each candidate in a round."""
PASSES = 100
LIBRARY = "consul.aio as it comes"

Call = Callable[[], Awaitable[object]]


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
        async with aiohttp.ClientSession() as session:
            for size in SIZES:
                await Catalog(session, agent.url).fill([f"of-{size}"], size)
        library = aio.Consul("127.0.0.1", agent.port)
        backends: dict[str, ConsulBackend] = {
            "aio": await stack.enter_async_context(ConsulBackend(agent.url, client="aio")),
            "direct": await stack.enter_async_context(ConsulBackend(agent.url, client="direct")),
        }
        for size in SIZES:
            await reads(report, library, backends, size)
        await passes(report, library, backends)


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
