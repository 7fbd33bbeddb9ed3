"""What happens while an agent is gone, and when it is back without its data, to 500 watches of one program.

A Consul dev agent is killed. For 10 s its port is closed, or somebody listens there who resets each
connection; then it starts again with nothing of what it knew, and so with a lower index. As soon as it
answers, the 500 services are registered again with another port each, and the times until a program holds
the new lists count from that answer. Attempts are the connections that were tried in the 10 s, as the kernel
counts them (which takes CAP_NET_RAW: without it that table is left out); CPU is that of the 10 s, with what
500 failing watches cost in their first moment.

Each of asyncsd has its turn alone, 3 times and not more, with `max_watches=600` for an agent that was told to
take so many connections, and with asyncsd's default. The others are given 30 s to come back, and have their
outage once, together, each with an agent of its own: a bare loop and the loop of consul.aio's documentation
go on from their old index, and try again each second; go-kit's instancer too, by its own pace.

A half-open connection keeps standing while nothing goes through. It is noticed when the next connection is
tried; a program that hasn't done so within 75 s isn't waited for. All watch with a wait of 55 s but go-kit,
whose wait is its own. This goes on beside the rest; all in all it takes under 5 minutes.
"""

import asyncio
import itertools
import json
import statistics
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import NamedTuple

from _faults import Attempts, Link, resetting
from _http import Connection, message
from _measure import Report, figure, run
from _peers import Peer, there
from _servers import ConsulAgent, need

WATCHES = 500
SECONDS = 10.0
"""How long the agent is gone."""
GIVE_UP = 30.0
"""How long after that a program is waited for."""
NOTICED = 75.0
"""How long one that may notice a half-open connection is."""
LATER = 76.0
"""In the place of a time that is longer."""
SETTLED = 2.0
"""Seconds for a program to come to rest before its agent goes."""
ROUNDS = 3
ROOM = {"limits": {"http_max_conns_per_client": 5_000}}
"""What lets an agent take so many connections from one address."""
AHEAD = 400
"""Writes before an agent dies: its index is above all that its next life gets to."""
TRANSACTION = 50
"""Services that are registered in one transaction; Consul takes 64 operations."""
WIDE = ("--max-watches", "600")


class Case(NamedTuple):
    """A program that is watched in outages; `resets` tells of which kind. Only asyncsd registers."""

    peer: str
    options: tuple[str, ...] = ()
    resets: bool = False
    registrations: int = 0
    watches: int = WATCHES


OURS = {
    "asyncsd, aio": Case("asyncsd, aio", WIDE),
    "asyncsd, direct": Case("asyncsd, direct", WIDE),
    "asyncsd, direct, resets": Case("asyncsd, direct", WIDE, resets=True),
    "asyncsd, aio, max_watches=100, 3 registrations": Case("asyncsd, aio", registrations=3),
}
OTHERS = {
    "bare loop": Case("bare loop"),
    "go-kit": Case("go-kit"),
    "python-consul2": Case("python-consul2"),
    # It makes no more than 100 connections, and the other watches would wait for ever.
    "py-consul, 100 watches": Case("py-consul", watches=100),
}
HALF_OPEN = ("asyncsd, aio", "asyncsd, direct", *(case.peer for case in OTHERS.values()))


class Outage(NamedTuple):
    """What one program did in one of them."""

    cpu: float
    """Percent of one processor, in the time without the agent."""
    calm: float
    """The same, but for the first second."""
    attempts: int | None
    """Connections that were tried in it; None where they can't be counted."""
    back: list[float]
    """Seconds until each new list was held, in order: GIVE_UP where it wasn't by then."""
    registered: float | None
    """Seconds until all its registrations stood and passed, where it has any."""


class Fleet:
    """500 services on one agent."""

    def __init__(self, connection: Connection) -> None:
        self._ask = connection.ask

    async def raise_index(self) -> None:
        for number in range(AHEAD):
            await self._ask(message("PUT", "/v1/kv/ahead", number))

    async def register(self, port: int) -> None:
        node = {"Node": {"Verb": "set", "Node": {"Node": "elsewhere", "Address": "127.0.0.2"}}}
        for first in range(0, WATCHES, TRANSACTION):
            some = [_service(number, port) for number in range(first, first + TRANSACTION)]
            await self._ask(message("PUT", "/v1/txn", [node, *some]))


def _service(number: int, port: int) -> dict[str, object]:
    service = {"ID": f"s{number}", "Service": f"users-{number}", "Address": "127.0.0.1", "Port": port}
    return {"Service": {"Verb": "set", "Node": "elsewhere", "Service": service}}


async def outage(case: Case, agent: ConsulAgent, port: int) -> Outage:
    """Have a program watch, then the agent go and come; the services have `port`, and after that the next."""
    async with AsyncExitStack() as stack:
        async with Connection(agent.port) as connection:
            fleet = Fleet(connection)
            await fleet.raise_index()
            await fleet.register(port)
        peer = await stack.enter_async_context(Peer(case.peer, agent.url, *case.options))
        for number in range(case.registrations):
            peer.register(f"mine-{number}", port)
        peer.watch("users", case.watches)
        if len(await held(peer, port, case.watches)) < case.watches:
            raise RuntimeError(f"{case.peer} doesn't come to watch all services")
        await asyncio.sleep(SETTLED)
        cpu, calm, attempts = await gone(peer, agent, resets=case.resets)
        await agent.start()
        began = time.time_ns()
        connection = await stack.enter_async_context(Connection(agent.port))
        registered = asyncio.create_task(standing(connection, case.registrations))
        async with Connection(agent.port) as other:
            await Fleet(other).register(port + 1)
        seen = await held(peer, port + 1, case.watches)
        stood = (await registered - began) / 1e9 if case.registrations else None
        late = [GIVE_UP] * (case.watches - len(seen))
        return Outage(cpu, calm, attempts, [(at - began) / 1e9 for at in seen] + late, stood)


async def gone(peer: Peer, agent: ConsulAgent, *, resets: bool) -> tuple[float, float, int | None]:
    """Kill the agent; the first three of Outage."""
    counted: Attempts | None = None
    async with AsyncExitStack() as stack:
        with suppress(PermissionError):
            counted = stack.enter_context(Attempts(agent.port))
        began = peer.cpu()
        agent.kill()
        if resets:
            await stack.enter_async_context(resetting(agent.port))
        await asyncio.sleep(1.0)
        calmed = peer.cpu()
        await asyncio.sleep(SECONDS - 1.0)
        ended = peer.cpu()
        attempts = None if counted is None else counted.seen()
        return (ended - began) / SECONDS * 100, (ended - calmed) / (SECONDS - 1.0) * 100, attempts


async def held(peer: Peer, port: int, count: int) -> list[int]:
    """When each of so many services had that port, in nanoseconds since 1970, where it had within GIVE_UP."""
    found: dict[str, int] = {}
    with suppress(TimeoutError):
        async with asyncio.timeout(GIVE_UP):
            async for told in peer.told():
                if told.ports == port and told.service.startswith("users"):
                    found.setdefault(told.service, told.at)
                    if len(found) == count:
                        break
    return sorted(found.values())


async def standing(connection: Connection, count: int) -> int:
    """When so many registrations of the program stood and passed, in nanoseconds since 1970."""
    while True:
        _, body = await connection.ask(message("GET", "/v1/agent/checks"))
        checks = json.loads(body).values()
        if sum(check["Status"] == "passing" for check in checks) == count:
            return time.time_ns()
        await asyncio.sleep(0.01)


async def half_open(names: list[str]) -> dict[str, float]:
    """How many seconds after a stall each has tried to connect again; NOTICED for one that hasn't."""
    async with AsyncExitStack() as stack:
        agent = await stack.enter_async_context(ConsulAgent())
        await agent.put("/v1/agent/service/register", {"Name": "users", "Address": "127.0.0.1", "Port": 80})
        links: dict[str, Link] = {}
        for name in names:
            links[name] = link = await stack.enter_async_context(Link(agent.port))
            peer = await stack.enter_async_context(Peer(name, f"http://127.0.0.1:{link.port}"))
            peer.watch("users")
            await peer.until(lambda told: told.instances == 1)
        await asyncio.sleep(SETTLED)
        for link in links.values():
            link.stall()
        with suppress(TimeoutError):
            async with asyncio.timeout(NOTICED):
                await asyncio.gather(*(asyncio.shield(link.tried) for link in links.values()))
        return {name: link.tried.result() if link.tried.done() else LATER for name, link in links.items()}


async def ours(cases: dict[str, Case], rounds: int) -> dict[str, list[Outage]]:
    """Each alone, on one agent."""
    found: dict[str, list[Outage]] = {name: [] for name in cases}
    ports = itertools.count(1000, 2)
    async with ConsulAgent(**ROOM) as agent:
        for _ in range(rounds):
            for name, case in cases.items():
                found[name].append(await outage(case, agent, next(ports)))
    return found


async def alone(case: Case) -> list[Outage]:
    async with ConsulAgent(**ROOM) as agent:
        return [await outage(case, agent, 1000)]


async def compare(report: Report) -> None:
    present = there(*{case.peer for case in (*OURS.values(), *OTHERS.values())})
    others = {name: case for name, case in OTHERS.items() if case.peer in present}
    async with asyncio.TaskGroup() as group:
        stalled = group.create_task(half_open([name for name in HALF_OPEN if name in present]))
        found = await ours(OURS, report.rounds)
        outages = await asyncio.gather(*map(alone, others.values()))
        found |= dict(zip(others, outages, strict=True))
    show(report, found)
    noticed = {over(name, seconds, NOTICED): figure([seconds]) for name, seconds in stalled.result().items()}
    report.add(
        "half-open connection, noticed after",
        noticed,
        floors={},
        unit="s",
        by="median",
        limits=dict.fromkeys(OURS, NOTICED),
    )


def show(report: Report, found: dict[str, list[Outage]]) -> None:
    def add(title: str, unit: str, limit: float, value: Callable[[Outage], float | None]) -> None:
        values = {name: [v for v in map(value, outages) if v is not None] for name, outages in found.items()}
        figures = {
            name if unit != "s" else over(name, max(v), GIVE_UP): figure(v) for name, v in values.items() if v
        }
        if figures:
            limits = dict.fromkeys(OURS, limit)
            report.add(f"outage of 10 s, {title}", figures, floors={}, unit=unit, by="median", limits=limits)

    add("the new lists held, median of the watches", "s", 2.0, lambda outage: statistics.median(outage.back))
    add("the new lists held, last of the watches", "s", 2.0, lambda outage: outage.back[-1])
    add("attempts to connect", "attempts", 15.0, lambda outage: outage.attempts)
    add("CPU while it lasts", "%", 0.5, lambda outage: outage.cpu)
    add("CPU while it lasts, after the first second", "%", 0.5, lambda outage: outage.calm)
    add("three registrations stand again", "s", 2.0, lambda outage: outage.registered)


def over(name: str, seconds: float, most: float) -> str:
    """The row's name; one with a limit keeps its own, which the limit goes by."""
    return f"{name} (not in {most:g} s)" if seconds >= most and name not in OURS else name


def main() -> None:
    report = Report(__doc__ or "")
    report.rounds = min(report.rounds, ROUNDS)
    need("consul")
    run(lambda: compare(report))
    report.close()


if __name__ == "__main__":
    main()
