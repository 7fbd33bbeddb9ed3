"""Who runs the checks."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import aiohttp

from asyncsd._probes import (
    Contexts,
    GRPCProbe,
    HTTPProbe,
    Result,
    TCPProbe,
    Thresholds,
    cut,
    missing_extra,
    open_session,
    valid,
)
from asyncsd._protocols import Clock
from asyncsd._tasks import TaskOwner
from asyncsd.agent._state._catalog import Catalog
from asyncsd.agent._state._definitions import CheckDefinition
from asyncsd.agent._state._structs import Status

from ._alias import follow
from ._deadlines import Deadlines
from ._reaper import Reaper

__all__ = ["NoTTL", "Runners", "cannot_run"]

Probe: TypeAlias = Callable[[], Awaitable[Result]]

logger = logging.getLogger("asyncsd.agent")

MIN_INTERVAL = 1.0
"""Seconds: Consul's `MinInterval`. What asks to be checked more often is checked so often."""

DEFAULT_TIMEOUT = 10.0
"""Seconds that one try may take, where the check doesn't say."""

EXPIRED = "TTL expired"


class NoTTL(Exception):
    """Something was said of a check that has no TTL."""

    def __init__(self, check_id: str) -> None:
        super().__init__(f'CheckID "{check_id}" does not have associated TTL')


def cannot_run(definition: CheckDefinition) -> str | None:
    """Why no agent here can run this check, None if it can."""
    missing = missing_extra() if definition.grpc else None
    return f"this agent can't run gRPC checks: {missing}" if missing else None


class Runners:
    """The checks of an agent. What they find out is told to `update`; `remove` is given the services to reap.

    Checks that ask something run in a task each; those with a TTL share a timer. `catalog` and `node`, the
    agent's own, are what an alias looks at. All methods but `aclose` are synchronous.
    """

    def __init__(
        self,
        update: Callable[[str, Status, str], None],
        *,
        remove: Callable[[str], None],
        catalog: Catalog,
        node: str,
        clock: Clock,
        rng: random.Random,
        deregister_after_min: float = 60.0,
        reap_interval: float = 30.0,
    ) -> None:
        self._update = update
        self._catalog = catalog
        self._node = node
        self._clock = clock
        self._rng = rng
        self._owner = TaskOwner()
        self._running: dict[str, _Running] = {}
        self._deadlines = Deadlines(self._expired, clock=clock, owner=self._owner)
        self._reaper = Reaper(remove, clock=clock, least=deregister_after_min, interval=reap_interval)
        self._reaping: asyncio.Task[None] | None = None
        self._contexts = Contexts()
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"Runners({len(self._running)} checks, {len(self._owner)} tasks)"

    def start(self, definition: CheckDefinition) -> None:
        """Run this check from now on, in place of one with its id; its counts and its TTL begin anew."""
        if self._closed:
            return
        old = self._running.get(definition.check_id)
        self.stop(definition.check_id)
        run = _Running(definition, old.status if old else definition.status)
        self._running[definition.check_id] = run
        if self._reaper.watch(definition) and self._reaping is None:
            self._reaping = self._owner.spawn(self._reaper.run(), role="check", service="reaper")
        if definition.ttl > 0:
            self._deadlines.set(definition.check_id, definition.ttl)
        elif (work := self._work(run)) is not None:
            run.task = self._owner.spawn(work, role="check", service=definition.check_id)

    def stop(self, check_id: str) -> None:
        """Run it no more: nothing is told of it from now on. One that doesn't run is no error."""
        run = self._running.pop(check_id, None)
        self._deadlines.drop(check_id)
        self._reaper.forget(check_id)
        if run is not None and run.task is not None:
            run.task.cancel()

    def heard(self, check_id: str, status: Status, output: str) -> None:
        """Tell what a client says of its check, cut to size, and let the TTL begin anew.

        NoTTL for a check that isn't of this kind.
        """
        run = self._running.get(check_id)
        if run is None or run.definition.ttl <= 0:
            raise NoTTL(check_id)
        run.heard = cut(output, run.definition.output_max_size)
        self._tell(run, status, run.heard)
        self._deadlines.set(check_id, run.definition.ttl)

    async def aclose(self) -> None:
        """Stop all, and close what they share. Idempotent."""
        self._closed = True
        self._running.clear()
        try:
            await self._owner.aclose()
        finally:
            session, self._session = self._session, None
            if session is not None:
                await session.close()

    def _work(self, run: "_Running") -> Coroutine[Any, Any, None] | None:
        """What the task of a check does, in the order that Consul looks; None if there is nothing to do."""
        check = run.definition
        timeout = check.timeout if check.timeout > 0 else DEFAULT_TIMEOUT
        clock, contexts = self._clock, self._contexts
        probe: Probe
        if check.http:
            probe = HTTPProbe(
                check.http,
                method=check.method,
                headers=[(name, value) for name, values in check.header.items() for value in values],
                body=check.body,
                redirects=not check.disable_redirects,
                skip_verify=check.tls_skip_verify,
                server_name=check.tls_server_name,
                output_max_size=check.output_max_size,
                timeout=timeout,
                session=self._open,
                contexts=contexts,
                clock=clock,
            )
        elif check.tcp:
            probe = TCPProbe(check.tcp, timeout=timeout, clock=clock)
        elif check.grpc:
            probe = GRPCProbe(
                check.grpc,
                tls=check.grpc_use_tls,
                skip_verify=check.tls_skip_verify,
                server_name=check.tls_server_name,
                timeout=timeout,
                contexts=contexts,
                clock=clock,
            )
        elif check.alias_node or check.alias_service:
            say = partial(self._tell, run)
            return follow(check, say, catalog=self._catalog, node=self._node)
        else:
            return None
        return self._probe(run, probe)

    async def _probe(self, run: "_Running", probe: Probe) -> None:
        thresholds = Thresholds(
            success_before_passing=run.definition.success_before_passing,
            failures_before_warning=run.definition.failures_before_warning,
            failures_before_critical=run.definition.failures_before_critical,
        )
        interval = max(run.definition.interval, MIN_INTERVAL)
        # Somewhere in the interval, so that checks that were registered together don't run together.
        await self._clock.sleep(self._rng.uniform(0, interval))
        while True:
            try:
                result = await probe()
            except Exception as bug:
                logger.exception("check %s failed by a bug", run.definition.check_id)
                result = Result("critical", f"{type(bug).__name__}: {bug}")
            if (told := thresholds.take(result)) is not None:
                self._tell(run, *told)
            await self._clock.sleep(interval)

    def _expired(self, check_id: str) -> None:
        run = self._running[check_id]
        said = f"{EXPIRED} (last output before timeout follows): {run.heard}" if run.heard else EXPIRED
        self._tell(run, "critical", said)

    def _tell(self, run: "_Running", status: Status, output: str) -> None:
        check_id = run.definition.check_id
        if self._running.get(check_id) is not run:
            return  # stopped, or replaced, while it asked
        if status != run.status:
            logger.info("check %s is %s, was %s", check_id, status, run.status)
            run.status = status
        self._reaper.heard(check_id, status)
        self._update(check_id, status, valid(output))

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = open_session()
        return self._session


@dataclass(slots=True)
class _Running:
    """A check that runs."""

    definition: CheckDefinition
    status: Status
    heard: str = ""
    """What a client last said of its TTL check."""
    task: asyncio.Task[None] | None = None
