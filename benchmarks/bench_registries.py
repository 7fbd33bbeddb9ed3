"""From the return of a registration to the Event that lists it, on each registry that is found here.

Two backends of the same URL: one registers and deregisters an instance beside one that stays, every 150 ms,
the other is watched. memory:// is one backend for both: what is left there is asyncsd's own part, the floor.
Eureka is polled each second here, and its server's cache is turned down to a tenth of one: at its default of
30 s the median would tell of nothing else.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from _measure import Report, figure, run
from _servers import URLS, missing

from asyncsd import Discovery, Event, Lease, Meta, Query, Record, TTLCheck

CHANGES = 10
"""Of each registry in a round."""
PACE = 0.15
FLOOR = "memory"


def record(id: str) -> Record:
    check = TTLCheck(ttl=600.0, initial_status="passing")
    return Record(service="users", id=id, host="127.0.0.1", port=80, meta=Meta(), checks=(check,))


class Changes:
    """One registry under measurement: whoever registers, and the watch that is to notice."""

    def __init__(self, backend: Any, queue: "asyncio.Queue[Event]") -> None:
        self._backend = backend
        self._queue = queue
        self._lease: Lease | None = None

    async def seen(self, ids: set[str]) -> None:
        async with asyncio.timeout(30.0):
            while {instance.id for instance in (await self._queue.get()).snapshot or ()} != ids:
                pass

    async def turn(self) -> float:
        """Microseconds from the return of a change to the Event on the queue."""
        await asyncio.sleep(PACE)
        if self._lease is None:
            self._lease = await self._backend.register(record("users-2"))
            ids = {"users-1", "users-2"}
        else:
            lease, self._lease = self._lease, None
            await self._backend.deregister(lease)
            ids = {"users-1"}
        returned = time.perf_counter()
        await self.seen(ids)
        return (time.perf_counter() - returned) * 1e6


@asynccontextmanager
async def changes(url: str) -> AsyncGenerator[Changes, None]:
    queue: asyncio.Queue[Event] = asyncio.Queue(maxsize=8)
    async with Discovery.from_url(url) as registering, AsyncExitStack() as stack:
        watching = registering
        if not url.startswith("memory"):
            watching = await stack.enter_async_context(Discovery.from_url(url))
        await stack.enter_async_context(watching.watch(Query("users", status="critical"), queue=queue))
        here = Changes(registering.backend, queue)
        await registering.backend.register(record("users-1"))
        await here.seen({"users-1"})
        yield here


async def compare(report: Report) -> None:
    served: dict[str, Callable[[], AbstractAsyncContextManager[str]]] = {
        name: start for name, (needed, start) in URLS.items() if not missing(*needed)
    }
    took: dict[str, list[float]] = {name: [] for name in served}
    async with AsyncExitStack() as stack:
        under = {
            name: await stack.enter_async_context(changes(await stack.enter_async_context(start())))
            for name, start in served.items()
        }
        for _ in range(report.rounds):
            for name, one in under.items():
                took[name] += [await one.turn() for _ in range(CHANGES)]
    report.add(
        f"from a registration's return to its Event, {CHANGES * report.rounds} changes, one every 150 ms",
        {name: figure(samples) for name, samples in took.items()},
        floors={name: FLOOR for name in took if name != FLOOR},
        unit="us",
        by="median",
    )


def main() -> None:
    report = Report(__doc__ or "")
    run(lambda: compare(report))
    report.close()


if __name__ == "__main__":
    main()
