"""The backend: what the core asks, in the terms of etcd's v2 API."""

import asyncio
import logging
import ssl as _ssl
from collections.abc import Iterable
from typing import Self

from asyncsd._checks import Health
from asyncsd._clock import LoopClock
from asyncsd._errors import NotRegisteredError, UnreachableError
from asyncsd._models import Names, Query, Reply
from asyncsd._protocols import Clock, Lease
from asyncsd._registration import Record
from asyncsd._tasks import finish
from asyncsd._values import as_flag, as_text, duration
from asyncsd.backends._shared._connections import Connections
from asyncsd.backends._shared._credentials import BasicLogin
from asyncsd.backends._shared._endpoints import parse_endpoints
from asyncsd.backends._shared._lifetime import Lifetime
from asyncsd.backends._shared._local import LocalHost
from asyncsd.backends._shared._refusals import refuse_unknown
from asyncsd.backends._shared._tls import TLS, File
from asyncsd.backends._shared._value import Reading, Readings, tags_by_service

from ._answers import Answer, MissingError, Node, UnavailableError
from ._keys import Keys
from ._registry import Registry
from ._stream import Heard
from ._transport import Transport
from ._watch import Watch

__all__ = ["Etcd2Backend"]

log = logging.getLogger("asyncsd.etcd2")

DEFAULT = "http://127.0.0.1:2379"
CLOSE = 5.0
WAITS = 5
"""A service is read whole at least once in so many waits, whatever the long poll tells of it."""
POLL = 5.0
"""Seconds between two stale reads while no server can tell of changes."""
READS = 4
"""So many reads at a time where there is a user: etcd checks the password of each with bcrypt, which takes a
core 60 ms. Of a hundred at once none might be answered in time, and of those that follow neither."""
PATIENCE = 30.0
"""Seconds that a read waits for those before it."""


class Etcd2Backend:
    """etcd's v2 API as a registry: a key an instance, with a TTL; one long poll tells of all changes.

    For etcd 2.3 to 3.5, where 3.4 and 3.5 need `--enable-v2=true`; `EtcdBackend` is for the v3 API, whose
    data are others. `endpoints` is one server's address or several of one cluster (a list, or commas
    between): "http://127.0.0.1:2379", "localhost:2379", "https://…". Requests go to the next server when one
    can't be reached, or has no leader. Keys are `/{prefix}/{service}/{id}`, values JSON; a value that is a
    bare address, as go-kit writes it, is read too.

    `user` is told with `password`, or with what `password_file` holds; that is read anew once it is refused.
    `ca`, `cert`, `key` and `verify` are for https, and so is `ssl`, a context of your own in their place.

    `wait` is how long, in seconds, a fetch waits for a change, `timeout` what a server has for an answer.

    An instance whose TTLCheck isn't renewed is gone with its key: it doesn't turn critical, and
    `deregister_after` has no meaning. A TTL has whole seconds. Without a TTLCheck the instance stands until
    it is deregistered.

    Nothing happens before `async with`; a backend is opened once.

    >>> Etcd2Backend("localhost:2379", user="app", password="secret")
    Etcd2Backend('http://localhost:2379', user='app', password='***')
    """

    def __init__(
        self,
        endpoints: str | Iterable[str] = DEFAULT,
        *,
        prefix: str = "services",
        user: str | None = None,
        password: str | None = None,
        password_file: File | None = None,
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
        for name, seconds in (("wait", wait), ("timeout", timeout), ("connect_timeout", connect_timeout)):
            duration(f"Etcd2Backend.{name}", seconds)
        as_text("Etcd2Backend.prefix", prefix)
        as_flag("Etcd2Backend.verify", verify)
        self._endpoints = parse_endpoints(endpoints, owner="Etcd2Backend")
        tls = TLS("Etcd2Backend", ca, cert, key, verify, ssl)
        if tls and not self._endpoints[0].is_tls:
            raise ValueError(
                "Etcd2Backend: ca, cert, key, verify and ssl are for https:// endpoints (tls=true in a URL)"
            )
        login = BasicLogin("Etcd2Backend", user, password, password_file)
        self._wait = wait
        self._clock: Clock = clock or LoopClock()
        self._keys = Keys(prefix)
        self._readings: Readings[str] = Readings(self._keys.instance)
        self._transport = Transport(
            self._endpoints,
            login=login,
            connections=Connections(
                "Etcd2Backend", tls=tls, clock=self._clock, timeout=timeout, connect_timeout=connect_timeout
            ),
            clock=self._clock,
        )
        self._turns = asyncio.Semaphore(READS) if login.credentials else None
        self._registry = Registry(self._transport, self._keys)
        self._watch = Watch(self._transport, self._keys, clock=self._clock)
        self._lifetime = Lifetime("Etcd2Backend")
        self._local = LocalHost("etcd", self._endpoints, log=log)
        self._shown: dict[str, object] = {
            **({"prefix": prefix} if prefix != "services" else {}),
            **login.credentials.shown,
        }

    def __repr__(self) -> str:
        shown = [repr(",".join(map(str, self._endpoints)))]
        shown += [f"{name}={value!r}" for name, value in self._shown.items()]
        return f"Etcd2Backend({', '.join(shown)})"

    @property
    def is_open(self) -> bool:
        return self._lifetime.is_open

    async def __aenter__(self) -> Self:
        """Open it. Raises ValueError for certificate files that can't be used."""
        self._lifetime.refuse_second()
        await self._transport.open()
        self._lifetime.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End what is in flight with ClosedError, and close the connections. Idempotent."""
        self._lifetime.close()
        await finish(self._close(), CLOSE, role="close", service="etcd2")

    async def _close(self) -> None:
        await self._watch.aclose()
        await self._transport.aclose()

    async def fetch(self, query: Query, cursor: int | None) -> Reply:
        """The instances of a service; with a cursor, an index, once something of it is newer.

        "consistent" reads what the cluster knows. "default" does so without a cursor, and reads on from the
        server that told of the change. "stale" reads what a server itself knows, unless `max_stale` bounds
        it: etcd doesn't tell how old that is.
        """
        refuse_unknown(query, "etcd")
        is_stale = query.consistency == "stale" and query.max_stale is None
        exact = not is_stale and (cursor is None or query.consistency != "default")
        async with self._lifetime.call():
            folder = self._keys.service(query.service)
            heard = await self._heard(folder, cursor, patient=is_stale)
            found = None if exact else self._followed(folder, cursor, heard)
            if found is None:
                answer = await self._reading(folder, heard.least, exact=exact)
                found = self._read(folder, answer)
        instances = found.instances
        if query.server_filter:
            instances = tuple(instance for instance in instances if query.matches(instance))
        return Reply(instances, cursor=found.revision, index=found.revision, skipped=found.skipped)

    async def fetch_names(self, cursor: int | None) -> Names:
        """The names of all services under the prefix, with their tags; waits as `fetch` does."""
        async with self._lifetime.call():
            answer = await self._changed(self._keys.root, cursor, exact=cursor is None)
        instances = self._read(self._keys.root, answer).instances
        return Names(tags_by_service(instances), cursor=answer.index, index=answer.index)

    async def local_host(self) -> str:
        """The address by which this machine reaches the cluster.

        Where all servers are on this machine that is 127.0.0.1, and a warning is logged.
        """
        async with self._lifetime.call():
            return await self._local.find()

    async def register(self, record: Record, previous: Lease | None = None) -> Lease:
        """Put the record's key, in place of what stands there, whose status is kept."""
        async with self._lifetime.call():
            return await self._registry.register(record, previous)

    async def renew(self, lease: Lease, health: Health) -> None:
        """Give the key its TTL anew, which wakes nobody, and put the status if it is another.

        A key that somebody else has registered anew under the same id is left to them, with a warning.
        """
        async with self._lifetime.call():
            await self._registry.renew(lease, health)

    async def observe(self, lease: Lease, cursor: int | None) -> int:
        """Wait until the key may differ from what it was at the index `cursor`, and return a new one.

        Raises NotRegisteredError once it is gone.
        """
        async with self._lifetime.call():
            key = self._keys.record(lease.record)
            answer = await self._changed(key, cursor, exact=cursor is None)
        if answer.node.dir:
            raise NotRegisteredError(
                f"{lease.record.id!r} isn't registered on {lease.where}: its key is gone"
            )
        return answer.index

    async def drain(self, lease: Lease, on: bool) -> None:
        """Mark the instance as drained, which reads as critical; or no longer."""
        async with self._lifetime.call():
            await self._registry.drain(lease, on)

    async def deregister(self, lease: Lease) -> None:
        """Remove the key; what somebody else has registered since stays."""
        async with self._lifetime.call():
            await self._registry.deregister(lease)

    async def _changed(self, path: str, cursor: int | None, *, exact: bool) -> Answer:
        """What stands at a path; after a wait where there is a cursor."""
        heard = await self._heard(path, cursor)
        return await self._reading(path, heard.least, exact=exact)

    async def _heard(self, path: str, cursor: int | None, *, patient: bool = False) -> Heard:
        """Wait for a change of a path, where there is a cursor.

        `patient`: while no server can tell of changes, read once in a while.
        """
        if cursor is None:
            return Heard(0)
        try:
            return await self._watch.changed(path, cursor, self._wait)
        except UnavailableError:
            if not patient:
                raise
            await self._clock.sleep(min(self._wait, POLL))
            return Heard(0)

    def _followed(self, folder: str, cursor: int | None, heard: Heard) -> Reading | None:
        """A folder after the changes that were heard; None where it has to be read.

        Where nothing has changed, what is known stands. Once in a while it is read all the same: a store that
        was put back meanwhile, and has come past the cursor since, tells of its changes as if they were those
        of the old one.
        """
        if cursor is None or heard.changes is None or any(change.is_folder for change in heard.changes):
            return None
        read_after = self._clock.time() - WAITS * self._wait
        changes = [(change.index, change.key, change.value) for change in heard.changes]
        return self._readings.follow(folder, cursor, changes, read_after=read_after)

    async def _reading(self, path: str, least: int, *, exact: bool) -> Answer:
        """What stands at a path, an empty folder where nothing does."""
        answer = await self._get(path, exact=exact)
        if answer.index < least and not exact:
            # Another server than the one that told of the change, which is behind; or data were lost.
            answer = await self._get(path, exact=True)
        return answer

    async def _get(self, path: str, *, exact: bool) -> Answer:
        """What stands at and under a path, in its turn; nothing, where there is nothing."""
        if self._turns is None:
            return await self._get_now(path, exact=exact)
        try:
            async with self._clock.timeout(PATIENCE):
                await self._turns.acquire()
        except TimeoutError:
            raise UnreachableError(
                f"{READS} reads before this one had no answer in {PATIENCE:g} s",
                url=str(self._transport.endpoint),
            ) from None
        try:
            return await self._get_now(path, exact=exact)
        finally:
            self._turns.release()

    async def _get_now(self, path: str, *, exact: bool) -> Answer:
        try:
            return await self._transport.get(path, exact=exact)
        except MissingError as exc:
            return Answer(Node(key=path, dir=True), exc.index)

    def _read(self, folder: str, answer: Answer) -> Reading:
        return self._readings.read(folder, answer.node.leaves(), answer.index, at=self._clock.time())
