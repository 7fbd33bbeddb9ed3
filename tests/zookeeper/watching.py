"""What tests of a real ZooKeeper share: sessions that end soon, registrars, watches, and a second witness."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from kazoo.client import KazooClient

from asyncsd import Event, Query, Registration, TTLCheck, UnreachableError, Watcher
from asyncsd._registrar import Registrar
from asyncsd.backends.zookeeper import ZooKeeperBackend
from tests.support.zookeeper import ZooKeeper

ME = Registration(service="greeter", id="one", host="127.0.0.1", port=8080, check=TTLCheck(ttl=15.0))
PATH = "/services/greeter/one"


def patient(hosts: Any, **options: Any) -> ZooKeeperBackend:
    """A backend to which a server or a test that stands still for seconds is no fault."""
    return ZooKeeperBackend(
        hosts, **{"session_timeout": 20.0, "connect_timeout": 15.0, "timeout": 15.0, **options}
    )


def hasty(hosts: Any, **options: Any) -> ZooKeeperBackend:
    """A backend whose session ends 2 s after its connection, and that waits for none longer than 0.5 s."""
    return ZooKeeperBackend(
        hosts, **{"session_timeout": 2.0, "connect_timeout": 0.5, "timeout": 1.0, **options}
    )


@asynccontextmanager
async def registered(backend: ZooKeeperBackend, me: Registration = ME) -> AsyncIterator[Registrar]:
    """A registrar that stands."""
    registrar = Registrar(backend, me)
    task = asyncio.get_running_loop().create_task(registrar.run())
    try:
        async with asyncio.timeout(20):
            await registrar.ready()
        yield registrar
    finally:
        task.cancel()
        await asyncio.wait((task,))


@asynccontextmanager
async def watched(backend: ZooKeeperBackend, service: str = "greeter") -> AsyncIterator[asyncio.Queue[Event]]:
    """The events of a watch."""
    events: asyncio.Queue[Event] = asyncio.Queue(1000)
    task = asyncio.get_running_loop().create_task(Watcher(backend, service).run(events))
    try:
        yield events
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def event(
    events: asyncio.Queue[Event], accept: Callable[[Event], object], within: float = 20.0
) -> Event:
    """The next event that is as wanted."""
    async with asyncio.timeout(within):
        while not accept(found := await events.get()):
            pass
        return found


def ids(found: Event) -> list[str]:
    return [instance.id for instance in found.snapshot or ()]


@contextmanager
def kazoo(host: str, **options: Any) -> Any:
    """A client of kazoo's own: call it in a thread."""
    client = KazooClient(host, **options)
    client.start(10)
    try:
        yield client
    finally:
        client.stop()
        client.close()


async def read(host: str, path: str, **options: Any) -> tuple[bytes, Any] | None:
    """A node's value and stat, as kazoo by itself reads them; None where it isn't there."""

    def work() -> Any:
        with kazoo(host, **options) as client:
            return client.get(path) if client.exists(path) else None

    return await asyncio.to_thread(work)


async def write(host: str, path: str, data: bytes, **options: Any) -> None:
    """Make or change a node that stays."""

    def work() -> None:
        with kazoo(host, **options) as client:
            if client.exists(path):
                client.set(path, data)
            else:
                client.create(path, data, makepath=True)

    await asyncio.to_thread(work)


async def write_often(host: str, count: int) -> None:
    """Let so many transactions have been."""

    def work() -> None:
        with kazoo(host) as client:
            client.create("/often")
            for result in [client.set_async("/often", b"") for _ in range(count)]:
                result.get(timeout=20)

    await asyncio.to_thread(work)


async def remove_all(host: str) -> None:
    """Remove every node but ZooKeeper's own; as a user too, of the tests of rights."""

    def work() -> None:
        with kazoo(host, auth_data=[("digest", "me:sesame")]) as client:
            for name in client.get_children("/"):
                if name != "zookeeper":
                    client.delete(f"/{name}", recursive=True)

    await asyncio.to_thread(work)


async def delete(host: str, path: str) -> None:
    def work() -> None:
        with kazoo(host) as client:
            client.delete(path)

    await asyncio.to_thread(work)


def client_of(backend: ZooKeeperBackend) -> Any:
    """The kazoo client that the backend has now."""
    assert backend._opened is not None
    assert backend._opened.session._client is not None
    return backend._opened.session._client.kazoo


async def number(server: ZooKeeper, name: str) -> int:
    """A figure of the server's own: `packets_received`, `ephemerals_count`."""
    lines = dict(line.split("\t", 1) for line in (await told(server, "mntr")).splitlines() if "\t" in line)
    return int(lines[f"zk_{name}"])


def session_of(backend: ZooKeeperBackend) -> int:
    """The number of the session that the backend has now."""
    assert backend._opened is not None
    assert backend._opened.session.id is not None
    return backend._opened.session.id


async def sessions(server: ZooKeeper) -> set[int]:
    """The sessions that have a connection to the server."""
    return {int(sid, 16) for sid in re.findall(r"sid=(0x[0-9a-f]+)", await told(server, "cons"))}


async def watches(server: ZooKeeper, session: int) -> set[str]:
    """The paths that a session watches; others may have ended without a word, and go when they time out."""
    found = re.split(r"^(0x[0-9a-f]+)$", await told(server, "wchc"), flags=re.MULTILINE)
    lists = {int(sid, 16): paths for sid, paths in zip(found[1::2], found[2::2], strict=True)}
    return set(map(str.strip, lists[session].strip().splitlines()))


async def told(server: ZooKeeper, word: str) -> str:
    """The answer to a four-letter command, however late."""
    async with asyncio.timeout(20):
        while not (answer := await server.command(word)):
            pass
    return answer


async def refused(backend: ZooKeeperBackend, why: str) -> None:
    """Ask until the error says why. The first may come before a connection was tried."""
    async with asyncio.timeout(20):
        while True:
            with pytest.raises(UnreachableError) as caught:
                await backend.fetch(Query("greeter"), None)
            if re.search(why, str(caught.value)):
                return


async def expire(backend: ZooKeeperBackend, host: str) -> None:
    """End the backend's session, as the servers do with one that was silent for too long."""
    assert backend._opened is not None
    key = backend._opened.session._key

    def work() -> None:
        with kazoo(host, client_id=key):
            pass  # Closing it closes the session of both.

    await asyncio.to_thread(work)


async def until_stands(server: ZooKeeper, not_of: int = 0) -> int:
    """Wait until the instance's node is there, of another session than `not_of`; its session."""
    async with asyncio.timeout(20):
        while True:
            # Unlike a client's session, this command is no transaction: a wiped server stays as it was.
            sessions = re.split(r"^(0x[0-9a-f]+):$", await server.command("dump"), flags=re.MULTILINE)
            for owner, nodes in zip(sessions[1::2], sessions[2::2], strict=True):
                if PATH in nodes.split() and int(owner, 16) != not_of:
                    return int(owner, 16)
