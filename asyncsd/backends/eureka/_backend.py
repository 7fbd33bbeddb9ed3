"""The backend: what the core asks, in Eureka's terms."""

import logging
import ssl as _ssl
from collections.abc import Mapping
from typing import Any, Self

from asyncsd._checks import Health
from asyncsd._clock import LoopClock
from asyncsd._models import Names, Query, Reply
from asyncsd._protocols import Clock, Lease
from asyncsd._registration import Record
from asyncsd._tasks import finish
from asyncsd._values import as_flag, as_text, duration
from asyncsd.backends._shared._connections import Connections
from asyncsd.backends._shared._credentials import BasicLogin
from asyncsd.backends._shared._lifetime import Lifetime
from asyncsd.backends._shared._local import LocalHost
from asyncsd.backends._shared._refusals import refuse_unknown
from asyncsd.backends._shared._tls import TLS, File

from ._catalog import Catalog
from ._poller import Poller
from ._registry import Registry
from ._servers import URLs, parse_servers
from ._transport import Transport

__all__ = ["EurekaBackend"]

log = logging.getLogger("asyncsd.eureka")

DEFAULT = "http://127.0.0.1:8761/eureka"
CLOSE = 5.0


class EurekaBackend:
    """Netflix's Eureka as a registry: instances kept by heartbeats, in lists that are polled.

    `urls` is one server's address or several that replicate to each other (a list, or commas between):
    "http://127.0.0.1:8761/eureka", "localhost:8761", "https://…". Requests go to the next server when one
    can't be reached or can't serve. `zone` is where this process is: what it registers says so, unless its
    meta has a zone. `urls` may map zones to their servers: those of `zone` are asked first.

    `user` goes with `password`, or with what `password_file` holds. `ca`, `cert`, `key` and `verify` are for
    https, and so is `ssl`, a context of your own in their place.

    All that wait share one poll, each `interval` seconds. The servers' own lists are up to 30 s old unless
    they are set otherwise, so that a change is seen up to that and `interval` later. `wait` is how long a
    fetch waits for a change, `timeout` what a server has for an answer, in seconds too.

    `prefer_ip` calls instances by their `ipAddr`, in place of the `hostName` that Spring goes by.

    A TTLCheck's `ttl` is the lease's duration, in whole seconds; an instance that isn't renewed is gone with
    it, after twice as long or later, by Eureka's reckoning, and not while a server preserves itself.
    `deregister_after` has no meaning. Without a TTLCheck the lease has 90 s, and is renewed as well.

    Nothing happens before `async with`; a backend is opened once.

    >>> EurekaBackend("localhost:8761", user="app", password="secret")
    EurekaBackend('http://localhost:8761/eureka', user='app', password='***')
    """

    def __init__(
        self,
        urls: URLs | Mapping[str, URLs] = DEFAULT,
        *,
        zone: str | None = None,
        prefer_ip: bool = False,
        user: str | None = None,
        password: str | None = None,
        password_file: File | None = None,
        ca: File | None = None,
        cert: File | None = None,
        key: File | None = None,
        verify: bool = True,
        ssl: _ssl.SSLContext | None = None,
        interval: float = 10.0,
        wait: float = 55.0,
        timeout: float = 5.0,
        connect_timeout: float = 3.0,
        clock: Clock | None = None,
    ) -> None:
        for name, seconds in (
            ("interval", interval),
            ("wait", wait),
            ("timeout", timeout),
            ("connect_timeout", connect_timeout),
        ):
            duration(f"EurekaBackend.{name}", seconds)
        as_text("EurekaBackend.zone", zone, none=True)
        as_flag("EurekaBackend.prefer_ip", prefer_ip)
        as_flag("EurekaBackend.verify", verify)
        self._servers = parse_servers(urls, zone)
        tls = TLS("EurekaBackend", ca, cert, key, verify, ssl)
        if tls and not self._servers[0].is_tls:
            raise ValueError(
                "EurekaBackend: ca, cert, key, verify and ssl are for https:// servers (tls=true in a URL)"
            )
        login = BasicLogin("EurekaBackend", user, password, password_file)
        self._wait = wait
        self._clock: Clock = clock or LoopClock()
        self._transport = Transport(
            self._servers,
            login=login,
            connections=Connections(
                "EurekaBackend", tls=tls, clock=self._clock, timeout=timeout, connect_timeout=connect_timeout
            ),
            clock=self._clock,
        )
        self._catalog = Catalog(prefer_ip=prefer_ip)
        self._poller = Poller(self._transport, self._catalog, clock=self._clock, interval=interval)
        self._registry = Registry(self._transport, zone=zone)
        self._lifetime = Lifetime("EurekaBackend")
        self._local = LocalHost("Eureka", self._servers, log=log)
        self._shown: dict[str, object] = {
            **({"zone": zone} if zone is not None else {}),
            **({"prefer_ip": True} if prefer_ip else {}),
            **login.credentials.shown,
        }

    def __repr__(self) -> str:
        shown = [repr(",".join(map(str, self._servers)))]
        shown += [f"{name}={value!r}" for name, value in self._shown.items()]
        return f"EurekaBackend({', '.join(shown)})"

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
        await finish(self._close(), CLOSE, role="close", service="eureka")

    async def _close(self) -> None:
        await self._poller.aclose()
        await self._transport.aclose()

    async def fetch(self, query: Query, cursor: Any) -> Reply:
        """The instances of a service; with a cursor, once a poll has found others.

        Without one the servers are asked at once, unless they were within the last second. A "consistent"
        read asks for the whole list: Eureka has no consistency to offer.
        """
        refuse_unknown(query, "Eureka")
        async with self._lifetime.call():
            if cursor is None:
                await self._poller.fresh(whole=query.consistency == "consistent")
            else:
                await self._poller.changed(cursor, lambda: self._state(query.service), self._wait)
        found = self._state(query.service)
        _, (instances, skipped) = found
        if query.server_filter:
            instances = tuple(instance for instance in instances if query.matches(instance))
        return Reply(instances, cursor=found, index=self._index(cursor), skipped=skipped)

    def _index(self, cursor: Any) -> int | None:
        """None, which a watch takes for one that went back, where the list is of another epoch."""
        return self._catalog.version if cursor is None or cursor[0] == self._catalog.epoch else None

    def _state(self, service: str) -> Any:
        return (self._catalog.epoch, self._catalog.find(service))

    async def fetch_names(self, cursor: Any) -> Names:
        """The names of all services, with their tags; waits as `fetch` does.

        Eureka has one in upper case only: it is told as its instances' virtual address is spelled, if that
        is the same name, and otherwise in lower case, as Spring does.
        """
        async with self._lifetime.call():
            if cursor is None:
                await self._poller.fresh()
            else:
                await self._poller.changed(cursor, self._names, self._wait)
        names = self._names()
        return Names(names[1], cursor=names, index=self._index(cursor))

    def _names(self) -> tuple[int, Mapping[str, tuple[str, ...]]]:
        return (self._catalog.epoch, self._catalog.names())

    async def local_host(self) -> str:
        """The address by which this machine reaches the servers.

        Where all of them are on this machine that is 127.0.0.1, and a warning is logged.
        """
        async with self._lifetime.call():
            return await self._local.find()

    async def register(self, record: Record, previous: Lease | None = None) -> Lease:
        """Post the record. What stands under its id is replaced in place and keeps its status."""
        async with self._lifetime.call():
            return await self._registry.register(record, previous)

    async def renew(self, lease: Lease, health: Health) -> None:
        """Send a heartbeat, and post the record anew if the status is another.

        What somebody else has registered under the same id is left to them, with a warning.
        """
        async with self._lifetime.call():
            await self._registry.renew(lease, health)

    async def drain(self, lease: Lease, on: bool) -> None:
        """Override the status with OUT_OF_SERVICE, or end that."""
        async with self._lifetime.call():
            await self._registry.drain(lease, on)

    async def deregister(self, lease: Lease) -> None:
        """Remove the instance; what somebody else has registered since stays."""
        async with self._lifetime.call():
            await self._registry.deregister(lease)
