"""The registrar: registers a process, keeps it registered whatever happens to the registry, and takes it out.

One loop does everything: a beat submits what differs from what stands, and renews it; a failure is waited
out by its kind; then comes the next beat. All calls that write are made by that loop, one after the other.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ._clock import LoopClock
from ._config import Backoff, duration
from ._errors import BackendError, ClosedError, NotRegisteredError, RateLimitedError, UnreachableError
from ._health import HealthCallback, ask_health, http_status
from ._lease import DRAINING, LEAST, MOST, LeaseHolder
from ._models import url_host
from ._protocols import Clock, RegistryBackend
from ._reachability import Reachability
from ._registration import Health, MetaSource, Record, Registration, Tags, TTLCheck, Weight
from ._states import ChangeHook, RegistrationState, StateChange, States, is_permanent
from ._tasks import finish

__all__ = ["HealthCallback", "Registrar", "RegistrationState", "StateChange", "http_status"]

logger = logging.getLogger("asyncsd.registrar")

VERIFY = 10.0
"""Seconds between two looks at a registration without a TTL, and the least absence that moves one."""
REGISTER = 30.0
"""The deadline of registering: long enough for a backend to go through several servers."""


class _Unmade(Exception):
    """There is no record to submit: a callable of the registration raised `error`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class Registrar:
    """Keeps one registration standing, by one coroutine, `run`, for a task group of the user's own.

        async with ConsulBackend() as backend, anyio.create_task_group() as tg:
            registrar = Registrar(backend, Registration(service="greeter", port=8080, check=TTLCheck()))
            tg.start_soon(registrar.run)
            await registrar.ready()

    `health` is a callable, sync or async, that says how the process is: a Health, a status, a bool, or
    (status, note). It is asked before each heartbeat of a TTL. One that raises, or takes longer than the
    heartbeat's interval (a third of the TTL), counts as critical with the error's text as the note.

    On leaving, the instance is out of rotation for `drain` seconds before it goes, so that callers see it;
    what is to be told to the registry may take `linger` seconds. `on_change` is one function, or several,
    that get a StateChange. `reachability` is shared by all that use one backend: one probe for all of them.
    """

    def __init__(
        self,
        backend: RegistryBackend,
        registration: Registration,
        *,
        health: HealthCallback | None = None,
        drain: float = 0.0,
        linger: float = 5.0,
        backoff: Backoff | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        reachability: Reachability | None = None,
        on_change: ChangeHook | Iterable[ChangeHook] | None = None,
    ) -> None:
        duration("drain", drain, zero=True)
        duration("linger", linger)
        self.registration = registration
        self.host: str | None = registration.host
        self.id = registration.id or ""
        self._health = health
        self._drain = drain
        self._linger = linger
        self._backoff = backoff or Backoff()
        self._clock: Clock = clock or LoopClock()
        self._own_rng = rng is None
        self._rng = rng or random.Random()
        self._reachability = reachability or Reachability(clock=self._clock, rng=self._rng)
        self._states = States(registration.service, self._clock, on_change)
        checks = (registration.check, *registration.checks)
        ttls = [check.ttl for check in checks if isinstance(check, TTLCheck)]
        self._interval = min(ttls) / 3 if ttls else VERIFY
        self._patience = max(min(ttls, default=0.0), VERIFY)

        self._running = False
        self._leaving = False
        self._wake = asyncio.Event()
        self._updates: list[asyncio.Future[None]] = []
        self._wanted: Record | None = None
        self._told: set[str] = set()
        self._told_failures: set[type[Exception]] = set()

        self._holder = LeaseHolder(
            backend,
            clock=self._clock,
            reachability=self._reachability,
            delay=self._delay,
            on_loss=self._wake.set,
        )
        self._failures = 0
        self._losses = 0
        self._lost_at = 0.0
        self._tried_at = 0.0
        self._unreachable_since: float | None = None

    def __repr__(self) -> str:
        where = f" on {self.where}" if self.where else ""
        return f"<Registrar {self.id or self.registration.service} {self.state}{where}>"

    @property
    def state(self) -> RegistrationState:
        """Where it stands; "failing" too while the registry can't be told that a standing one lives."""
        return self._states.state

    @property
    def error(self) -> Exception | None:
        """The last error that isn't mended, also of new values that were refused while the old ones stand."""
        return self._states.error

    @property
    def since(self) -> float:
        """The clock's time of the last change of state."""
        return self._states.since

    @property
    def record(self) -> Record | None:
        """What the registry took last; None before it took anything."""
        return self._holder.lease.record if self._holder.lease else None

    @property
    def where(self) -> str | None:
        """The server that the registration stands on, None before it stands."""
        return self._holder.lease.where if self._holder.lease else None

    async def wait_for(self, *states: RegistrationState) -> RegistrationState:
        """Wait until the state is one of `states`, and return it, however short it lasts.

        Raises ClosedError when none of them can come any more. A cancellation ends only the waiting.
        """
        return await self._states.wait(states)

    async def ready(self) -> None:
        """Wait until it is registered, and has told its health.

        Raises an error that trying again can't mend (a PermissionDeniedError, a BadRequestError, what a
        callable of the registration raised) at once, though `run` goes on trying, and ClosedError once it has
        ended. A cancellation ends only the waiting.
        """
        await self._states.wait(("registered",), permanent=True)

    async def check_health(self) -> Health:
        """What `health` says now, for a health route: see `http_status`. Critical while it drains.

        Raises nothing: an error is a critical Health. A cancellation is passed on to `health`.
        """
        if self._leaving:
            return DRAINING
        if self._health is None:
            return Health("passing")
        try:
            health = await ask_health(self._health, clock=self._clock, limit=self._interval)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the instance isn't well, and heartbeats go on
            self._warn_once("health", "health= of %s fails: %r", self._name, exc)
            return Health("critical", str(exc) or type(exc).__name__)
        self._told.discard("health")
        return health

    async def update(
        self,
        *,
        tags: Tags | None = None,
        meta: MetaSource | None = None,
        weight: Weight | None = None,
        warning_weight: int | None = None,
    ) -> None:
        """Change what is given, in place, without a moment of absence; return once the registry took it.

        Raises what went wrong. The new values stay wanted then, and after a cancellation: they are submitted
        again until they are taken, and the instance stands with the old ones. Before `run`, they are only
        noted. A value that Registration wouldn't take is refused at once, and not wanted.
        """
        given = {"tags": tags, "meta": meta, "weight": weight, "warning_weight": warning_weight}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if self._leaving:
            raise self._ended()
        self.registration = replace(self.registration, **changes)
        if self._running:
            taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._updates.append(taken)
            self._wake.set()
            await taken

    async def run(self) -> None:
        """Register, heartbeat and heal until cancelled; then drain, deregister, and raise the cancellation.

        Leaving takes at most `drain` and `linger` together, and further cancellations don't cut it short. An
        instance whose deregistration fails is left to the registry's `deregister_after`. Raises only bugs,
        ClosedError for a backend that isn't open among them. Runs once.
        """
        if self._running:
            raise RuntimeError("a Registrar runs once: make another one")
        self._running = True
        if self._own_rng:
            self._rng.seed()  # Workers that were forked from one process share no jitter.
        bug: Exception | None = None
        try:
            await self._live()
        except Exception as exc:
            bug = exc
            logger.exception("the registrar of %s ends by a bug", self._name)
            raise
        finally:
            self._leaving = True
            _settle(self._updates, self._ended())
            allowed = self._drain + self._linger + MOST  # Its parts are bounded by less: a net below them.
            error: Exception | None = None
            try:
                await finish(self._leave(), allowed, role="leave", service=self.registration.service)
            except TimeoutError as exc:
                error = exc
                logger.warning("could not deregister %s: %s", self._description, exc)
            finally:
                if bug or self.state != "deregistered":
                    self._states.become("deregistered", bug or error, id=self.id)

    async def _leave(self) -> None:
        error = await self._holder.leave(
            drain=self._drain,
            linger=self._linger,
            interval=self._interval,
            draining=lambda: self._states.become("draining", None, id=self.id),
        )
        if error is not None:
            logger.warning("could not deregister %s: %s", self._description, error)
        elif self.record is not None:
            logger.info("deregistered %s", self._description)
        self._states.become("deregistered", error, id=self.id)

    # The loop.

    async def _live(self) -> None:
        while True:
            self._wake.clear()
            self._tried_at = self._clock.time()
            try:
                problem = await self._beat()
                self._succeeded(problem)
                await self._rest(self._tried_at + self._interval * self._rng.uniform(0.9, 1.0))
            except _Unmade as exc:
                self._failed(exc.error)
                await self._pause(exc.error)
            except BackendError as exc:
                self._failed(exc)
                await self._pause(exc)

    async def _beat(self) -> Exception | None:
        """Submit what differs, and renew; the error that kept new values out while the old ones stand."""
        updates, self._updates = self._updates, []
        try:
            problem = await self._bring_up_to_date()
        except BaseException as exc:
            error = exc.error if isinstance(exc, _Unmade) else exc
            _settle(updates, error if isinstance(error, Exception) else self._ended())
            raise
        _settle(updates, problem)
        await self._holder.renew(await self._health_to_tell(), self._interval)
        return problem

    async def _health_to_tell(self) -> Health:
        """Without a TTL nothing is told, and `health` is asked by its route alone."""
        has_ttl = self.record is not None and self.record.ttl is not None
        return await self.check_health() if has_ttl else Health("passing")

    async def _bring_up_to_date(self) -> Exception | None:
        if self.host is None:
            self.host = await self._holder.local_host(self._interval)
        if not self.id:
            # Drawn in `run` and by `secrets`: workers that were forked from one process share what was
            # drawn before, and the state of every random.Random.
            suffix = secrets.token_hex(4)
            self.id = f"{self.registration.service}-{self.host}-{self.registration.port}-{suffix}"
        record, problem = self._make_record(self.host)
        standing = self._holder.stands and not self._stays_away()
        if standing and record == self.record:
            return problem
        try:
            await self._holder.submit(record, self._interval if standing else REGISTER)
        except BackendError as exc:
            if not standing or isinstance(exc, UnreachableError):
                raise
            return exc  # What stands is kept alive, and the next beat submits again.
        self._unreachable_since = None
        return problem

    def _make_record(self, host: str) -> tuple[Record, Exception | None]:
        """The record that is wanted now, or the last good one and what a callable raised."""
        try:
            self._wanted = self.registration.record(id=self.id, host=host)
        except Exception as exc:
            if self._wanted is None:
                raise _Unmade(exc) from exc
            self._warn_once("values", "values of %s can't be read, the last ones stay: %r", self._name, exc)
            return self._wanted, exc
        self._told.discard("values")
        return self._wanted, None

    async def _rest(self, until: float) -> None:
        """Return when it is time for the next beat; raises what the observer found meanwhile."""
        await self._nap(until - self._clock.time())
        self._holder.raise_loss()

    async def _nap(self, seconds: float) -> None:
        """Sleep, unless an update or the observer wakes it."""
        try:
            async with self._clock.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    # Success and failure.

    def _succeeded(self, problem: Exception | None) -> None:
        self._reachability.up()
        self._failures = 0
        self._unreachable_since = None
        self._told_failures.clear()
        if problem is None:
            self._told.discard("refused")
        elif isinstance(problem, BackendError):
            told = "new values of %s aren't taken, the old ones stand: %s"
            self._warn_once("refused", told, self._name, problem)
        if self._states.become("registered", problem, id=self.id):
            logger.info("registered %s on %s", self._description, self.where)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, NotRegisteredError):
            self._holder.lost = error
        if isinstance(error, UnreachableError):
            self._reachability.down()
            if self._unreachable_since is None:
                self._unreachable_since = self._clock.time()
        elif isinstance(error, BackendError):
            self._reachability.up()
            self._unreachable_since = None
        self._states.become("failing", error, id=self.id)
        if type(error) not in self._told_failures:
            self._told_failures.add(type(error))
            logger.warning("the registration of %s is failing: %s", self._description, error)

    async def _pause(self, error: Exception) -> None:
        """Wait until it is time to try again after `error`."""
        failures = self._failures
        self._failures += 1
        if isinstance(error, UnreachableError):
            await self._reachability.turn()
            # Others may reach a server, and this one's be down: their success brings the turn at any rate.
            again = self._tried_at + min(MOST, LEAST * 2 ** min(failures, 9))
            if (left := again - self._clock.time()) > 0:
                await self._clock.sleep(left)
        elif isinstance(error, NotRegisteredError):
            now = self._clock.time()
            if now - self._lost_at > self._backoff.maximum:
                self._losses = 0
            self._lost_at = now
            if self._losses:
                await self._nap(self._delay(error, self._losses - 1))
            self._losses += 1
        elif isinstance(error, RateLimitedError):
            await self._clock.sleep(self._delay(error, failures))
        else:
            await self._nap(self._delay(error, failures))

    def _delay(self, error: Exception, failures: int) -> float:
        if is_permanent(error):  # Somebody may mend it, a token for one: tried at the backoff's slow end.
            delay = self._backoff.maximum * self._rng.uniform(0.75, 1.0)
        else:
            delay = max(LEAST, self._backoff.delay(failures, self._rng))
        if self._holder.stands:
            delay = min(delay, self._interval)  # What stands has a TTL that may still be saved.
        if isinstance(error, RateLimitedError) and error.retry_after is not None:
            delay = max(delay, error.retry_after)
        return delay

    def _stays_away(self) -> bool:
        """Whether what stands couldn't be reached for so long that it may move to another server."""
        away = self._unreachable_since
        return away is not None and self._clock.time() - away >= self._patience

    # Small things.

    @property
    def _name(self) -> str:
        return self.id or self.registration.service

    @property
    def _description(self) -> str:
        host = "?" if self.host is None else url_host(self.host)
        tags = ",".join(self.record.tags) if self.record else "?"
        me = self.registration
        return f"{me.service} (id {self.id or '?'}, tags {tags or 'none'}) at {host}:{me.port}"

    def _ended(self) -> ClosedError:
        return ClosedError(f"this registration of {self.registration.service!r} has ended")

    def _warn_once(self, key: str, message: str, *args: object) -> None:
        if key not in self._told:
            self._told.add(key)
            logger.warning(message, *args)


def _settle(updates: list[asyncio.Future[None]], error: Exception | None) -> None:
    for taken in updates:
        if not taken.done():
            if error is None:
                taken.set_result(None)
            else:
                taken.set_exception(error)
