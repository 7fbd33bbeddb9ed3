"""The backend: what the core asks, in etcd's terms."""

import logging
import ssl as _ssl
from collections.abc import Iterable
from typing import Any, Self

from asyncsd._checks import Health
from asyncsd._clock import LoopClock
from asyncsd._errors import NotRegisteredError
from asyncsd._models import Names, Query, Reply
from asyncsd._protocols import Clock, Lease
from asyncsd._registration import Record
from asyncsd._tasks import finish
from asyncsd._values import as_flag, as_text, duration
from asyncsd.backends._shared._connections import Connections
from asyncsd.backends._shared._endpoints import parse_endpoints
from asyncsd.backends._shared._lifetime import Lifetime
from asyncsd.backends._shared._local import LocalHost
from asyncsd.backends._shared._refusals import refuse_unknown
from asyncsd.backends._shared._tls import TLS, File
from asyncsd.backends._shared._value import Reading, tags_by_service

from ._keys import Decoder, Keys, Span
from ._login import Login
from ._messages import Range
from ._registry import Registry
from ._transport import Transport
from ._watch import Watch

__all__ = ["EtcdBackend"]

log = logging.getLogger("asyncsd.etcd")

DEFAULT = "http://127.0.0.1:2379"
CLOSE = 5.0
WAITS = 5
"""A service is read whole at least once in so many waits, whatever the watch tells of it."""


class EtcdBackend:
    """etcd v3 as a registry: a key an instance, on a lease; changes are pushed by watches.

    `endpoints` is one server's address or several of one cluster (a list, or commas between):
    "http://127.0.0.1:2379", "localhost:2379", "https://…". Requests go to the next server when one can't be
    reached, or has no leader. Keys are `/{prefix}/{service}/{id}`, values JSON; a value that is a bare
    address, as go-kit writes it, is read too.

    `user` logs in with `password`, or with what `password_file` holds at each login. `ca`, `cert`, `key` and
    `verify` are for https, and so is `ssl`, a context of your own in their place.

    `wait` is how long, in seconds, a fetch waits for a change, `timeout` what a server has for an answer.

    An instance whose TTLCheck isn't renewed is gone with its lease: it doesn't turn critical, and
    `deregister_after` has no meaning. A lease has whole seconds, 2 at least. Without a TTLCheck there is no
    lease, and the instance stands until it is deregistered.

    Nothing happens before `async with`; a backend is opened once.

    >>> EtcdBackend("localhost:2379", user="app", password="secret")
    EtcdBackend('http://localhost:2379', user='app', password='***')
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
            duration(f"EtcdBackend.{name}", seconds)
        as_text("EtcdBackend.prefix", prefix)
        as_flag("EtcdBackend.verify", verify)
        self._endpoints = parse_endpoints(endpoints, owner="EtcdBackend")
        tls = TLS("EtcdBackend", ca, cert, key, verify, ssl)
        if tls and not self._endpoints[0].is_tls:
            raise ValueError(
                "EtcdBackend: ca, cert, key, verify and ssl are for https:// endpoints (tls=true in a URL)"
            )
        login = Login(user, password, password_file)
        self._wait = wait
        self._clock: Clock = clock or LoopClock()
        self._keys = Keys(prefix)
        self._decoder = Decoder(self._keys)
        self._transport = Transport(
            self._endpoints,
            login=login,
            connections=Connections(
                "EtcdBackend", tls=tls, clock=self._clock, timeout=timeout, connect_timeout=connect_timeout
            ),
            clock=self._clock,
        )
        self._registry = Registry(self._transport, self._keys)
        self._watch = Watch(self._transport, self._clock, self._keys)
        self._lifetime = Lifetime("EtcdBackend")
        self._local = LocalHost("etcd", self._endpoints, log=log)
        self._shown: dict[str, object] = {
            **({"prefix": prefix} if prefix != "services" else {}),
            **login.credentials.shown,
        }

    def __repr__(self) -> str:
        shown = [repr(",".join(map(str, self._endpoints)))]
        shown += [f"{name}={value!r}" for name, value in self._shown.items()]
        return f"EtcdBackend({', '.join(shown)})"

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
        await finish(self._disconnect(), CLOSE, role="close", service="etcd")

    async def _disconnect(self) -> None:
        await self._watch.aclose()
        await self._transport.aclose()

    async def fetch(self, query: Query, cursor: int | None) -> Reply:
        """The instances of a service; with a cursor, a revision, once there is a newer one of it.

        "default" reads what the cluster knows, and goes on by what the server tells of changes, which a
        "consistent" one reads again.
        "stale" reads what the server itself knows, unless `max_stale` bounds it: etcd doesn't tell how old
        that is, so that a bounded read is an exact one.
        """
        refuse_unknown(query, "etcd")
        span = self._keys.service(query.service)
        async with self._lifetime.call():
            found = await self._followed(span, query, cursor)
            if found is None:
                read = await self._read(span, is_local=_is_local(query))
                revision, now = read.header.revision, self._clock.time()
                found = self._decoder.decode(span, read.kvs, revision, at=now)
        instances = found.instances
        if query.server_filter:
            instances = tuple(instance for instance in instances if query.matches(instance))
        return Reply(instances, cursor=found.revision, index=found.revision, skipped=found.skipped)

    async def fetch_names(self, cursor: int | None) -> Names:
        """The names of all services under the prefix, with their tags; waits as `fetch` does."""
        async with self._lifetime.call():
            found = await self._changed(self._keys.all, cursor)
        instances = self._decoder.decode(self._keys.all, found.kvs).instances
        revision = found.header.revision
        return Names(tags_by_service(instances), cursor=revision, index=revision)

    async def local_host(self) -> str:
        """The address by which this machine reaches the cluster.

        Where all servers are on this machine that is 127.0.0.1, and a warning is logged.
        """
        async with self._lifetime.call():
            return await self._local.find()

    async def register(self, record: Record, previous: Lease | None = None) -> Lease:
        """Put the record's key, with the lease of `previous` while that lives, else with a new one.

        What stands under the key is replaced in place and keeps its status.
        """
        async with self._lifetime.call():
            return await self._registry.register(record, previous)

    async def renew(self, lease: Lease, health: Health) -> None:
        """Keep the lease alive, and put the status if it is another; see that the key is there.

        A key that somebody else has registered anew under the same id is left to them, with a warning.
        """
        async with self._lifetime.call():
            await self._registry.renew(lease, health)

    async def observe(self, lease: Lease, cursor: int | None) -> int:
        """Wait until the key differs from `cursor`, its revision; NotRegisteredError once it is gone."""
        async with self._lifetime.call():
            found = await self._changed(Span(self._keys.record(lease.record)), cursor)
        if not found.kvs:
            raise NotRegisteredError(
                f"{lease.record.id!r} isn't registered on {lease.where}: its key is gone"
            )
        return found.header.revision

    async def drain(self, lease: Lease, on: bool) -> None:
        """Mark the instance as drained, which reads as critical; or no longer."""
        async with self._lifetime.call():
            await self._registry.drain(lease, on)

    async def deregister(self, lease: Lease) -> None:
        """Revoke the lease, and its key with it; what somebody else has registered since stays."""
        async with self._lifetime.call():
            await self._registry.deregister(lease)

    async def _followed(self, span: Span, query: Query, cursor: int | None) -> Reading | None:
        """A span after a wait, by what the watch tells; None where it has to be read.

        Where nothing has changed, what is known stands. Once in a while it is read all the same: a store that
        was put back meanwhile, and has come past the cursor since, tells of its changes as if they were those
        of the old one.
        """
        if cursor is None:
            return None
        changes = await self._watch.changed(span, cursor, self._wait, leader=not _is_local(query))
        if changes is None or not (query.consistency == "default" or _is_local(query)):
            return None
        read_after = self._clock.time() - WAITS * self._wait
        found = self._decoder.follow(span, cursor, changes, read_after=read_after)
        if found is not None:
            self._watch.seen(found.revision)
        return found

    async def _changed(self, span: Span, cursor: int | None) -> Range:
        """The keys of a span, after a wait where there is a cursor."""
        if cursor is not None:
            await self._watch.changed(span, cursor, self._wait)
        return await self._read(span)

    async def _read(self, span: Span, *, is_local: bool = False) -> Range:
        """The keys of a span, whole."""
        request: dict[str, Any] = {"key": span.key, "range_end": span.end, "serializable": is_local}
        found = await self._transport.call("/v3/kv/range", request, Range)
        self._watch.seen(found.header.revision)
        return found


def _is_local(query: Query) -> bool:
    """Whether what one server knows will do: its age isn't told, so that it mustn't be bounded."""
    return query.consistency == "stale" and query.max_stale is None
