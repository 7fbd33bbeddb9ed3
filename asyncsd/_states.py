"""The state of a registration: what it is, who waits for it, and who is told."""

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple, TypeAlias

from ._errors import BackendError, ClosedError, DiscoveryError
from ._protocols import Clock
from ._tasks import strays_are_errors

__all__ = ["ChangeHook", "RegistrationState", "StateChange", "States"]

RegistrationState: TypeAlias = Literal["registering", "registered", "failing", "draining", "deregistered"]

logger = logging.getLogger("asyncsd.registrar")


class StateChange(NamedTuple):
    """A change of a registration's state, as hooks are told of it; `at` is the clock's time."""

    service: str
    id: str
    before: RegistrationState
    after: RegistrationState
    error: Exception | None
    at: float


ChangeHook: TypeAlias = Callable[[StateChange], object]


class _Waiter(NamedTuple):
    woken: asyncio.Future[RegistrationState]
    states: tuple[RegistrationState, ...]
    permanent: bool


def is_permanent(error: Exception | None) -> bool:
    """Whether trying again can't help; an error of the user's own callables is taken for one that can't."""
    return error.permanent if isinstance(error, DiscoveryError) else error is not None


class States:
    """The state of one registration, changed synchronously: no waiter and no hook misses a short one."""

    __slots__ = ("_clock", "_hooks", "_service", "_waiters", "error", "since", "state")

    def __init__(self, service: str, clock: Clock, hooks: ChangeHook | Iterable[ChangeHook] | None) -> None:
        self._service = service
        self._clock = clock
        if hooks is None or callable(hooks):
            hooks = () if hooks is None else (hooks,)
        if not isinstance(hooks, Iterable):
            raise TypeError(f"on_change= takes a function that isn't async, or several; got {hooks!r}")
        self._hooks: tuple[ChangeHook, ...] = tuple(hooks)
        for hook in self._hooks:
            if not callable(hook) or inspect.iscoroutinefunction(hook):
                raise TypeError(f"on_change= takes a function that isn't async, or several; got {hook!r}")
        self._waiters: list[_Waiter] = []
        self.state: RegistrationState = "registering"
        self.error: Exception | None = None
        self.since: float = clock.time()

    def become(self, state: RegistrationState, error: Exception | None, *, id: str) -> bool:
        """Whether that is another state than before; waiters and hooks are told."""
        before, self.state, self.error = self.state, state, error
        for waiter in self._waiters:
            self._settle(waiter)
        if before == state:
            return False
        self.since = self._clock.time()
        change = StateChange(self._service, id, before, state, error, self.since)
        for hook in self._hooks:
            try:
                with strays_are_errors("the hook"):
                    hook(change)
            except Exception:
                logger.exception("a hook for the state of %s failed", self._service)
        return True

    async def wait(
        self, states: tuple[RegistrationState, ...], *, permanent: bool = False
    ) -> RegistrationState:
        """Return the first of `states` that comes, at once if it is there.

        Raises ClosedError, or the bug that ended the registrar, when none can come any more; with `permanent`
        also the error that keeps it from registering, if trying again can't help.
        """
        waiter = _Waiter(asyncio.get_running_loop().create_future(), states, permanent)
        self._settle(waiter)
        self._waiters.append(waiter)
        try:
            return await waiter.woken
        finally:
            self._waiters.remove(waiter)

    def _settle(self, waiter: _Waiter) -> None:
        if waiter.woken.done():
            return
        if self.state in waiter.states:
            waiter.woken.set_result(self.state)
        elif self.state == "deregistered":
            bug = None if isinstance(self.error, BackendError) else self.error
            waiter.woken.set_exception(
                bug or ClosedError(f"this registration of {self._service!r} has ended")
            )
        elif waiter.permanent and self.state == "failing" and is_permanent(self.error) and self.error:
            waiter.woken.set_exception(self.error)
