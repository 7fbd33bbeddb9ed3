"""What one registrar has in the registry: taken, watched, drained and given back, whatever is cut off."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ._checks import Health
from ._errors import BackendError, ClosedError, NotRegisteredError, UnreachableError, UnsupportedError
from ._pace import LEAST, MOST, Pace
from ._protocols import Clock, Lease, ObservingBackend, RegistryBackend
from ._reachability import Reachability
from ._registration import Record
from ._tasks import TaskOwner

__all__ = ["DRAINING", "LeaseHolder"]

logger = logging.getLogger("asyncsd.registrar")

T = TypeVar("T")

DRAINING = Health("critical", "draining")


class LeaseHolder:
    """Holds the lease of one registration, and makes the backend's calls with deadlines of its own.

    Where the backend can, it observes what it holds, and wakes `pace` once that is `lost`.
    """

    __slots__ = (
        "_backend",
        "_clock",
        "_leaving",
        "_observing",
        "_pace",
        "_reachability",
        "_submitting",
        "_tasks",
        "_unanswered",
        "lease",
        "lost",
    )

    def __init__(
        self,
        backend: RegistryBackend,
        *,
        clock: Clock,
        reachability: Reachability,
        pace: Pace,
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._reachability = reachability
        self._pace = pace
        self._tasks = TaskOwner()
        self._submitting: asyncio.Task[None] | None = None
        self._observing: asyncio.Task[None] | None = None
        self._unanswered: Record | None = None
        self._leaving = False
        self.lease: Lease | None = None
        self.lost: NotRegisteredError | None = None

    @property
    def stands(self) -> bool:
        """Whether the registry has taken it, and didn't say since that it has forgotten it."""
        return self.lease is not None and self.lost is None

    async def _ask(self, call: Coroutine[Any, Any, T], within: float) -> T:
        """The result of a call to the backend; past `within` seconds, the registry counts as unreachable."""
        try:
            async with self._clock.timeout(within):
                return await call
        except TimeoutError as exc:
            raise UnreachableError(f"the registry gave no answer within {within:.3g} s") from exc

    async def local_host(self, within: float) -> str:
        """The address by which this machine reaches the registry."""
        return await self._ask(self._backend.local_host(), within)

    async def submit(self, record: Record, within: float) -> None:
        """Register `record`, or replace what stands, in place; a backend may move it to another server.

        A cancellation leaves the request in flight, and `leave` sees to its end: a request that is cut off
        may still be taken, and even after the deregistration that follows.
        """
        self._submitting = self._tasks.spawn(
            self._register(record, within), role="register", service=record.service
        )
        await asyncio.wait((self._submitting,))
        self._submitting.result()

    async def _register(self, record: Record, within: float) -> None:
        self._unanswered = record
        try:
            lease = await self._ask(self._backend.register(record, previous=self.lease), within)
        except (BackendError, ClosedError) as exc:
            if exc.permanent or isinstance(exc, ClosedError):
                self._unanswered = None
            raise
        self.lease, self.lost = lease, None
        if self._observing is not None:
            await self._tasks.cancel(self._observing)
        if isinstance(self._backend, ObservingBackend) and not self._leaving:
            observing = self._observe(self._backend, lease)
            self._observing = self._tasks.spawn(observing, role="observe", service=record.service)
            self._observing.add_done_callback(lambda task: None if task.cancelled() else self._pace.wake())

    async def renew(self, health: Health, within: float) -> None:
        """Tell the registry how the process is; raises NotRegisteredError when it doesn't know it."""
        if self.lease is None:
            raise NotRegisteredError("nothing was registered yet")
        await self._ask(self._backend.renew(self.lease, health), within)

    async def _observe(self, backend: ObservingBackend, lease: Lease) -> None:
        """Notice at once that the registry forgot the lease; the next heartbeat would, later."""
        cursor: Any = None
        failures, pause = 0, LEAST
        while True:
            began = self._clock.time()
            try:
                cursor = await backend.observe(lease, cursor)
            except NotRegisteredError as exc:
                self.lost = exc
                return
            except UnreachableError:
                cursor = None
                self._reachability.down()
                await self._reachability.turn()
            except BackendError as exc:
                cursor = None
                await self._clock.sleep(self._pace.delay(exc, failures, stands=True))
                failures += 1
            else:
                failures = 0
                self._reachability.up()
            if self._clock.time() - began < MOST:
                await self._clock.sleep(pause)
                pause = min(MOST, pause * 2)
            else:
                pause = LEAST

    def found(self) -> NotRegisteredError | None:
        """The loss that the observer found; raises the bug that ended it."""
        if self._observing is not None and self._observing.done():
            self._observing.result()
        return self.lost

    async def leave(
        self, *, drain: float, linger: float, interval: float, draining: Callable[[], object]
    ) -> Exception | None:
        """Drain, then deregister; the error that kept it from being deregistered, if any.

        The calls may take `linger` seconds together, the drain its own. `draining` is called as it begins.
        A first cancellation skips what comes before the deregistration; one that meets that is raised.
        """
        self._leaving = True
        end = self._clock.time() + linger
        try:
            await self._settle(linger / 2)
            if self.lease is not None and drain > 0 and self.lost is None:
                draining()
                if await self._take_out(self.lease, end):
                    began = self._clock.time()
                    try:
                        await self._stay_out(self.lease, began + drain, interval)
                    finally:
                        end += self._clock.time() - began
        except asyncio.CancelledError:
            # Whoever wants it out of rotation first doesn't cancel this task. The end of the loop does: that
            # of `asyncio.run` after a second Ctrl-C, or with a registrar that nobody has waited for.
            held = self.lease.record if self.lease is not None else self._unanswered
            what = "?" if held is None else held.id
            logger.info("the leaving of %s is cut short: it is deregistered at once", what)
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
        if self.lease is not None:
            return await self._deregister(self.lease, end)
        if self._unanswered is not None:
            # No answer said that it stands, and none that it doesn't.
            return await self._deregister(Lease(self._unanswered, where=""), end, again=False)
        return None

    async def _settle(self, within: float) -> None:
        """Let a submission come to its end, for `within` seconds at most; nothing runs on after it."""
        tasks = [task for task in (self._submitting, self._observing) if task is not None]
        try:
            if self._submitting is not None:
                async with self._clock.timeout(within):
                    await asyncio.wait((self._submitting,))
        except TimeoutError:
            pass
        finally:
            await self._tasks.cancel(*tasks)

    async def _take_out(self, lease: Lease, end: float) -> bool:
        """Whether others could be told that it is out of rotation."""
        try:
            await self._ask(self._backend.drain(lease, True), self._half(end))
        except UnsupportedError:
            pass  # The heartbeats say it.
        except BackendError as exc:
            logger.warning("%s leaves without being drained: %s", lease.record.id, exc)
            return False
        return True

    async def _stay_out(self, lease: Lease, until: float, interval: float) -> None:
        """Wait, with heartbeats that say that it drains."""
        while (left := until - self._clock.time()) > 0:
            if lease.record.ttl is not None:
                try:
                    await self.renew(DRAINING, min(left, interval))
                except BackendError as exc:
                    logger.debug("a heartbeat of %s failed while it drained: %s", lease.record.id, exc)
            await self._clock.sleep(min(until - self._clock.time(), interval))

    async def _deregister(self, lease: Lease, end: float, *, again: bool = True) -> Exception | None:
        """Deregister, if need be `again` until `end`; the last error if it couldn't be done."""
        pause = LEAST
        while True:
            try:
                await self._ask(self._backend.deregister(lease), self._half(end))
            except (BackendError, ClosedError) as exc:
                permanent = isinstance(exc, ClosedError) or exc.permanent
                if permanent or not again or self._clock.time() + pause >= end:
                    return exc
                await self._clock.sleep(pause)
                pause = min(MOST, pause * 2)
            else:
                return None

    def _half(self, end: float) -> float:
        """Half of the time until `end`: what hangs leaves time for another try."""
        return max(LEAST, (end - self._clock.time()) / 2)
