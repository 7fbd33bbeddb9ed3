"""Registrations: a lease each, and a key that lives as long as it."""

import logging
import math
from dataclasses import dataclass
from typing import Any

from asyncsd._checks import Health, TTLCheck
from asyncsd._errors import BackendError, NotRegisteredError, UnreachableError, UnsupportedError
from asyncsd._models import Status
from asyncsd._protocols import Lease
from asyncsd._registration import Record
from asyncsd.backends._shared._value import status_of, value_of

from ._answers import LeaseGoneError, UnavailableError, error_of
from ._keys import Keys
from ._messages import Grant, KeepAlive, Txn
from ._transport import Transport

__all__ = ["Registry"]

log = logging.getLogger("asyncsd.etcd")

LEAST_TTL = 2
"""Seconds: an etcd of the usual settings makes a shorter lease longer, to this."""
TXN, REVOKE = "/v3/kv/txn", "/v3/lease/revoke"


@dataclass(slots=True)
class Standing:
    """What a registration stands on: its lease (0 for none), and what its value says."""

    lease: int
    status: Status
    drained: bool = False
    disputed: bool = False
    """Whether its key was found under another's lease, and that was logged."""


class Registry:
    """Writes registrations. A key belongs to whoever's lease it has: it is left alone by others."""

    def __init__(self, transport: Transport, keys: Keys) -> None:
        self._transport = transport
        self._keys = keys

    async def register(self, record: Record, previous: Lease | None) -> Lease:
        """Put the record, in place of what stands under its key; a status that stands is kept."""
        refuse_checks(record)
        before: Standing | None = previous.state if previous is not None else None
        if before is not None and previous is not None and previous.record.ttl == record.ttl:
            standing = Standing(before.lease, before.status, before.drained)
            try:
                await self._replace(record, standing, previous.record)
            except LeaseGoneError:
                pass  # It has run out: the record gets another.
            else:
                return self._lease(record, standing)
        standing = Standing(
            lease=await self._grant(record),
            status=before.status if before is not None else _first(record),
            drained=before is not None and before.drained,
        )
        try:
            if before is not None and previous is not None:
                await self._replace(record, standing, previous.record)
            else:
                await self._put_if_absent(record, standing)
        except BackendError as exc:
            if standing.lease and not isinstance(exc, UnreachableError | UnavailableError):
                await self._drop(standing.lease)  # Tried again and again, there would be more and more.
            raise
        return self._lease(record, standing)

    async def renew(self, lease: Lease, health: Health) -> None:
        """Keep the lease alive, and put the status if it is another."""
        standing: Standing = lease.state
        if standing.lease:
            kept = await self._transport.call("/v3/lease/keepalive", {"ID": str(standing.lease)}, KeepAlive)
            if kept.error is not None:
                raise error_of(kept.error, lease.where)
            if kept.result is None or kept.result.TTL <= 0:
                raise self._lost(lease, "its lease has run out")
            await self._say(lease, health.status, standing.drained)
        else:
            await self._say(lease, standing.status, standing.drained)

    async def drain(self, lease: Lease, on: bool) -> None:
        """Mark the instance as drained, or no longer."""
        standing: Standing = lease.state
        await self._say(lease, standing.status, on)

    async def deregister(self, lease: Lease) -> None:
        """Remove the key, where it is still the lease's own."""
        standing: Standing | None = lease.state
        if standing is not None and standing.lease:
            await self._drop(standing.lease, quietly=False)  # And with it the key that has it.
            return
        key = self._keys.record(lease.record)
        delete = {"request_delete_range": {"key": key}}
        # When registering was cut off, nobody knows which lease it has.
        compare = [] if standing is None else [_leased(key, 0)]
        await self._transport.call(TXN, {"compare": compare, "success": [delete]}, Txn)

    async def _grant(self, record: Record) -> int:
        if record.ttl is None:
            return 0
        seconds = max(LEAST_TTL, math.ceil(record.ttl))
        return (await self._transport.call("/v3/lease/grant", {"TTL": str(seconds)}, Grant)).ID

    async def _drop(self, lease: int, *, quietly: bool = True) -> None:
        try:
            await self._transport.call(REVOKE, {"ID": str(lease)}, dict[str, Any])
        except LeaseGoneError:
            pass
        except BackendError as exc:
            if not quietly:
                raise
            log.debug("lease %s is left to run out: %s", lease, exc)

    def _put(self, record: Record, standing: Standing) -> dict[str, Any]:
        value = value_of(record, standing.status, drained=standing.drained)
        put = {"key": self._keys.record(record), "value": value, "lease": str(standing.lease)}
        return {"request_put": put}

    async def _replace(self, record: Record, standing: Standing, previous: Record) -> None:
        operations = [self._put(record, standing)]
        old = self._keys.record(previous)
        if old != self._keys.record(record):
            operations.append({"request_delete_range": {"key": old}})
        await self._transport.call(TXN, {"success": operations}, Txn)

    async def _put_if_absent(self, record: Record, standing: Standing) -> None:
        key = self._keys.record(record)
        absent = {"target": "CREATE", "result": "EQUAL", "key": key, "create_revision": "0"}
        find = {"request_range": {"key": key}}
        request = {"compare": [absent], "success": [self._put(record, standing)], "failure": [find]}
        answer = await self._transport.call(TXN, request, Txn)
        if not answer.succeeded:
            known = None if answer.found is None else status_of(answer.found.value)
            if known is not None:
                standing.status = known
            await self._transport.call(TXN, {"success": [self._put(record, standing)]}, Txn)

    async def _say(self, lease: Lease, status: Status, drained: bool) -> None:
        """See that the key is there, and put it anew where what it says is another."""
        standing: Standing = lease.state
        key = self._keys.record(lease.record)
        said = Standing(standing.lease, status, drained)
        is_new = (status, drained) != (standing.status, standing.drained)
        request = {
            "compare": [_leased(key, standing.lease), _exists(key)],
            "success": [self._put(lease.record, said)] if is_new else [],
            "failure": [{"request_range": {"key": key}}],
        }
        try:
            answer = await self._transport.call(TXN, request, Txn)
        except LeaseGoneError:
            raise self._lost(lease, "its lease has run out") from None
        if answer.succeeded:
            standing.status, standing.drained, standing.disputed = status, drained, False
        elif answer.found is None:
            raise self._lost(lease, "its key is gone")
        elif not standing.disputed:
            standing.disputed = True
            log.warning(
                "%s was registered by somebody else under the same id: it is left to them", key.decode()
            )

    def _lost(self, lease: Lease, reason: str) -> NotRegisteredError:
        return NotRegisteredError(
            f"{lease.record.id!r} isn't registered any more: {reason}", url=str(self._transport.endpoint)
        )

    def _lease(self, record: Record, standing: Standing) -> Lease:
        return Lease(record, where=str(self._transport.endpoint), state=standing)


def refuse_checks(record: Record) -> None:
    """UnsupportedError for a check that somebody else would have to run."""
    for check in record.checks:
        if not isinstance(check, TTLCheck):
            raise UnsupportedError(
                f"etcd runs no checks, and {type(check).__name__} needs a registry that does: "
                "use TTLCheck, or run_checks=True"
            )


def _first(record: Record) -> Status:
    """The status before the first heartbeat."""
    return record.checks[0].initial_status if record.checks else "passing"


def _leased(key: bytes, lease: int) -> dict[str, Any]:
    return {"target": "LEASE", "result": "EQUAL", "key": key, "lease": str(lease)}


def _exists(key: bytes) -> dict[str, Any]:
    return {"target": "CREATE", "result": "GREATER", "key": key, "create_revision": "0"}
