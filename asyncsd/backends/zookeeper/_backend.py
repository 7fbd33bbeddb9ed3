"""The backend: what the core asks, in ZooKeeper's terms."""

import asyncio
import logging
import ssl as _ssl
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self

from asyncsd._checks import Health
from asyncsd._clock import LoopClock
from asyncsd._errors import BackendError, ClosedError, UnreachableError
from asyncsd._models import Names, Query, Reply
from asyncsd._protocols import Clock, Lease
from asyncsd._registration import Record
from asyncsd._tasks import TaskOwner, finish
from asyncsd._values import as_flag, duration
from asyncsd.backends._shared._credentials import Credentials
from asyncsd.backends._shared._lifetime import Lifetime
from asyncsd.backends._shared._local import LocalHost
from asyncsd.backends._shared._refusals import refuse_checks, refuse_unknown
from asyncsd.backends._shared._tls import TLS, File
from asyncsd.backends._shared._waiters import Waiters

from ._address import join, node_name, parse_addresses, parse_path
from ._catalog import Catalog
from ._entry import Entry, remove
from ._kazoo import Settings
from ._session import Session
from ._threads import tell

__all__ = ["ZooKeeperBackend"]

log = logging.getLogger("asyncsd.zookeeper")

CLOSE = 5.0


class Held(NamedTuple):
    """An entry, and the task that sees to its TTL."""

    entry: Entry
    expiring: asyncio.Task[None] | None


class Opened(NamedTuple):
    """What there is while the backend is open."""

    loop: asyncio.AbstractEventLoop
    session: Session
    catalog: Catalog


class ZooKeeperBackend:
    """ZooKeeper as a registry: a node a service, and in it an ephemeral node an instance.

    `hosts` is a server's address or several, "zk1:2181,zk2:2181" or a list: one ensemble, of which kazoo
    talks to one and goes to the next when that fails. Services are nodes below `prefix`.

    The registrations of a backend stand on its session: they are gone when it closes, or `session_timeout`
    seconds (which the server may bound) after its process died.

    `user` is one of the digest scheme, with `password`, or `password_file`, a file that holds it. What a user
    registers is the user's alone unless `acl`, a list of kazoo's ACL, says otherwise; what is registered
    without one is everyone's.

    `tls` speaks TLS; `ca`, `cert`, `key` are files, and `verify=False` trusts any server;
    `ssl` is a context of your own in their place.

    `wait` is how long a fetch waits for a change, `timeout` how long a request may take, and
    `connect_timeout` how long a call waits for a connection that isn't there; all in seconds.

    Nothing happens before `async with`; a backend is opened once.

    >>> ZooKeeperBackend("zk1,zk2", user="me", password="secret")
    ZooKeeperBackend('zk1:2181,zk2:2181', user='me', password='***')
    """

    def __init__(
        self,
        hosts: str | Iterable[str] = "127.0.0.1:2181",
        *,
        prefix: str = "/services",
        session_timeout: float = 10.0,
        user: str | None = None,
        password: str | None = None,
        password_file: File | None = None,
        acl: Sequence[Any] | None = None,
        tls: bool = False,
        ca: File | None = None,
        cert: File | None = None,
        key: File | None = None,
        verify: bool = True,
        ssl: _ssl.SSLContext | None = None,
        wait: float = 55.0,
        timeout: float = 5.0,
        connect_timeout: float = 3.0,
        clock: Clock | None = None,
    ) -> None:
        self._addresses = parse_addresses(hosts)
        self._root = parse_path("ZooKeeperBackend.prefix", prefix)
        for name, seconds in (
            ("session_timeout", session_timeout),
            ("wait", wait),
            ("timeout", timeout),
            ("connect_timeout", connect_timeout),
        ):
            duration(f"ZooKeeperBackend.{name}", seconds)
        self._credentials = Credentials(
            "ZooKeeperBackend", user, password, password_file, scheme="the digest scheme"
        )
        as_flag("ZooKeeperBackend.tls", tls)
        as_flag("ZooKeeperBackend.verify", verify)
        given = TLS("ZooKeeperBackend", ca, cert, key, verify, ssl)
        if given and not tls:
            raise ValueError("ZooKeeperBackend: ca, cert, key, verify and ssl go with tls=True")
        self._tls = given if tls else None
        self._session_timeout = session_timeout
        self._acl = acl
        self._wait = wait
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._clock: Clock = clock or LoopClock()
        self._lifetime = Lifetime("ZooKeeperBackend")
        self._tasks = TaskOwner()
        self._opened: Opened | None = None
        self._observers = Waiters(self._clock)
        self._held: dict[str, Held] = {}
        self._local = LocalHost("ZooKeeper", self._addresses, log=log)

    def __repr__(self) -> str:
        shown = [repr(",".join(map(str, self._addresses)))]
        if self._root != "/services":
            shown.append(f"prefix={self._root or '/'!r}")
        shown += [f"{name}={value!r}" for name, value in self._credentials.shown.items()]
        if self._tls is not None:
            shown.append("tls=True")
        return f"ZooKeeperBackend({', '.join(shown)})"

    @property
    def is_open(self) -> bool:
        return self._lifetime.is_open

    @property
    def _where(self) -> str:
        return "zk://" + ",".join(map(str, self._addresses)) + self._root

    async def __aenter__(self) -> Self:
        """Begin to connect. Raises ImportError without kazoo, ValueError for a file that can't be read."""
        self._lifetime.refuse_second()
        try:
            session = Session(
                await asyncio.to_thread(self._settings),
                where=self._where,
                timeout=self._timeout,
                connect_timeout=self._connect_timeout,
                clock=self._clock,
                lost=self._lost,
            )
            catalog = Catalog(self._root, session, tasks=self._tasks, clock=self._clock, wait=self._wait)
            self._opened = Opened(asyncio.get_running_loop(), session, catalog)
            await session.open()
        except BaseException:
            await self.aclose()
            raise
        self._lifetime.open()
        return self

    def _settings(self) -> Settings:
        """Read the files; blocks."""
        context = None if self._tls is None else self._tls.build()
        try:
            credentials = (
                f"{self._credentials.user}:{self._credentials.read()}" if self._credentials else None
            )
        except BackendError as exc:
            raise ValueError(f"ZooKeeperBackend: {exc}") from exc.__cause__
        return Settings(self._addresses, self._session_timeout, credentials, self._acl, context)

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End what is in flight with ClosedError, and the session: what it registered is gone. Idempotent.

        A server that doesn't answer is waited for one second; its session ends by its timeout then.
        """
        self._lifetime.close()
        await finish(self._aclose(), CLOSE, role="close", service="zookeeper")

    async def _aclose(self) -> None:
        await self._tasks.aclose()
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.session.aclose()

    @asynccontextmanager
    async def _call(self) -> AsyncGenerator[Opened, None]:
        """Around a call's body, which ends with ClosedError when the backend is closed meanwhile."""
        async with self._lifetime.call():
            if self._opened is None:
                raise ClosedError("the ZooKeeperBackend was closed")
            yield self._opened

    def _lost(self) -> None:
        """Every watch is gone with the connection."""
        if self._opened is not None:
            self._opened.catalog.lost()
        self._observers.wake()

    def _heard(self, _: object) -> None:
        """The watch of a registration's node, in kazoo's thread; one function, of which kazoo keeps one."""
        if self._opened is not None:
            tell(self._opened.loop, self._observers.wake)

    async def fetch(self, query: Query, cursor: int | None) -> Reply:
        """The instances of a service; with a cursor, once they differ, or after `wait` seconds.

        With `consistency="consistent"` the server first catches up with the leader.
        """
        refuse_unknown(query, "ZooKeeper")
        async with self._call() as opened:
            return await opened.catalog.fetch(query, cursor)

    async def fetch_names(self, cursor: dict[str, tuple[str, ...]] | None) -> Names:
        """The services that have instances, with their tags; with a cursor, once that differs."""
        async with self._call() as opened:
            return await opened.catalog.fetch_names(cursor)

    async def local_host(self) -> str:
        """The address by which this machine reaches the servers.

        Where all of them are on this machine that is 127.0.0.1, and a warning is logged.
        """
        async with self._lifetime.call():
            return await self._local.find()

    async def register(self, record: Record, previous: Lease | None = None) -> Lease:
        """Make the instance's node; a check other than TTLCheck is an UnsupportedError.

        What stands under its id is replaced in place; what this backend registered keeps its status.
        """
        refuse_checks(record, "ZooKeeper")
        async with self._call() as opened:
            new = Entry(self._root, record, opened.session, self._clock)
            held = self._held.get(new.path)
            entry = new if held is None else held.entry
            await entry.put(record)
            if held is not None and held.expiring is not None:
                await self._tasks.cancel(held.expiring)
            expiring = None
            if record.ttl is not None:
                expiring = self._tasks.spawn(entry.expire(), role="ttl", service=record.service)
            self._held[entry.path] = Held(entry, expiring)
            before = None if previous is None else previous.state
            if isinstance(before, Entry) and before.path != entry.path:
                await self._remove(opened, before.path)
            return Lease(record, where=opened.session.where, state=entry)

    async def renew(self, lease: Lease, health: Health) -> None:
        """See that the node is there and of this session, and write the health where it changed."""
        async with self._lifetime.call():
            await _entry(lease).renew(health)

    async def observe(self, lease: Lease, cursor: int | None) -> int:
        """Wait until the node changes, or raise NotRegisteredError once it is gone or not ours."""
        entry = _entry(lease)
        async with self._lifetime.call():
            end = self._clock.time() + self._wait
            while (number := await entry.watch(self._heard)) == cursor:
                if (left := end - self._clock.time()) <= 0:
                    break
                await self._observers.wait(left)
            return number

    async def drain(self, lease: Lease, on: bool) -> None:
        """Write into the node that the instance is out of rotation, or back in it."""
        async with self._lifetime.call():
            await _entry(lease).drain(on)

    async def deregister(self, lease: Lease) -> None:
        """Remove the node; one that isn't there, or isn't this backend's, is left."""
        record = lease.record
        async with self._call() as opened:
            await self._remove(opened, join(self._root, node_name(record.service), node_name(record.id)))

    async def _remove(self, opened: Opened, path: str) -> None:
        held = self._held.get(path)
        if held is not None and held.expiring is not None:
            await self._tasks.cancel(held.expiring)
        await remove(opened.session, path)
        self._held.pop(path, None)


def _entry(lease: Lease) -> Entry:
    if not isinstance(lease.state, Entry):
        raise UnreachableError(f"{lease.record.id!r} got no answer when it was registered", url=lease.where)
    return lease.state
