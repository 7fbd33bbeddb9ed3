"""Registrations: an instance each, kept by heartbeats."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from asyncsd._checks import Health, TTLCheck
from asyncsd._errors import BackendError, NotRegisteredError, UnsupportedError
from asyncsd._models import Status
from asyncsd._protocols import Lease
from asyncsd._registration import Record

from ._answers import AbsentError
from ._codec import DRAINED, application_of, body_of, eureka_status, segment, status_of
from ._messages import Info, One
from ._transport import Transport

__all__ = ["Registry"]

log = logging.getLogger("asyncsd.eureka")

NOWHERE = "instances can't be registered there: is it a Eureka server, and its path the right one?"


@dataclass(slots=True)
class Standing:
    """What a registration says, and its version: Eureka takes the latest, by its `dirty` timestamp.

    `sent` is the last version that may have reached a server: a request that was cut off may have.
    """

    dirty: int
    sent: int
    status: Status
    drained: bool = False
    disputed: bool = False
    """Whether a later registration was found under its id, and that was logged."""


class Registry:
    """Writes registrations. An instance belongs to whoever registered it last: it is left alone by others.

    `now` is the time of day in seconds: machines have to agree on it, and on nothing else.
    """

    def __init__(
        self, transport: Transport, *, zone: str | None, now: Callable[[], float] = time.time
    ) -> None:
        self._transport = transport
        self._zone = zone
        self._now = now

    async def register(self, record: Record, previous: Lease | None) -> Lease:
        """Post the record, in place of what stands under its id; a status that stands is kept."""
        refuse_checks(record)
        before: Standing | None = previous.state if previous is not None else None
        found = await self._find(record)
        initial: Status = record.checks[0].initial_status if record.checks else "passing"
        standing = Standing(dirty=0, sent=0, status=initial)
        if before is not None:
            standing.status, standing.drained = before.status, before.drained
        elif found is not None:
            standing.status = status_of(found)
            if found.metadata.get(DRAINED) == "true":
                # Whoever drained it was leaving. What an operator has taken out of service stays so.
                await self._override(record, standing.status, on=False)
        known = found.last_dirty_timestamp if found is not None else 0
        if before is not None:
            standing.dirty = before.sent = self._next(max(known, before.sent))
        else:
            standing.dirty = self._next(known)
        standing.sent = standing.dirty
        await self._post(record, standing)
        if before is not None and previous is not None and _path(previous.record) != _path(record):
            await self.deregister(previous)
        return Lease(record, where=str(self._transport.server), state=standing)

    async def renew(self, lease: Lease, health: Health) -> None:
        """Send a heartbeat, and post the record anew where the status is another."""
        standing: Standing = lease.state
        parameters = {"status": eureka_status(standing.status), "lastDirtyTimestamp": str(standing.dirty)}
        try:
            await self._transport.send("PUT", _path(lease.record), parameters=parameters)
        except AbsentError as exc:  # It was evicted, the server is another, or it missed the last change.
            raise self._lost(lease) from exc
        is_news = lease.record.ttl is not None and health.status != standing.status
        if is_news and await self._is_own(lease):
            await self._say(lease, health.status, drained=standing.drained)

    async def drain(self, lease: Lease, on: bool) -> None:
        """Take the instance out of service, or back."""
        standing: Standing = lease.state
        if await self._is_own(lease):
            await self._override(lease.record, standing.status, on=on)
            await self._say(lease, standing.status, drained=on)

    async def deregister(self, lease: Lease) -> None:
        """Remove the instance, where it is still the lease's own."""
        # When registering was cut off, nobody knows what stands there.
        if lease.state is not None:
            try:
                if not await self._is_own(lease):
                    return
            except NotRegisteredError:
                return
        with suppress(AbsentError):
            await self._transport.send("DELETE", _path(lease.record))

    async def _say(self, lease: Lease, status: Status, *, drained: bool) -> None:
        """Post the record with another status, which is remembered once it was taken."""
        standing: Standing = lease.state
        standing.sent = self._next(standing.sent)
        said = Standing(standing.sent, standing.sent, status, drained)
        await self._post(lease.record, said)
        standing.dirty, standing.status, standing.drained = said.dirty, status, drained

    async def _is_own(self, lease: Lease) -> bool:
        """Whether nobody has registered under the id since. NotRegisteredError where nothing stands there."""
        standing: Standing = lease.state
        found = await self._find(lease.record)
        if found is None:
            raise self._lost(lease)
        if found.last_dirty_timestamp <= standing.sent:
            standing.disputed = False
            return True
        if not standing.disputed:
            standing.disputed = True
            log.warning(
                "%s of %r was registered by somebody else under the same id: it is left to them",
                lease.record.id,
                lease.record.service,
            )
        return False

    async def _find(self, record: Record) -> Info | None:
        """What stands under the record's id. No cache lies between, unlike with the lists."""
        path = _path(record)
        try:
            return (await self._transport.ask(lambda server: self._transport.get(server, path, One))).instance
        except AbsentError:
            return None

    def _next(self, version: int) -> int:
        """A later version: the time of day in milliseconds, unless a clock went back."""
        return max(int(self._now() * 1000), version + 1)

    async def _post(self, record: Record, said: Standing) -> None:
        body = body_of(record, said.status, zone=self._zone, drained=said.drained, dirty=said.dirty)
        try:
            await self._transport.send("POST", f"/apps/{application_of(record.service)}", body)
        except AbsentError as exc:
            raise BackendError(NOWHERE, url=exc.url, status=404) from exc

    async def _override(self, record: Record, status: Status, *, on: bool) -> None:
        path = f"{_path(record)}/status"
        value = "OUT_OF_SERVICE" if on else eureka_status(status)
        with suppress(AbsentError):  # Gone since it was looked at: the heartbeat will tell.
            await self._transport.send("PUT" if on else "DELETE", path, parameters={"value": value})

    def _lost(self, lease: Lease) -> NotRegisteredError:
        return NotRegisteredError(
            f"{lease.record.id!r} isn't registered (any more): the server doesn't know it",
            url=str(self._transport.server),
        )


def _path(record: Record) -> str:
    return f"/apps/{application_of(record.service)}/{segment(record.id)}"


def refuse_checks(record: Record) -> None:
    """UnsupportedError for a check that somebody else would have to run."""
    for check in record.checks:
        if not isinstance(check, TTLCheck):
            raise UnsupportedError(
                f"Eureka runs no checks, and {type(check).__name__} needs a registry that does: use TTLCheck"
            )
