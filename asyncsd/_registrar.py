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

from ._checks import Health, TTLCheck
from ._clock import LoopClock
from ._config import Backoff
from ._errors import BackendError, ClosedError, NotRegisteredError, UnreachableError
from ._health import HealthCallback, ask_health, http_status
from ._lease import DRAINING, LeaseHolder
from ._pace import MOST, Pace
from ._prober import Prober, by_ttl
from ._protocols import Clock, RegistryBackend
from ._reachability import Reachability
from ._registration import MetaSource, Record, Registration, Tags, Weight
from ._states import ChangeHook, RegistrationState, StateChange, States
from ._tasks import finish, strays_are_errors
from ._values import as_flag, duration, url_host

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

    It renews a TTL at a third of it, or looks every 10 s whether a registration without one still stands.
    What the registry forgot is registered again at once, under the same id. What can't be done now is tried
    for ever. Once the server of a registration can't be reached for as long as its TTL, and at least 10 s,
    the backend may move it to another one: a short absence moves nothing.

    `health` is a callable, async or quick, that says how the process is: a Health, a status, a bool, or
    (status, note). It is asked before each heartbeat of a TTL. One that raises, or takes longer than the
    heartbeat's interval (a third of the TTL), counts as critical with the error's text as the note.

    With `run_checks` this process runs its HTTPCheck, TCPCheck and GRPCCheck itself, for a registry that
    can't, or can't reach it: the registry gets a TTLCheck (the registration's own, or one of 15 s), whose
    heartbeats tell the worst of what these and `health` say; a change is told at once. Each check is run at
    once, every second until it first passes, and then at its interval, 1 s at least.

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
        run_checks: bool = False,
        backoff: Backoff | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        reachability: Reachability | None = None,
        on_change: ChangeHook | Iterable[ChangeHook] | None = None,
    ) -> None:
        duration("drain", drain, zero=True)
        duration("linger", linger)
        if health is not None and not callable(health):
            raise TypeError(f"health= takes a function, async or quick, or None; got {health!r}")
        self.registration: Registration = registration
        """What is wanted; `update` changes it."""
        self.host: str | None = registration.host
        """Where others reach this process; None until the backend was asked for it."""
        self.id: str = registration.id or ""
        """The registration's, or one of its own, made in `run` once the host is known: "" until then."""
        self._health = health
        self._drain = drain
        self._linger = linger
        self._clock: Clock = clock or LoopClock()
        self._rng = rng or random.Random()
        self._seeded = rng is not None
        self._states = States(registration.service, self._clock, on_change)
        given = (registration.check, *registration.checks)
        checks = tuple(check for check in given if check is not None)
        told = by_ttl(checks) if as_flag("run_checks", run_checks) else checks
        ttls = [check.ttl for check in told if isinstance(check, TTLCheck)]
        self._interval = min(ttls) / 3 if ttls else VERIFY
        reachability = reachability or Reachability(clock=self._clock, rng=self._rng)
        self._pace = Pace(
            interval=self._interval,
            patience=max(min(ttls, default=0.0), VERIFY),
            backoff=backoff or Backoff(),
            clock=self._clock,
            rng=self._rng,
            reachability=reachability,
        )
        self._holder = LeaseHolder(backend, clock=self._clock, reachability=reachability, pace=self._pace)
        prober = Prober(checks, clock=self._clock, changed=self._pace.wake) if run_checks else None
        self._prober: Prober | None = prober
        self._running = False
        self._leaving = False
        self._bug: Exception | None = None
        self._wanted: Record | None = None
        self._updates: list[asyncio.Future[None]] = []
        self._told: set[object] = set()

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
            self._pace.wake()
            await taken

    async def run(self) -> None:
        """Register, heartbeat and heal until cancelled; then drain, deregister, and raise the cancellation.

        Leaving takes at most `drain` and `linger` together, and further cancellations don't cut it short; the
        end of the loop does (`asyncio.run` at a second Ctrl-C), which skips the drain and deregisters. An
        instance whose deregistration fails is left to the registry's `deregister_after`. Raises only bugs,
        ClosedError for a backend that isn't open among them. Runs once.
        """
        if self._running:
            raise RuntimeError("a Registrar runs once: make another one")
        self._running = True
        if not self._seeded:
            self._rng.seed()  # Workers that were forked from one process share no jitter.
        try:
            with strays_are_errors("a call of the backend's"):
                await self._live()
        except Exception as exc:
            self._bug = exc
            logger.exception("the registrar of %s ends by a bug", self._name)
            raise
        finally:
            self._leaving = True
            _settle(self._updates, self._ended())
            allowed = self._drain + self._linger + MOST  # Its parts are bounded by less: a net below them.
            try:
                await finish(self._leave(), allowed, role="leave", service=self.registration.service)
            except TimeoutError:
                pass  # Told just below, like one that was cancelled itself.
            finally:
                if self.state != "deregistered":
                    self._left(BackendError("it was cut off before the registry answered"))

    async def _live(self) -> None:
        while True:
            self._pace.begins()
            updates, self._updates = self._updates, []
            error: Exception | None = None
            try:
                problem = await self._beat()
            except _Unmade as exc:
                error = exc.error
            except BackendError as exc:
                error = exc
            except BaseException:
                _settle(updates, self._ended())
                raise
            else:
                self._succeeded(problem)
                _settle(updates, problem)
                await self._pace.rest()
                error = self._holder.found()
            if error is not None:
                self._failed(error)
                _settle(updates, error)
                await self._pace.pause(error, stands=self._holder.stands)

    async def _beat(self) -> Exception | None:
        """Submit what differs, and renew; the error that kept new values out while the old ones stand."""
        if self.host is None:
            self.host = await self._holder.local_host(self._interval)
        if not self.id:
            # Drawn in `run` and by `secrets`: workers that were forked from one process share what was
            # drawn before, and the state of every random.Random.
            suffix = secrets.token_hex(4)
            self.id = f"{self.registration.service}-{self.host}-{self.registration.port}-{suffix}"
        record, problem = self._make_record(self.host)
        standing = self._holder.stands and not self._pace.stays_away
        if not standing or record != self.record:
            try:
                await self._holder.submit(record, self._interval if standing else REGISTER)
            except BackendError as exc:
                if not standing or isinstance(exc, UnreachableError):
                    raise
                problem = exc  # What stands is kept alive, and the next beat submits again.
        # Without a TTL nothing is told, and `health` is asked by its route alone.
        health = Health("passing") if record.ttl is None else await self.check_health()
        if self._prober is not None:
            # Not by check_health: a check may ask the route that tells this, which then could never recover.
            health = self._prober.with_results(health)
        await self._holder.renew(health, self._interval)
        return problem

    def _make_record(self, host: str) -> tuple[Record, Exception | None]:
        """The record that is wanted now; the last good one, with the error, when a callable raises."""
        try:
            with strays_are_errors("a callable of the registration"):
                record = self.registration.record(id=self.id, host=host)
            self._wanted = self._prober.take(record) if self._prober else record
        except Exception as exc:
            if self._wanted is None:
                raise _Unmade(exc) from exc
            self._warn_once("values", "new values of %s can't be read, the last stay: %r", self._name, exc)
            return self._wanted, exc
        self._told.discard("values")
        return self._wanted, None

    def _succeeded(self, problem: Exception | None) -> None:
        self._pace.succeeded()
        self._told = {about for about in self._told if not isinstance(about, type)}
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
        self._pace.failed(error)
        self._states.become("failing", error, id=self.id)
        self._warn_once(type(error), "the registration of %s is failing: %s", self._description, error)

    async def _leave(self) -> None:
        try:
            if self._prober is not None:
                await self._prober.aclose()
            with strays_are_errors("a call of the backend's"):
                error = await self._holder.leave(
                    drain=self._drain,
                    linger=self._linger,
                    interval=self._interval,
                    draining=lambda: self._states.become("draining", None, id=self.id),
                )
        except Exception as exc:
            self._bug = self._bug or exc
            self._left(exc)
            raise
        self._left(error)

    def _left(self, error: Exception | None) -> None:
        if error is not None:
            logger.warning("could not deregister %s: %s", self._description, error)
        elif self.record is not None:
            logger.info("deregistered %s", self._description)
        self._states.become("deregistered", self._bug or error, id=self.id)

    @property
    def _name(self) -> str:
        return self.id or self.registration.service

    @property
    def _description(self) -> str:
        host = "?" if self.host is None else url_host(self.host)
        record = self.record or self._wanted
        me = self.registration
        if record is not None:
            tags = ",".join(record.tags)
        else:
            tags = "?" if callable(me.tags) else ",".join(me.tags)
        return f"{me.service} (id {self.id or '?'}, tags {tags or 'none'}) at {host}:{me.port}"

    def _ended(self) -> ClosedError:
        return ClosedError(f"this registration of {self.registration.service!r} has ended")

    def _warn_once(self, about: object, message: str, *args: object) -> None:
        if about not in self._told:
            self._told.add(about)
            logger.warning(message, *args)


def _settle(updates: list[asyncio.Future[None]], error: Exception | None) -> None:
    for taken in updates:
        if not taken.done():
            if error is None:
                taken.set_result(None)
            else:
                taken.set_exception(error)
