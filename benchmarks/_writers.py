"""Writes instances into each registry, by one bare request each."""

import asyncio
import base64
import json
import tomllib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import aiohttp
from kazoo.client import KazooClient


class Writer(Protocol):
    """Returns once the registry has answered."""

    async def put(self, service: str, number: int) -> None:
        """Instance `number` is there."""

    async def remove(self, service: str, number: int) -> None:
        """It isn't any more."""


def name(service: str, number: int) -> str:
    return f"{service}-{number}"


def value(number: int) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": 8000 + number}


class _Requests:
    """What is sent over one session."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(self, method: str, path: str, **options: Any) -> None:
        async with self._session.request(method, path, **options) as response:
            body = await response.read()
            assert response.ok, body


class _Consul(_Requests):
    async def put(self, service: str, number: int) -> None:
        body = {
            "ID": name(service, number), "Name": service, "Address": "127.0.0.1", "Port": 8000 + number
        }  # fmt: skip
        await self.ask("PUT", "/v1/agent/service/register", json=body)

    async def remove(self, service: str, number: int) -> None:
        await self.ask("PUT", f"/v1/agent/service/deregister/{name(service, number)}")


class _Etcd(_Requests):
    async def put(self, service: str, number: int) -> None:
        body = {"key": _key(service, number), "value": _b64(json.dumps(value(number)))}
        await self.ask("POST", "/v3/kv/put", json=body)

    async def remove(self, service: str, number: int) -> None:
        await self.ask("POST", "/v3/kv/deleterange", json={"key": _key(service, number)})


def _key(service: str, number: int) -> str:
    return _b64(f"/services/{service}/{name(service, number)}")


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class _Etcd2(_Requests):
    async def put(self, service: str, number: int) -> None:
        body = {"value": json.dumps(value(number))}
        await self.ask("PUT", f"/v2/keys/services/{service}/{name(service, number)}", data=body)

    async def remove(self, service: str, number: int) -> None:
        await self.ask("DELETE", f"/v2/keys/services/{service}/{name(service, number)}")


class _Eureka(_Requests):
    async def put(self, service: str, number: int) -> None:
        body = {
            "instanceId": name(service, number),
            "app": service.upper(),
            "vipAddress": service,
            "hostName": "127.0.0.1",
            "ipAddr": "127.0.0.1",
            "port": {"$": 8000 + number, "@enabled": "true"},
            "status": "UP",
            "dataCenterInfo": {
                "@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo",
                "name": "MyOwn",
            },
            "leaseInfo": {"renewalIntervalInSecs": 300, "durationInSecs": 900},
        }
        await self.ask("POST", f"/eureka/apps/{service.upper()}", json={"instance": body})

    async def remove(self, service: str, number: int) -> None:
        await self.ask("DELETE", f"/eureka/apps/{service.upper()}/{name(service, number)}")


class _ZooKeeper:
    """kazoo's own thread answers; the loop is told by `call_soon_threadsafe`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def _ask(self, method: str, *args: Any, **options: Any) -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        result = getattr(self._client, f"{method}_async")(*args, **options)
        result.rawlink(lambda _: loop.call_soon_threadsafe(done.set_result, None))
        await done
        result.get()

    async def put(self, service: str, number: int) -> None:
        path = f"/services/{service}/{name(service, number)}"
        await self._ask("create", path, json.dumps(value(number)).encode(), makepath=True)

    async def remove(self, service: str, number: int) -> None:
        await self._ask("delete", f"/services/{service}/{name(service, number)}")


class _File:
    """A file that is written anew and put in its place."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def put(self, service: str, number: int) -> None:
        services = self._read()
        services.setdefault(service, []).append(f"127.0.0.1:{8000 + number}")
        self._write(services)

    async def remove(self, service: str, number: int) -> None:
        services = self._read()
        services[service].remove(f"127.0.0.1:{8000 + number}")
        self._write(services)

    def _read(self) -> dict[str, list[str]]:
        """Another writes to it too."""
        found: dict[str, list[str]] = tomllib.loads(self._path.read_text())["services"]
        return found

    def _write(self, services: dict[str, list[str]]) -> None:
        found = services.items()
        lists = (f"{json.dumps(service)} = {json.dumps(addresses)}\n" for service, addresses in found)
        new = self._path.with_suffix(".new")
        new.write_text("[services]\n" + "".join(lists))
        new.replace(self._path)


def _over_http(kind: Callable[[aiohttp.ClientSession], Writer]) -> Any:
    @asynccontextmanager
    async def writer(url: str) -> AsyncGenerator[Writer, None]:
        async with aiohttp.ClientSession(url) as session:
            yield kind(session)

    return writer


@asynccontextmanager
async def _zookeeper(hosts: str) -> AsyncGenerator[Writer, None]:
    client = KazooClient(hosts)
    await asyncio.to_thread(client.start)
    try:
        yield _ZooKeeper(client)
    finally:
        await asyncio.to_thread(client.stop)
        await asyncio.to_thread(client.close)


@asynccontextmanager
async def _file(path: str) -> AsyncGenerator[Writer, None]:
    yield _File(Path(path))


WRITERS: Mapping[str, Callable[[str], AbstractAsyncContextManager[Writer]]] = {
    "Consul": _over_http(_Consul),
    "embedded agent": _over_http(_Consul),
    "DNS": _over_http(_Consul),
    "etcd v3": _over_http(_Etcd),
    "etcd v2": _over_http(_Etcd2),
    "ZooKeeper": _zookeeper,
    "Eureka": _over_http(_Eureka),
    "static file": _file,
}
"""What makes a writer for a registry, given where it is."""
