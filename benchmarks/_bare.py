"""What one would write by hand to watch a service of each registry, on the libraries that asyncsd uses.

None of it has backoff, deadlines, an interval, or another server to go to; nothing of an instance is looked
at but its id. A loop that is told what has changed goes by that, and reads nothing again.
"""

import asyncio
import base64
import json
import tomllib
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import dns.asyncresolver
import dns.resolver
from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError

Tell: TypeAlias = Callable[[frozenset[str]], None]
"""Takes the ids of the instances whenever they may be others."""

Watch: TypeAlias = Callable[[str, Tell], AbstractAsyncContextManager[None]]
"""Watches a service, and is told of its ids."""


@asynccontextmanager
async def running(*loops: Coroutine[Any, Any, None]) -> AsyncGenerator[None, None]:
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _looping(loop: Callable[[aiohttp.ClientSession, str, Tell], Coroutine[Any, Any, None]]) -> Any:
    """A loop over HTTP: all watches have one session, as one would do it."""

    @asynccontextmanager
    async def client(url: str) -> AsyncGenerator[Watch, None]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            url, connector=connector, timeout=aiohttp.ClientTimeout()
        ) as session:
            yield lambda service, tell: running(loop(session, service, tell))

    return client


async def _consul(session: aiohttp.ClientSession, service: str, tell: Tell) -> None:
    """Blocking queries."""
    params: dict[str, str] = {}
    while True:
        async with session.get(f"/v1/health/service/{service}", params=params) as response:
            params = {"index": response.headers["X-Consul-Index"], "wait": "55s"}
            items = json.loads(await response.read())
        tell(frozenset(item["Service"]["ID"] for item in items))


async def _etcd(session: aiohttp.ClientSession, service: str, tell: Tell) -> None:
    """One range, and then a watch's stream of what changes."""
    start = f"/services/{service}/"
    keys = {"key": _b64(start), "range_end": _b64(start[:-1] + "0")}
    async with session.post("/v3/kv/range", json=keys) as response:
        found = json.loads(await response.read())
    ids = {_id(item["key"]) for item in found.get("kvs", ())}
    tell(frozenset(ids))
    revision = int(found["header"]["revision"])
    request = {"create_request": keys | {"start_revision": str(revision + 1)}}
    async with session.post("/v3/watch", json=request) as response:
        async for line in response.content:
            events = json.loads(line)["result"].get("events", ())
            for event in events:
                change = ids.discard if event.get("type") == "DELETE" else ids.add
                change(_id(event["kv"]["key"]))
            if events:
                tell(frozenset(ids))


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _id(key: str) -> str:
    return base64.b64decode(key).decode().rpartition("/")[2]


async def _etcd2(session: aiohttp.ClientSession, service: str, tell: Tell) -> None:
    """One reading, and then a long poll for each change."""
    path = f"/v2/keys/services/{service}/"
    async with session.get(path) as response:
        found = json.loads(await response.read())
        index = int(response.headers["X-Etcd-Index"])
    nodes = found["node"].get("nodes", ()) if "node" in found else ()
    ids = {node["key"].rpartition("/")[2] for node in nodes}
    tell(frozenset(ids))
    while True:
        params = {"wait": "true", "recursive": "true", "waitIndex": str(index + 1)}
        async with session.get(path, params=params) as response:
            change = json.loads(await response.read())
        index = change["node"]["modifiedIndex"]
        move = ids.discard if change["action"] in ("delete", "expire") else ids.add
        move(change["node"]["key"].rpartition("/")[2])
        tell(frozenset(ids))


async def _eureka(session: aiohttp.ClientSession, service: str, tell: Tell, *, interval: float = 1.0) -> None:
    """Each service is asked for by itself, once in an interval."""
    headers = {"Accept": "application/json"}
    loop = asyncio.get_running_loop()
    known: bytes | None = None
    while True:
        began = loop.time()
        async with session.get(f"/eureka/apps/{service.upper()}", headers=headers) as response:
            body = await response.read()
        if body != known:
            known = body
            instances = json.loads(body)["application"]["instance"] if response.status == 200 else ()
            tell(frozenset(instance["instanceId"] for instance in instances))
        await asyncio.sleep(began + interval - loop.time())


@asynccontextmanager
async def _zookeeper(hosts: str) -> AsyncGenerator[Watch, None]:
    """kazoo reads in the thread in which it tells of a change, and the outcome goes to the loop."""
    loop = asyncio.get_running_loop()
    client = KazooClient(hosts)
    await asyncio.to_thread(client.start)

    @asynccontextmanager
    async def watch(service: str, tell: Tell) -> AsyncGenerator[None, None]:
        path = f"/services/{service}"
        known: dict[str, bytes] = {}

        def list_again(_: object = None) -> None:
            ids = client.get_children(path, list_again)
            for id in known.keys() - ids:
                del known[id]
            for id in set(ids) - known.keys():
                read(id)
            loop.call_soon_threadsafe(tell, frozenset(known))

        def read(id: str) -> None:
            try:
                known[id] = client.get(f"{path}/{id}", partial(changed, id))[0]
            except NoNodeError:
                known.pop(id, None)

        def changed(id: str, event: Any) -> None:
            if event.type == "CHANGED":
                read(id)
                loop.call_soon_threadsafe(tell, frozenset(known))

        await asyncio.to_thread(client.ensure_path, path)
        await asyncio.to_thread(list_again)
        yield

    try:
        yield watch
    finally:
        await asyncio.to_thread(client.stop)
        await asyncio.to_thread(client.close)


@asynccontextmanager
async def _dns(server: str) -> AsyncGenerator[Watch, None]:
    """SRV records, asked for again after their TTL, and a second at least."""
    resolver = dns.asyncresolver.Resolver(configure=False)
    host, _, port = server.partition(":")
    resolver.nameservers, resolver.port = [host], int(port)

    async def ask(service: str, tell: Tell) -> None:
        known: frozenset[str] | None = None
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                answer = await resolver.resolve(f"{service}.service.consul.", "SRV")
                ids = frozenset(str(record.port) for record in answer)
                ttl = answer.rrset.ttl if answer.rrset is not None else 0
            except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
                ids, ttl = frozenset[str](), 0
            if ids != known:
                known = ids
                tell(ids)
            await asyncio.sleep(began + max(ttl, 1.0) - loop.time())

    yield lambda service, tell: running(ask(service, tell))


@asynccontextmanager
async def _static(file: str) -> AsyncGenerator[Watch, None]:
    """`os.stat` once a second, on the loop."""
    path = Path(file)

    async def look(service: str, tell: Tell) -> None:
        known: object = None
        while True:
            state = path.stat()  # noqa: ASYNC240 - as it would be written
            if (state.st_mtime_ns, state.st_ino) != known:
                known = (state.st_mtime_ns, state.st_ino)
                document = tomllib.loads(path.read_text())  # noqa: ASYNC240
                entries = document["services"].get(service, [])
                tell(frozenset(entry.rpartition(":")[2] for entry in entries))
            await asyncio.sleep(1.0)

    yield lambda service, tell: running(look(service, tell))


BARE: dict[str, Callable[[str], AbstractAsyncContextManager[Watch]]] = {
    "Consul": _looping(_consul),
    "embedded agent": _looping(_consul),
    "etcd v3": _looping(_etcd),
    "etcd v2": _looping(_etcd2),
    "ZooKeeper": _zookeeper,
    "Eureka": _looping(_eureka),
    "DNS": _dns,
    "static file": _static,
}
"""What makes the client for all watches of a registry, given where that is."""
