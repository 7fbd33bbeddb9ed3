"""Registrations: a key each, which is gone with its TTL."""

import logging
import math
import secrets
from dataclasses import dataclass

from asyncsd._checks import Health, TTLCheck
from asyncsd._errors import NotRegisteredError, UnsupportedError
from asyncsd._models import Status
from asyncsd._protocols import Lease
from asyncsd._registration import Record
from asyncsd.backends._shared._value import owner_of, status_of, value_of

from ._answers import ConflictError, MissingError, Node
from ._keys import Keys
from ._transport import Transport

__all__ = ["Registry"]

log = logging.getLogger("asyncsd.etcd2")

ATTEMPTS = 3
"""How often a write is tried whose condition failed: more than one is rare, since a key has one writer."""


@dataclass(slots=True)
class Standing:
    """What a registration stands on: the value under its key, and whose it is."""

    owner: str
    status: Status
    drained: bool = False
    value: bytes = b""
    disputed: bool = False
    """Whether its key was found with another's value, and that was logged."""


class Registry:
    """Writes registrations. A key belongs to whoever's value it has: it is left alone by others."""

    def __init__(self, transport: Transport, keys: Keys) -> None:
        self._transport = transport
        self._keys = keys

    async def register(self, record: Record, previous: Lease | None) -> Lease:
        """Put the record, in place of what stands under its key; a status that stands is kept."""
        refuse_checks(record)
        before: Standing | None = previous.state if previous is not None else None
        if previous is None or before is None:
            # Drawn by `secrets`: workers that were forked from one process share every random.Random.
            standing = Standing(owner=secrets.token_hex(4), status=_first(record))
            await self._create(record, standing)
        else:
            standing = Standing(before.owner, before.status, before.drained)
            await self._put(record, standing)
            old = self._keys.record(previous.record)
            if old != self._keys.record(record):
                await self._remove(old, standing.owner)
        return Lease(record, where=str(self._transport.endpoint), state=standing)

    async def renew(self, lease: Lease, health: Health) -> None:
        """Give the key its TTL anew, and put the status if it is another."""
        standing: Standing = lease.state
        status = standing.status if lease.record.ttl is None else health.status
        await self._say(lease, status, standing.drained)

    async def drain(self, lease: Lease, on: bool) -> None:
        """Mark the instance as drained, or no longer."""
        standing: Standing = lease.state
        await self._say(lease, standing.status, on)

    async def deregister(self, lease: Lease) -> None:
        """Remove the key, where it still has the lease's own value."""
        standing: Standing | None = lease.state
        # When registering was cut off, nobody knows what stands there.
        await self._remove(self._keys.record(lease.record), None if standing is None else standing.owner)

    async def _create(self, record: Record, standing: Standing) -> None:
        try:
            await self._put(record, standing, prevExist="false")
        except ConflictError:
            found = await self._find(self._keys.record(record))
            known = None if found is None else status_of(found.value.encode())
            standing.status = known or standing.status
            await self._put(record, standing)

    async def _put(self, record: Record, standing: Standing, **conditions: str | bytes) -> None:
        """Write what `standing` says, in one step; the key never is without a value."""
        standing.value = _value(record, standing)
        fields = {"value": standing.value, "ttl": _ttl(record), **conditions}
        await self._transport.put(self._keys.record(record), fields)

    async def _say(self, lease: Lease, status: Status, drained: bool) -> None:
        """See that the key has its value, with the TTL anew, or put another value in its place."""
        record, standing = lease.record, lease.state
        said = Standing(standing.owner, status, drained)
        said.value = _value(record, said)
        known: bytes = standing.value
        for attempt in range(ATTEMPTS):
            try:
                await self._replace(record, said, known)
                break
            except MissingError:
                raise self._lost(lease) from None
            except ConflictError:
                found = await self._find(self._keys.record(record))
                if found is None:
                    raise self._lost(lease) from None
                known = found.value.encode()
                if owner_of(known) != standing.owner:
                    self._dispute(lease)
                    return
                if attempt == ATTEMPTS - 1:
                    raise
        standing.status, standing.drained, standing.value = status, drained, said.value
        standing.disputed = False

    async def _replace(self, record: Record, said: Standing, known: bytes) -> None:
        """Put what is `said` in place of the value `known`; ConflictError where that doesn't stand there."""
        key = self._keys.record(record)
        if said.value != known:
            await self._put(record, said, prevValue=known)
        elif record.ttl is not None:
            # Such a write wakes nobody who waits for changes.
            fields: dict[str, str | bytes] = {"refresh": "true", "ttl": _ttl(record), "prevValue": known}
            await self._transport.put(key, fields)
        else:
            node = (await self._transport.get(key, exact=True)).node
            if node.value.encode() != known:
                raise ConflictError("another value stands there")

    def _dispute(self, lease: Lease) -> None:
        if not lease.state.disputed:
            lease.state.disputed = True
            log.warning(
                "%s was registered by somebody else under the same id: it is left to them",
                self._keys.record(lease.record),
            )

    async def _remove(self, key: str, owner: str | None) -> None:
        """Remove a key, whoever's it is for None; one that isn't there, or is another's, is no error."""
        for _ in range(ATTEMPTS):
            index: int | None = None
            if owner is not None:
                found = await self._find(key)
                if found is None or owner_of(found.value.encode()) != owner:
                    return
                index = found.modified_index
            try:
                await self._transport.delete(key, index)
            except ConflictError:
                continue
            except MissingError:
                pass
            return

    async def _find(self, key: str) -> Node | None:
        try:
            return (await self._transport.get(key, exact=True)).node
        except MissingError:
            return None

    def _lost(self, lease: Lease) -> NotRegisteredError:
        return NotRegisteredError(
            f"{lease.record.id!r} isn't registered any more: its key is gone",
            url=str(self._transport.endpoint),
        )


def refuse_checks(record: Record) -> None:
    """UnsupportedError for a check that somebody else would have to run."""
    for check in record.checks:
        if not isinstance(check, TTLCheck):
            raise UnsupportedError(
                f"etcd runs no checks, and {type(check).__name__} needs a registry that does: use TTLCheck"
            )


def _value(record: Record, standing: Standing) -> bytes:
    return value_of(record, standing.status, drained=standing.drained, owner=standing.owner)


def _first(record: Record) -> Status:
    """The status before the first heartbeat."""
    return record.checks[0].initial_status if record.checks else "passing"


def _ttl(record: Record) -> str:
    """The TTL in etcd's whole seconds; "" for none."""
    return "" if record.ttl is None else str(math.ceil(record.ttl))
