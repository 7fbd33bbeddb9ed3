"""The checks of a registration that its own process runs, where the registry doesn't."""

import asyncio
import importlib
import importlib.util
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from ._checks import Check, GRPCCheck, Health, HTTPCheck, TCPCheck, TTLCheck, masked
from ._errors import UnsupportedError
from ._models import Status
from ._protocols import Clock
from ._registration import Record
from ._tasks import TaskOwner

if TYPE_CHECKING:  # It imports aiohttp.
    import aiohttp

    from ._probes import Contexts, Result

__all__ = ["Prober", "by_ttl"]

logger = logging.getLogger("asyncsd.registrar")

Probed: TypeAlias = HTTPCheck | TCPCheck | GRPCCheck

LEAST_INTERVAL = 1.0
"""Seconds: a check that asks to be run more often is run so often, as Consul does."""
PENDING = "not checked yet"
OUTPUT = 512
"""Bytes kept of what an HTTP check was answered: a heartbeat carries them."""


def _worst(statuses: Iterable[Status]) -> Status:
    found = set(statuses)
    return "critical" if "critical" in found else "warning" if "warning" in found else "passing"


def by_ttl(checks: Sequence[Check]) -> tuple[Check, ...]:
    """What the registry gets in place of `checks`: the TTLChecks among them, or one that is made for them."""
    ttls = tuple(check for check in checks if isinstance(check, TTLCheck))
    if ttls or not checks:
        return ttls
    first = checks[0]
    removals = [check.deregister_after for check in checks if check.deregister_after is not None]
    return (
        TTLCheck(
            id=first.id,
            name=first.name,
            notes=first.notes,
            deregister_after=min(removals, default=None),
            initial_status=_worst(check.initial_status for check in checks),
        ),
    )


class Prober:
    """Runs all but the TTLChecks of one registration; calls `changed` when their status is another."""

    def __init__(self, checks: Sequence[Check], *, clock: Clock, changed: Callable[[], None]) -> None:
        grpc = any(isinstance(check, GRPCCheck) for check in checks)
        if grpc and importlib.util.find_spec("h2") is None:
            raise UnsupportedError("a GRPCCheck that is run here needs h2: pip install 'asyncsd[grpc]'")
        self._clock = clock
        self._changed = changed
        self._tasks = TaskOwner()
        self._told: list[Health] = []
        self._started = False
        self._session: aiohttp.ClientSession | None = None
        self._contexts: Contexts | None = None

    def take(self, record: Record) -> Record:
        """`record` with TTLChecks alone; its other checks are run from the first call on."""
        if not self._started:
            self._started = True
            for check in record.checks:
                if not isinstance(check, TTLCheck):
                    self._told.append(Health(check.initial_status, PENDING))
                    work = self._run(len(self._told) - 1, check, record.id)
                    self._tasks.spawn(work, role="check", service=record.service)
        return replace(record, checks=by_ttl(record.checks))

    def with_results(self, health: Health) -> Health:
        """`health` and what the checks say, as one: the worst status, and all notes."""
        parts = [health, *self._told]
        return Health(
            _worst(each.status for each in parts), "; ".join(each.note for each in parts if each.note)
        )

    async def aclose(self) -> None:
        """Stop the checks. Idempotent."""
        try:
            await self._tasks.aclose()
        finally:
            session, self._session = self._session, None
            if session is not None:
                await session.close()

    async def _run(self, number: int, check: Probed, id: str) -> None:
        # Reading it takes its time, so not on the loop.
        await asyncio.to_thread(importlib.import_module, "asyncsd._probes")
        from ._probes import Result, Thresholds

        probe = self._probe(check)
        thresholds = Thresholds(
            success_before_passing=check.success_before_passing,
            failures_before_critical=check.failures_before_critical,
        )
        interval = max(check.interval, LEAST_INTERVAL)
        started = False
        while True:
            try:
                result = await probe()
            except Exception as bug:
                logger.exception("a check of %s failed by a bug", id)
                result = Result("critical", f"{type(bug).__name__}: {bug}")
            if (told := thresholds.take(result)) is not None:
                before, self._told[number] = self._told[number], Health(told.status, told.output)
                if told.status != before.status:
                    logger.info("a check of %s is %s, was %s", id, told.status, before.status)
                if told.status != before.status or before.note == PENDING:
                    self._changed()
            # What is only starting shouldn't be out of rotation for a whole interval.
            started = started or result.status != "critical"
            await self._clock.sleep(interval if started else LEAST_INTERVAL)

    def _probe(self, check: Probed) -> Callable[[], Awaitable["Result"]]:
        from ._probes import Contexts, GRPCProbe, HTTPProbe, TCPProbe

        contexts = self._contexts = self._contexts or Contexts()
        match check:
            case HTTPCheck():
                headers = list(check.headers.items())
                if not any(name.lower() == "user-agent" for name, _ in headers):
                    headers.append(("User-Agent", "asyncsd health check"))
                return HTTPProbe(
                    check.url,
                    method=check.method,
                    headers=headers,
                    body=check.body,
                    redirects=True,
                    skip_verify=check.tls_skip_verify,
                    server_name=check.tls_server_name or "",
                    output_max_size=OUTPUT,
                    shown=masked(check.url),
                    timeout=check.timeout,
                    session=self._open,
                    contexts=contexts,
                    clock=self._clock,
                )
            case TCPCheck():
                return TCPProbe(check.target or "", timeout=check.timeout, clock=self._clock)
            case GRPCCheck():
                return GRPCProbe(
                    f"{check.target}/{check.service}" if check.service else check.target or "",
                    tls=check.tls,
                    skip_verify=check.tls_skip_verify,
                    server_name=check.tls_server_name or "",
                    timeout=check.timeout,
                    contexts=contexts,
                    clock=self._clock,
                )

    def _open(self) -> "aiohttp.ClientSession":
        from ._probes import open_session

        if self._session is None:
            self._session = open_session()
        return self._session
