"""A day in minutes: churn on a Consul dev agent while services are called, and what stays in memory.

`--minutes 10` is the long run. 20 times a second an instance of one of ten services comes, goes, or changes
its tags, weight, port or status. A Discovery on each of the two clients has a balancer of each service, by
turns PeakEWMA and RoundRobin, some with a factory; 50 callers use them, 10 of those by HTTP from real
servers. Meanwhile registrars, watches, balancers made for one call, and a whole Discovery come and go.

Memory that this process holds alone is sampled all the time, and compared between an early time, after a
warm-up, and the end. Tasks, descriptors and threads are counted before all is opened and after all is closed.
"""

import argparse
import asyncio
import gc
import multiprocessing
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
from _http import Connection, message
from _measure import Figure, Report, figure, run
from _servers import ConsulAgent, need
from bench_calls import serve

from asyncsd import (
    Discovery,
    Instance,
    Limits,
    NoInstances,
    PeakEWMA,
    Query,
    Registration,
    RetriesExhausted,
    Retry,
    RoundRobin,
    TTLCheck,
)
from asyncsd.backends.consul import ConsulBackend
from asyncsd.ext.aiohttp import NoInstancesClientError, balanced

SERVICES = [f"service-{number}" for number in range(10)]
MOST = 12
"""Instances of a service; it has 2 at least."""
RATE = 20
"""Changes a second."""
WORK = 0.05
"""Seconds between two calls of a caller."""
FAILURES = 0.02
"""The share of the calls that fail."""
FLAT_MB, FLAT = 1.0, 0.02
"""Memory may grow by so many MB, or by this share."""

Count = Counter[str]


class Churn:
    """Changes what Consul knows, by requests of its own."""

    def __init__(self, connection: Connection, ports: list[int], rng: random.Random, done: Count) -> None:
        self._connection = connection
        self._ports = ports
        self._rng = rng
        self._done = done
        self._there: dict[str, list[int]] = {service: [] for service in SERVICES}
        self._next = 0

    async def start(self) -> None:
        for service in SERVICES:
            for _ in range(MOST // 2):
                await self._come(service)

    async def run(self) -> None:
        began, number = time.monotonic(), 0
        while True:
            number += 1
            await asyncio.sleep(began + number / RATE - time.monotonic())
            await self._change()

    async def _change(self) -> None:
        service = self._rng.choice(SERVICES)
        there = self._there[service]
        what = self._rng.choice(("come", "go", "differ", "status"))
        if (what == "come" and len(there) < MOST) or len(there) <= 2:
            await self._come(service)
        elif what in ("come", "go"):
            number = there.pop(self._rng.randrange(len(there)))
            await self._put(f"service/deregister/{service}-{number}")
        elif what == "differ":
            await self._register(service, self._rng.choice(there))
        else:
            verb = self._rng.choice(("pass", "pass", "warn", "fail"))
            await self._put(f"check/{verb}/service:{service}-{self._rng.choice(there)}")
        self._done["changes"] += 1

    async def _come(self, service: str) -> None:
        self._next += 1
        self._there[service].append(self._next)
        await self._register(service, self._next)

    async def _register(self, service: str, number: int) -> None:
        body = {
            "ID": f"{service}-{number}",
            "Name": service,
            "Address": "127.0.0.1",
            "Port": self._rng.choice(self._ports),
            "Tags": self._rng.sample(["v1", "v2", "blue", "green"], 2),
            "Meta": {"change": str(self._rng.random())},
            "Weights": {"Passing": self._rng.randint(1, 5), "Warning": 1},
            "Check": {"TTL": "1h", "Status": "passing"},
        }
        await self._put("service/register", body)

    async def _put(self, path: str, body: object = None) -> None:
        await self._connection.ask(message("PUT", f"/v1/agent/{path}", body))


class Endpoint:
    """Made for each instance, and closed."""

    def __init__(self, instance: Instance, done: Count) -> None:
        self._done = done
        self.instance = instance
        done["endpoints opened"] += 1

    async def aclose(self) -> None:
        self._done["endpoints closed"] += 1


class Load:
    """All that uses one Discovery."""

    def __init__(
        self, sd: Discovery[ConsulBackend], ports: list[int], rng: random.Random, done: Count
    ) -> None:
        self._sd = sd
        self._ports = ports
        self._rng = rng
        self._done = done

    def tasks(self) -> list[Awaitable[None]]:
        work: list[Awaitable[None]] = []
        for number, service in enumerate(SERVICES):
            policy = RoundRobin() if number % 2 else PeakEWMA()
            if number % 3:
                balancer = self._sd.balancer(service, policy)
                work += [self._again(lambda balancer=balancer: self._call(balancer)) for _ in range(2)]
            else:
                with_factory = self._sd.balancer(service, policy, factory=self._open)
                work += [self._again(lambda made=with_factory: self._call(made)) for _ in range(2)]
        work += [self._over_http() for _ in range(5)]
        work += [self._again(self._visit) for _ in range(3)]
        work += [self._again(self._registered) for _ in range(2)]
        return work

    async def _again(self, once: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(WORK)
            try:
                await once()
            except (NoInstances, RetriesExhausted, TimeoutError) as exc:
                self._done[type(exc).__name__] += 1

    def _open(self, instance: Instance) -> Endpoint:
        return Endpoint(instance, self._done)

    async def _work(self, _: object) -> None:
        await asyncio.sleep(self._rng.random() * 0.01)
        if self._rng.random() < FAILURES:
            raise OSError("as it happens")

    async def _call(self, balancer: Any) -> None:
        retry = Retry(attempts=3, timeout=2.0, on=(OSError,))
        await balancer.call(self._work, retry=retry, timeout=2.0)
        with suppress(OSError):
            async with balancer.acquire(timeout=2.0) as endpoint:
                await self._work(endpoint)
        self._done["calls"] += 2

    async def _over_http(self) -> None:
        async with aiohttp.ClientSession(middlewares=(balanced(self._sd),)) as session:
            while True:
                await asyncio.sleep(WORK)
                try:
                    async with session.get(f"http://{self._rng.choice(SERVICES)}/hello") as response:
                        await response.read()
                except NoInstancesClientError:
                    self._done["NoInstancesClientError"] += 1
                self._done["calls by HTTP"] += 1

    async def _visit(self) -> None:
        """A watch for a while, of a query that others have or not; and a balancer that nobody has again."""
        service = self._rng.choice(SERVICES)
        query = self._rng.choice(
            (Query(service), Query(service, tags=("v1",)), Query(service, status="critical"))
        )
        async with self._sd.watch(query) as events:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._rng.random()):
                    async for _ in events:
                        self._done["events"] += 1
        await self._call(self._sd.balancer(query, factory=lambda instance: Endpoint(instance, self._done)))
        self._done["watches and balancers for once"] += 1

    async def _registered(self) -> None:
        me = Registration(
            service=self._rng.choice(SERVICES),
            host="127.0.0.1",
            port=self._rng.choice(self._ports),
            check=TTLCheck(ttl=15.0),
        )
        async with self._sd.register(me):
            await asyncio.sleep(self._rng.random() * 2)
        self._done["registrations"] += 1


async def reopen(url: str, done: Count) -> None:
    while True:
        await asyncio.sleep(1.0)
        async with Discovery(ConsulBackend(url)) as sd:
            await sd.instances(SERVICES[0])
            with suppress(NoInstances):  # Now and then none of it passes.
                await sd.balancer(SERVICES[1]).call(lambda _: asyncio.sleep(0), timeout=2.0)
        done["Discoveries opened and closed"] += 1


def memory() -> float:
    """MB that this process holds alone."""
    gc.collect()
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def counted() -> Count:
    return Counter(
        tasks=len(asyncio.all_tasks()),
        descriptors=sum(1 for _ in Path("/proc/self/fd").iterdir()),
        threads=threading.active_count(),
    )


async def busy(agent: ConsulAgent, ports: list[int], seconds: float, done: Count) -> list[float]:
    """All of it for `seconds`; what memory was in between."""
    rng = random.Random(1)
    samples: list[float] = []
    async with AsyncExitStack() as stack:
        churn = Churn(await stack.enter_async_context(Connection(agent.port)), ports, rng, done)
        await churn.start()
        work: list[Awaitable[None]] = [churn.run(), reopen(agent.url, done)]
        for client in ("aio", "direct"):
            backend = ConsulBackend(agent.url, client=client)
            sd = await stack.enter_async_context(Discovery(backend, limits=Limits(linger=1.0, idle=3.0)))
            work += Load(sd, ports, rng, done).tasks()
        tasks = [asyncio.ensure_future(one) for one in work]
        began = time.monotonic()
        every = min(10.0, seconds / 30)
        while (left := began + seconds - time.monotonic()) > 0:
            ended, _ = await asyncio.wait(
                tasks, timeout=min(every, left), return_when=asyncio.FIRST_COMPLETED
            )
            for task in ended:
                task.result()  # Which is an error: none of them ends by itself.
            samples.append(memory())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return samples


async def soak(report: Report, ports: list[int], seconds: float) -> None:
    done: Count = Counter()
    async with ConsulAgent() as agent:
        await busy(agent, ports, 2.0, Counter())  # Whatever is made once: the loop's threads, a resolver.
        await asyncio.sleep(0.1)
        before, began = counted(), time.monotonic()
        samples = await busy(agent, ports, seconds, done)
        took = time.monotonic() - began
        await asyncio.sleep(0.1)  # A closed transport gives its descriptor back in the next turn of the loop.
        after = counted()
    after["endpoints"] = done["endpoints opened"] - done["endpoints closed"]
    window = max(1, len(samples) // 5)
    early, late = samples[window : 2 * window], samples[-window:]
    most = max(FLAT_MB, FLAT * figure(early).median)
    growth = Figure(*(b - a for a, b in zip(figure(early), figure(late), strict=True)))
    report.add(
        "soak, memory",
        {
            "the second fifth of the time": figure(early),
            "the last fifth": figure(late),
            "growth": growth,
        },
        floors={},
        limits={"growth": most},
        unit="MB",
        by="median",
    )
    report.add(
        "soak, left when all is closed",
        {name: figure([float(after[name] - before[name])]) for name in after},
        floors={},
        limits=dict.fromkeys(after, 0),
        unit="more than before",
    )
    report.add(
        "soak, what was done",
        {name: figure([count / took]) for name, count in sorted(done.items())},
        floors={},
        unit=f"a second, over {took:.0f} s",
    )
    report.keep("samples, MB", [round(sample, 2) for sample in samples])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=1.5, help="how long (default: %(default)s)")
    report = Report(__doc__ or "", parser)
    need("consul")
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    ports = ours.recv()
    try:
        run(lambda: soak(report, ports, report.options.minutes * 60))
    finally:
        server.kill()
        server.join()
    report.close()


if __name__ == "__main__":
    main()
