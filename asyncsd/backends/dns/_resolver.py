"""What DNS says of a name: by any of several name servers, by UDP or TCP, along its aliases."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from asyncsd._errors import BackendError, BadRequestError, ProtocolError, UnreachableError
from asyncsd._protocols import Clock
from asyncsd.backends._shared._rotation import Rotation
from asyncsd.backends._shared._single_flight import SingleFlight

from ._exchange import PAYLOAD, Exchange, TruncatedError
from ._servers import NameServer, located, system_servers

__all__ = ["Answer", "Resolver", "name_of", "records_of"]

log = logging.getLogger("asyncsd.dns")

Question: TypeAlias = tuple[dns.name.Name, dns.rdatatype.RdataType]

Told: TypeAlias = tuple[dns.message.Message, dns.message.ChainingResult]

LARGE = PAYLOAD // 2
"""An answer by UDP of more bytes may have been cut without a word, as Consul does: it is asked for by TCP.

What was cut to fit is less than a record short of PAYLOAD, and few records are half of that.
"""
FULL = 65_000
"""An answer by TCP of more bytes was cut, most probably. (Consul may set the flag for that on any.)"""
ALIASES = 8
"""So many answers are followed that name but another name; each may hold a chain of aliases itself."""


class ServerFailedError(BackendError):
    """The name server answered that it can't or won't tell; another one may."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The records of a name, none for one that isn't there.

    `ttl` is for how many seconds they hold, None for what isn't there and came without an SOA.
    """

    records: tuple[Any, ...]
    ttl: int | None
    additional: Sequence[dns.rrset.RRset] = ()


def records_of(rrset: Any) -> tuple[Any, ...]:
    """The records of a set, which are of whatever type the set is of."""
    return tuple(rrset)


def name_of(text: str) -> dns.name.Name:
    """A name in DNS, always a whole one. Raises BadRequestError for what can't be one."""
    if "\\" in text:
        raise BadRequestError(f"{text!r} can't be a name in DNS: there is no backslash in one")
    try:
        return dns.name.from_text(text)
    except dns.exception.DNSException as exc:
        raise BadRequestError(f"{text!r} can't be a name in DNS: {exc}") from exc


class Resolver:
    """Asks the name servers, the one that answered last first.

    `servers` None are the system's. Which these are, and where those are that are given by name, is found out
    again after none of them answered.
    """

    def __init__(
        self, servers: Sequence[NameServer] | None, *, exchange: Exchange, clock: Clock, tcp: bool
    ) -> None:
        self._given = servers
        self._exchange = exchange
        self._clock = clock
        self._tcp = tcp
        self._is_located = False
        self._locating: SingleFlight[None] = SingleFlight()
        self._rotation = self._made(servers or (NameServer("127.0.0.1"),))
        self._large: set[Question] = set()
        self._full: set[Question] = set()
        """Those whose answers seem not to be whole by TCP either, which is told once."""

    def _made(self, servers: Sequence[NameServer]) -> Rotation[NameServer]:
        passes_on = (UnreachableError, ServerFailedError, ProtocolError)
        return Rotation(servers, what="DNS", clock=self._clock, log=log, passes_on=passes_on)

    async def open(self) -> None:
        """Read which servers the system has, if it is these. Raises ValueError where there is none."""
        if self._given is None:
            await self._locate()

    async def _locate(self) -> None:
        if self._given is None:
            servers = await asyncio.to_thread(system_servers)
        else:
            servers = await located(self._given)
        if servers != self._rotation.servers:
            self._rotation = self._made(servers)
        self._is_located = True

    async def ask(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> Answer:
        """The records of one kind that a name has, or what it is an alias of.

        Raises UnreachableError where no server answers, and else the last one's error.
        """
        ttl: int | None = None
        for _ in range(ALIASES):
            message, chain = await self._rotated(partial(self._ask, name, kind))
            ttl = chain.minimum_ttl if ttl is None else min(ttl, chain.minimum_ttl)
            if chain.answer is not None:
                return Answer(records_of(chain.answer), ttl, message.additional)
            has_end = message.rcode() == dns.rcode.NXDOMAIN or _soa(message)
            if chain.canonical_name == name or has_end:
                return Answer((), ttl if _soa(message) else None)
            name = chain.canonical_name  # This server doesn't look up for us where the alias leads.
        raise BackendError(f"{name} is an alias of an alias, and so on for ever")

    async def _rotated(self, ask: Callable[[NameServer], Awaitable[Told]]) -> Told:
        if not self._is_located:
            try:
                await self._locating.do(self._locate)
            except ValueError as exc:
                log.debug("the old name servers stay: %s", exc)
        try:
            return await self._rotation.ask(ask)
        except UnreachableError:
            self._is_located = False
            raise

    async def _ask(self, name: dns.name.Name, kind: dns.rdatatype.RdataType, server: NameServer) -> Told:
        """What one server says, if it says anything."""
        query = dns.message.make_query(name, kind, use_edns=0, payload=PAYLOAD)
        message = await self._whole(server, query, (name, kind))
        code = message.rcode()
        if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            told = dns.rcode.to_text(code)
            hint = ": does it serve this domain, and this machine?" if code == dns.rcode.REFUSED else ""
            raise ServerFailedError(f"{told} for {name} {dns.rdatatype.to_text(kind)}{hint}", url=str(server))
        if message.flags & dns.flags.TC and code == dns.rcode.NOERROR and not message.answer:
            # Taken as it stands, it would say that there is nothing.
            raise ServerFailedError(f"its answer for {name} was cut by TCP too", url=str(server))
        if _refers(message):
            text = f"it refers to others for {name}: use a resolver, or the domain's own server"
            raise ServerFailedError(text, url=str(server))
        return message, _chain(message, str(server))

    async def _whole(
        self, server: NameServer, query: dns.message.Message, asked: Question
    ) -> dns.message.Message:
        """By UDP, and by TCP where that isn't enough: an answer that was large is asked for so again."""
        if self._tcp or asked in self._large:
            message = await self._exchange.tcp(server, query)
        else:
            try:
                message = await self._exchange.udp(server, query)
            except TruncatedError:
                message = await self._exchange.tcp(server, query)
            else:
                if len(message.wire or b"") <= LARGE:
                    return message
                try:
                    message = await self._exchange.tcp(server, query)
                except UnreachableError as exc:
                    log.debug("taken as whole, since it can't be had by TCP: %s", exc)
                    return message
        if len(message.wire or b"") > LARGE:
            self._large.add(asked)
        else:
            self._large.discard(asked)
        if len(message.wire or b"") > FULL and asked not in self._full:
            self._full.add(asked)
            text = "%s: the answer of %s is as large as one can be: what didn't fit is missing"
            log.warning(text, asked[0].to_text(omit_final_dot=True), server)
        return message


def _chain(message: dns.message.Message, url: str) -> dns.message.ChainingResult:
    """Along the aliases in one answer."""
    if not isinstance(message, dns.message.QueryMessage):
        raise ProtocolError("the answer is no answer to a query", url=url)
    try:
        return message.resolve_chaining()
    except dns.exception.DNSException as exc:
        raise ProtocolError(f"the answer contradicts itself: {exc}", url=url) from exc


def _soa(message: dns.message.Message) -> bool:
    """Whether it says for how long there is nothing (RFC 2308)."""
    return any(rrset.rdtype == dns.rdatatype.SOA for rrset in message.authority)


def _refers(message: dns.message.Message) -> bool:
    """Whether it is no answer, but the address of who may have one."""
    kinds = {rrset.rdtype for rrset in message.authority}
    is_nothing = message.rcode() == dns.rcode.NOERROR and not message.answer
    return is_nothing and dns.rdatatype.NS in kinds and dns.rdatatype.SOA not in kinds
