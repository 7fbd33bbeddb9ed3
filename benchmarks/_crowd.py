"""A process that watches many services of one agent and tells what it sees, for bench_many.py.

    python benchmarks/_crowd.py WAY URL COUNT

WAY is "feed" (asyncsd), "turns" (asyncsd without its feed of changes) or "loops" (bare aiohttp). Every line
on its standard output is JSON: a list that a watch got, or {"refused": COUNT} each second.
"""

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack

import aiohttp

from asyncsd import Discovery, Event, Query
from asyncsd.backends.consul import ConsulBackend


def tell(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


class _Telling(asyncio.Queue[Event]):
    """Tells what is put, at once."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def put_nowait(self, item: Event) -> None:
        at = time.perf_counter()
        if item.snapshot is not None and item.error is None and not item.closed:
            found = [[i.id, i.port, list(i.tags), i.meta.get("v"), i.status] for i in item.snapshot]
            tell(service=self.number, at=at, found=found)


async def watch(url: str, count: int, *, feed: bool) -> None:
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(ConsulBackend(url))
        if not feed:
            backend._feeds.open({})
        sd = await stack.enter_async_context(Discovery(backend))
        for number in range(count):
            query = Query(f"service-{number}", status="critical")
            await stack.enter_async_context(sd.watch(query, queue=_Telling(number)))
        await asyncio.get_running_loop().create_future()


async def loops(url: str, count: int) -> None:
    refused = 0

    async def loop(number: int) -> None:
        nonlocal refused
        params: dict[str, str] = {}
        while True:
            try:
                async with session.get(f"{url}/v1/health/service/service-{number}", params=params) as answer:
                    if answer.status == 200:
                        found = await answer.json(content_type=None)
                        params = {"index": answer.headers["X-Consul-Index"], "wait": "55s"}
                        tell(service=number, at=time.perf_counter(), found=[_flat(one) for one in found])
                        continue
            except aiohttp.ClientError:
                pass
            refused += 1
            await asyncio.sleep(1.0)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        tasks = [asyncio.create_task(loop(number)) for number in range(count)]
        while tasks:
            await asyncio.sleep(1.0)
            tell(refused=refused)


def _flat(entry: dict) -> list[object]:  # type: ignore[type-arg]
    service = entry["Service"]
    statuses = {check["Status"] for check in entry["Checks"] or ()}
    status = next((status for status in ("critical", "warning") if status in statuses), "passing")
    return [service["ID"], service["Port"], service["Tags"], (service["Meta"] or {}).get("v"), status]


if __name__ == "__main__":
    way, url, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    asyncio.run(loops(url, count) if way == "loops" else watch(url, count, feed=way == "feed"))
