"""The backend: what the core asks, in DNS's terms."""

import random
from collections.abc import Iterable
from typing import Literal, Self, TypeAlias

import dns.rdatatype

from asyncsd._clock import LoopClock
from asyncsd._errors import UnsupportedError
from asyncsd._models import Query, Reply
from asyncsd._protocols import Clock
from asyncsd._tasks import TaskOwner
from asyncsd._values import as_flag, as_port, as_text, duration
from asyncsd.backends._shared._lifetime import Lifetime

from ._exchange import Exchange
from ._lookup import Asked, Known, Lookups
from ._refresh import Refresh
from ._resolver import Resolver
from ._servers import parse_servers
from ._targets import Targets

__all__ = ["DNSBackend", "Kind"]

Kind: TypeAlias = Literal["SRV", "A", "AAAA"]

KINDS = {"SRV": dns.rdatatype.SRV, "A": dns.rdatatype.A, "AAAA": dns.rdatatype.AAAA}


class DNSBackend:
    """DNS as a registry to read: SRV records, or addresses with a port that is given. It can't register.

    `nameservers` are "10.0.0.1", "10.0.0.1:8600", "[::1]:53", "ns1.example", several in a list or with
    commas between; None are the system's, of /etc/resolv.conf. The one that answered last is asked first, and
    the next when it doesn't answer, or answers that it can't.

    `domain` is what follows the service's name: "service.consul" asks for users.service.consul. With
    "{service}" in it, it is the whole name: "_http._tcp.{service}.example.com". Without a domain, the
    services that are asked for are whole names themselves.

    `record` is what is asked for: "SRV", or with a `port`, "A" (or "AAAA"). SRV targets become their
    addresses, or stay names with `resolve=False`, for TLS. Who has the best priority is passing, and the
    others are "warning": `Query(service, status="warning")` takes them too.

    An answer is asked for again when its TTL is over, but no sooner than after `min_ttl` seconds and no later
    than after `max_ttl`. `wait` is how long a fetch waits for a change, `timeout` what a server has for
    an answer; in seconds. `tcp` asks by TCP alone; else that is done for answers too large for UDP.

    Nothing happens before `async with`; a backend is opened once.

    >>> DNSBackend("127.0.0.1:8600", domain="service.consul")
    DNSBackend('127.0.0.1:8600', domain='service.consul')
    """

    def __init__(
        self,
        nameservers: str | Iterable[str] | None = None,
        *,
        domain: str = "",
        record: Kind | None = None,
        port: int | None = None,
        resolve: bool = True,
        min_ttl: float = 1.0,
        max_ttl: float = 30.0,
        tcp: bool = False,
        wait: float = 55.0,
        timeout: float = 2.0,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        for name, seconds in (
            ("min_ttl", min_ttl),
            ("max_ttl", max_ttl),
            ("wait", wait),
            ("timeout", timeout),
        ):
            duration(f"DNSBackend.{name}", seconds)
        if max_ttl < min_ttl:
            raise ValueError(f"DNSBackend.max_ttl is min_ttl at least; got {max_ttl!r} < {min_ttl!r}")
        as_flag("DNSBackend.tcp", tcp)
        as_flag("DNSBackend.resolve", resolve)
        self._servers = None if nameservers is None else parse_servers(nameservers)
        usual = "SRV" if port is None else "A"
        kind = record or usual
        asked = Asked(_name(domain), _rdtype(kind, port), port or 0, resolve)
        self._shown: dict[str, object] = {
            **({"domain": domain} if domain else {}),
            **({"record": kind} if kind != usual else {}),
            **({"port": port} if port is not None else {}),
            **({"resolve": False} if not resolve else {}),
            **({"tcp": True} if tcp else {}),
        }
        self._wait = wait
        self._clock: Clock = clock or LoopClock()
        self._tasks = TaskOwner()
        self._lifetime = Lifetime("DNSBackend")
        exchange = Exchange(self._clock, timeout)
        self._resolver = Resolver(self._servers, exchange=exchange, clock=self._clock, tcp=tcp)
        refresh = Refresh(min_ttl, max_ttl, clock=self._clock, rng=rng or random.Random())
        targets = Targets(self._resolver, refresh=refresh, clock=self._clock)
        self._lookups = Lookups(self._resolver, asked, targets=targets, refresh=refresh, tasks=self._tasks)

    def __repr__(self) -> str:
        servers = [] if self._servers is None else [repr(",".join(server.short for server in self._servers))]
        return f"DNSBackend({', '.join([*servers, *(f'{k}={v!r}' for k, v in self._shown.items())])})"

    @property
    def is_open(self) -> bool:
        return self._lifetime.is_open

    async def __aenter__(self) -> Self:
        """Open it. Raises ValueError where the system's name servers are to be asked, and there are none."""
        self._lifetime.refuse_second()
        await self._resolver.open()
        self._lifetime.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End what is in flight with ClosedError. Idempotent."""
        self._lifetime.close()
        await self._tasks.aclose()

    async def fetch(self, query: Query, cursor: Known | None) -> Reply:
        """The instances of a service, asked for now; with a cursor, once they differ from it.

        A name that isn't there has no instances. Raises UnreachableError where no name server answers, and
        another BackendError where the last one to answer can't tell. DNS knows no better read for
        "consistent": a server between may have kept its answer for the TTL.
        """
        _refuse_unknown(query)
        async with self._lifetime.call():
            known = await (
                self._lookups.look(query.service) if cursor is None else self._changed(query, cursor)
            )
        instances = known.instances
        if query.server_filter:
            instances = tuple(instance for instance in instances if query.matches(instance))
        return Reply(instances, cursor=known, skipped=known.skipped)

    async def _changed(self, query: Query, cursor: Known) -> Known:
        """What is known once it differs from `cursor`, or when the wait is over."""
        end = self._clock.time() + self._wait
        known = cursor
        while True:
            # Somebody else may have asked meanwhile.
            known = self._lookups.latest(query.service) or known
            if self._clock.time() >= known.due:
                known = await self._lookups.look(query.service)
            left = end - self._clock.time()
            if known.instances != cursor.instances or left <= 0:
                return known
            await self._clock.sleep(min(left, known.due - self._clock.time()))


def _name(domain: str) -> str:
    """What is asked for, with "{service}" where the service's name goes."""
    as_text("DNSBackend.domain", domain)
    if "{service}" in domain:
        return domain
    if "{" in domain:
        raise ValueError(f"DNSBackend.domain has {{service}} where the name goes; got {domain!r}")
    bare = domain.strip(".")
    return f"{{service}}.{bare}" if bare else "{service}"


def _rdtype(kind: str, port: int | None) -> dns.rdatatype.RdataType:
    if kind not in KINDS:
        raise ValueError(f"DNSBackend.record is 'SRV', 'A' or 'AAAA'; got {kind!r}")
    if kind == "SRV" and port is not None:
        raise ValueError("DNSBackend.port goes with record='A' or 'AAAA': SRV records have their own")
    if kind != "SRV" and port is None:
        raise ValueError(f"DNSBackend.port is missing: {kind} records have none")
    if port is not None:
        as_port("DNSBackend.port", port)
    return KINDS[kind]


def _refuse_unknown(query: Query) -> None:
    """UnsupportedError for what DNS has nothing of: passed over, it would widen the answer, or empty it."""
    for name in ("tags", "datacenter", "filter", "node_meta", "max_stale"):
        if getattr(query, name):
            raise UnsupportedError(
                f"DNS has no {name}, which Query.{name} asks for: where names stand for it, use domain="
            )
