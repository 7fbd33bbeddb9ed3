"""The backend: what the core asks, in Consul's terms."""

import asyncio
import logging
import random
import ssl as _ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Literal, Self, TypeVar

import aiohttp

from asyncsd._checks import Health, TTLCheck
from asyncsd._clock import LoopClock
from asyncsd._errors import (
    BackendError,
    NotRegisteredError,
    UnreachableError,
)
from asyncsd._models import Names, Query, Reply
from asyncsd._protocols import Clock, Lease
from asyncsd._registration import Record
from asyncsd._tasks import TaskOwner, finish
from asyncsd._values import as_flag, duration
from asyncsd.backends._shared._tls import TLS, File

from ._answers import Answer, checked, is_unknown, known_leader, parse_index
from ._calls import Calls
from ._client import ConsulClient
from ._decode import decode_names, decode_service
from ._direct import DirectClient
from ._feeds import Feeds
from ._hosts import Hosts
from ._orphans import Orphans
from ._reading import Cursor, Reader, expected
from ._slots import Slots
from ._token import Token, token_source
from ._transport import Agent, Transport
from ._url import parse_addresses
from ._wire import check_id, payload

__all__ = ["ConsulBackend"]

T = TypeVar("T")

log = logging.getLogger("asyncsd.consul")

LONGEST_WAIT = 600.0
"""The agent's own limit of a blocking query (agent/consul/rpc.go)."""
NOTE = 1000
"""How many characters of a note are sent: it travels in the URL, and the agent keeps 4 KB."""
DEFAULT = "http://127.0.0.1:8500"
CLOSE = 5.0


class ConsulBackend:
    """Consul as a registry: health by blocking queries, registrations on an agent.

    `url` is one agent's address or several (a list, or commas between): "http://127.0.0.1:8500",
    "localhost:8500", "https://…", "consul://…" or "unix:///path". Reads go to the next agent when one can't
    be reached or answers 5xx; a registration stands on one of them, and moves when that one can't be
    reached.

    `client` is "aio" (on `consul.aio`), "direct", or a ConsulClient of your own, which makes all that
    follows up to `session` its affair. `token` is a string or a callable, sync or async, that is called for
    each request; `token_file` is read again when it changes. `ca`, `cert`, `key` and `verify` are for
    https, and so is `ssl`, a context of your own in their place. `session` lends a ClientSession, which is
    left open.

    `wait` is how long, in seconds, the agent may hold a blocking query; at most `max_watches` of them are
    held at a time. More watches are told of changes by a feed of a few such queries, or take turns where
    there can be none. `datacenter` is for queries that name none.

    Runs with Consul 1.8.7 and later. What 1.8 lacks: `tls_server_name` of a check, which it refuses by a
    BadRequestError that names the field.

    Nothing happens before `async with`; a backend is opened once.

    >>> ConsulBackend("localhost:8500", client="direct", token="secret")
    ConsulBackend('http://localhost:8500', client='direct', token='***')
    """

    def __init__(
        self,
        url: str | Iterable[str] = DEFAULT,
        *,
        client: Literal["aio", "direct"] | ConsulClient = "aio",
        token: Token = None,
        token_file: File | None = None,
        ca: File | None = None,
        cert: File | None = None,
        key: File | None = None,
        verify: bool = True,
        ssl: _ssl.SSLContext | None = None,
        session: aiohttp.ClientSession | None = None,
        wait: float = 55.0,
        datacenter: str | None = None,
        max_watches: int = 100,
        connect_timeout: float = 3.0,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        duration("ConsulBackend.wait", wait)
        if wait > LONGEST_WAIT:
            raise ValueError(
                f"ConsulBackend.wait is at most {LONGEST_WAIT:g} s, Consul's own limit; got {wait!r}"
            )
        duration("ConsulBackend.connect_timeout", connect_timeout)
        if isinstance(max_watches, bool) or not isinstance(max_watches, int) or max_watches < 1:
            raise ValueError(f"ConsulBackend.max_watches is a whole number, 1 or more; got {max_watches!r}")
        self._wait = wait
        self._datacenter = datacenter
        self._clock: Clock = clock or LoopClock()
        self._transport: Transport | None = None
        self._shown: dict[str, object] = {"client": client} if client != "aio" else {}
        self._clients: tuple[ConsulClient, ...] = ()
        if isinstance(client, str):
            if client not in ("aio", "direct"):
                raise ValueError(f"ConsulBackend.client is 'aio', 'direct' or a ConsulClient; got {client!r}")
            self._addresses = parse_addresses(url)
            as_flag("ConsulBackend.verify", verify)
            tls = TLS("ConsulBackend", ca, cert, key, verify, ssl)
            if tls and not all(address.is_tls for address in self._addresses):
                raise ValueError(
                    "ConsulBackend: ca, cert, key, verify and ssl are for https:// agents (tls=true in a URL)"
                )
            self._transport = Transport(
                token=token_source(token, token_file, self._clock),
                tls=tls,
                clock=self._clock,
                max_watches=max_watches,
                connect_timeout=connect_timeout,
                session=session,
            )
            self._shown |= {"token": "***"} if token is not None else {}
            self._shown |= {"token_file": str(token_file)} if token_file is not None else {}
        else:
            if not isinstance(getattr(client, "where", None), str):
                raise TypeError(f"ConsulBackend.client is 'aio', 'direct' or a ConsulClient; got {client!r}")
            given: dict[str, object] = {
                "url": None if url == DEFAULT else url,
                "token": token,
                "token_file": token_file,
                "ca": ca,
                "cert": cert,
                "key": key,
                "verify": None if verify else verify,
                "ssl": ssl,
                "session": session,
            }
            names = [name for name, value in given.items() if value is not None]
            if names:
                raise ValueError(
                    f"ConsulBackend: {', '.join(names)}: a client of your own sees to that itself"
                )
            self._addresses = parse_addresses(client.where)
            self._clients = (client,)
        self._reading = 0
        self._client = client
        self._tasks = TaskOwner()
        slots = Slots(max_watches) if self._transport is None else self._transport.slots
        self._feeds = Feeds(slots, self._tasks, wait=wait, clock=self._clock)
        self._reader = Reader(self._feeds, wait=wait, clock=self._clock, rng=rng or random.Random())
        self._orphans = Orphans(self._tasks, self._clock, self._remove)
        self._calls = Calls("ConsulBackend")
        self._hosts = Hosts(self._calls)

    def __repr__(self) -> str:
        shown = [repr(",".join(map(str, self._addresses)))]
        shown += [f"{name}={value!r}" for name, value in self._shown.items()]
        return f"ConsulBackend({', '.join(shown)})"

    @property
    def is_open(self) -> bool:
        return self._calls.is_open

    @property
    def datacenter(self) -> str | None:
        """The one of queries that name none; None for the agent's own. A composite calls it by this."""
        return self._datacenter

    @property
    def clients(self) -> tuple[ConsulClient, ...]:
        """A client for each agent, once it is open: for requests of your own, such as maintenance."""
        return self._clients

    async def __aenter__(self) -> Self:
        """Open it. Raises ValueError for certificate files that can't be used."""
        self._calls.refuse_second()
        if self._transport is not None:
            # To import the library reads files, and takes a tenth of a second.
            make = await asyncio.to_thread(_aio_client) if self._client == "aio" else DirectClient
            await self._transport.open(self._addresses)
            agents = [Agent(self._transport, address) for address in self._addresses]
            self._clients = tuple(map(make, agents))
            self._feeds.open(dict(zip(self._clients, agents, strict=True)))
        self._calls.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End what is in flight with ClosedError, and close the connections. Idempotent."""
        self._calls.close()
        await finish(self._aclose(), CLOSE, role="close", service="consul")

    async def _aclose(self) -> None:
        await self._tasks.aclose()
        if self._transport is not None:
            await self._transport.aclose()

    async def fetch(self, query: Query, cursor: Cursor | None) -> Reply:
        """The instances of `query`; with a cursor, once they changed or after about `wait` seconds."""

        async def ask(client: ConsulClient) -> Reply:
            return await self._reader.fetch(client, query, self._datacenter, cursor)

        return (await self._read(ask))[1]

    async def fetch_names(self, cursor: Cursor | None) -> Names:
        """The names of all services; with a cursor, by a blocking query of `wait` seconds."""

        async def ask(client: ConsulClient) -> Answer:
            index = cursor.position if cursor is not None and cursor.client is client else None
            wait = None if index is None else self._wait
            answer = await client.services(datacenter=self._datacenter, index=index, wait=wait)
            return expected(checked(answer))

        client, answer = await self._read(ask)
        index = parse_index(answer)
        return Names(
            decode_names(answer),
            cursor=None if index is None else Cursor(index, client),
            index=index,
            known_leader=known_leader(answer),
        )

    async def local_host(self) -> str:
        """The address by which this machine reaches the agent; of an agent on this machine, the agent's own.

        An agent may tell its address only to a token with agent:read. Where it doesn't, 127.0.0.1 is given
        and a warning logged; over a unix socket an UnsupportedError is raised.
        """
        self._calls.check()
        failed: list[UnreachableError] = []
        for number in self._order():
            try:
                return await self._hosts.local(self._addresses[number], self._clients[number])
            except UnreachableError as exc:
                failed.append(exc)
        raise _unreachable(failed)

    async def register(self, record: Record, previous: Lease | None = None) -> Lease:
        """Register on the agent of `previous`, else on the first that can be reached.

        What is registered already under the id is replaced in place; the state of a check stays, and so does
        maintenance that somebody else has set, while the checks are the same ones.
        """
        self._calls.check()
        body = payload(record)
        # Consul holds maintenance as a check, which replacing the checks would remove.
        other_checks = previous is None or _check_ids(previous.record) != _check_ids(record)
        holder: ConsulClient | None = previous.state if previous is not None else None
        candidates = sorted(self._clients, key=lambda client: client is not holder)
        failed: list[tuple[ConsulClient, UnreachableError]] = []
        for client in candidates:
            try:
                answer = await self._calls.ask(client.register, body, replace_checks=other_checks)
                expected(checked(answer))
            except UnreachableError as exc:
                failed.append((client, exc))
                continue
            # It may stand where it stood, and also where no answer came.
            self._orphans.add(record.id, [other for other, _ in failed])
            self._orphans.discard(record.id, client)
            if holder is not None and holder is not client:
                log.info("%s moved from %s to %s", record.id, holder.where, client.where)
            return Lease(record, where=client.where, state=client)
        raise _unreachable([exc for _, exc in failed])

    async def renew(self, lease: Lease, health: Health) -> None:
        """Tell the health to every TTL check; without one, see that the agent has the service."""
        client: ConsulClient = lease.state
        record = lease.record
        ttl = [check_id(record, n) for n, check in enumerate(record.checks) if isinstance(check, TTLCheck)]
        note = health.note if len(health.note) <= NOTE else f"{health.note[: NOTE - 1]}…"
        note = note.encode(
            errors="replace"
        ).decode()  # An error's text may hold a file name that is no UTF-8.
        for id in ttl:
            _registered(lease, await self._calls.ask(client.ttl, id, health.status, note))
        if not ttl:
            _registered(lease, await self._calls.ask(client.service, record.id))
        self._orphans.look(record.id)

    async def observe(self, lease: Lease, cursor: str | None) -> str:
        """Wait until the agent's service differs from `cursor`, its hash."""
        client: ConsulClient = lease.state
        wait = None if cursor is None else self._wait
        answer = await self._calls.ask(client.service, lease.record.id, content_hash=cursor, wait=wait)
        _registered(lease, answer)
        return decode_service(answer).content_hash

    async def drain(self, lease: Lease, on: bool) -> None:
        """Put the service into Consul's maintenance, or out of it."""
        client: ConsulClient = lease.state
        reason = "draining" if on else ""
        _registered(lease, await self._calls.ask(client.maintenance, lease.record.id, on, reason))

    async def deregister(self, lease: Lease) -> None:
        """Remove the service from its agent, and from those where it stood before.

        A lease whose registering got no answer may stand on any agent: it is removed from all of them.
        """
        clients: tuple[ConsulClient, ...] = self._clients if lease.state is None else (lease.state,)
        failed: list[UnreachableError] = []
        for client in clients:
            try:
                await self._remove(client, lease.record.id)
            except UnreachableError as exc:
                failed.append(exc)
        if failed:
            raise _unreachable(failed)
        await self._orphans.finish(lease.record.id)

    async def _remove(self, client: ConsulClient, id: str) -> None:
        answer = await self._calls.ask(client.deregister, id)
        if not is_unknown(answer):
            checked(answer)

    def _order(self) -> list[int]:
        """The numbers of the agents, that which answered last first."""
        return sorted(range(len(self._clients)), key=lambda number: number != self._reading)

    async def _read(self, ask: Callable[[ConsulClient], Awaitable[T]]) -> tuple[ConsulClient, T]:
        """Ask the agent that answered last, and the others while it can't be reached, or is failing."""
        self._calls.check()
        errors: list[BackendError] = []
        for number in self._order():
            client = self._clients[number]
            try:
                answer = await self._calls.ask(ask, client)
            except BackendError as exc:
                # An agent that has lost its servers answers with a 500: another one may not have.
                failing = (exc.status or 0) >= 500 and not exc.permanent
                if not failing and not isinstance(exc, UnreachableError):
                    raise
                errors.append(exc)
                continue
            if errors and self._reading != number:
                log.info("reads go to %s now: %s", client.where, errors[0])
                self._reading = number
            return client, answer
        answered = [exc for exc in errors if not isinstance(exc, UnreachableError)]
        raise answered[0] if answered else _unreachable(errors)


def _aio_client() -> Callable[[Agent], ConsulClient]:
    from ._aio import AioClient  # This imports consul, which only this client needs.

    return AioClient


def _registered(lease: Lease, answer: Answer) -> None:
    """Refuse an answer that says that the agent doesn't know the lease."""
    if is_unknown(answer):
        raise NotRegisteredError(
            f"{lease.record.id!r} isn't registered on {lease.where}: {answer.text()}",
            url=answer.url,
            status=answer.status,
        )
    checked(answer)


def _check_ids(record: Record) -> set[str]:
    return {check_id(record, number) for number in range(len(record.checks))}


def _unreachable(errors: Sequence[BackendError]) -> BackendError:
    if len(errors) == 1:
        return errors[0]
    told = "; ".join(map(str, errors))
    error = UnreachableError(f"none of {len(errors)} agents can be reached: {told}")
    error.__cause__ = errors[-1]
    return error
