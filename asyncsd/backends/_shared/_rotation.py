"""Several servers of one registry, and which of them is asked first."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from asyncsd._errors import BackendError, UnreachableError
from asyncsd._protocols import Clock

__all__ = ["Rotation"]

A = TypeVar("A")
T = TypeVar("T")

SLOW = 0.5
"""A caller that gives up after so many seconds leaves the server for the next one."""


class Rotation(Generic[A]):
    """The server that answered last is asked first, and the others in turn while one can't answer.

    `what` they are is for people: "etcd". `passes_on` are the errors after which another server may do
    better; any other is the answer. All of them failing is an UnreachableError where none was reached, else
    the last such error.
    """

    def __init__(
        self,
        servers: Sequence[A],
        *,
        what: str,
        clock: Clock,
        log: logging.Logger,
        passes_on: tuple[type[BackendError], ...] = (UnreachableError,),
    ) -> None:
        self.servers = tuple(servers)
        self._what = what
        self._clock = clock
        self._log = log
        self._passes_on = passes_on
        self._first = 0

    @property
    def first(self) -> A:
        """The server that is asked first."""
        return self.servers[self._first]

    def avoid(self, server: A) -> None:
        """Ask the next one first, where this one was the first."""
        if self.first == server:
            self._first = (self._first + 1) % len(self.servers)

    async def ask(self, ask: Callable[[A], Awaitable[T]]) -> T:
        """What `ask(server)` returns for the first server that can answer.

        A cancellation ends it; the server that was slow until then is not the first the next time.
        """
        failed: list[BackendError] = []
        count, start = len(self.servers), self._first
        for number in ((start + step) % count for step in range(count)):
            began = self._clock.time()
            try:
                answer = await ask(self.servers[number])
            except self._passes_on as exc:
                failed.append(exc)
                continue
            except asyncio.CancelledError:
                if self._clock.time() - began > SLOW:
                    self.avoid(self.servers[number])
                raise
            if failed and self._first != number:
                self._log.info("%s is asked at %s now: %s", self._what, self.servers[number], failed[0])
                self._first = number
            return answer
        raise self._none(failed)

    def _none(self, errors: Sequence[BackendError]) -> BackendError:
        if len(errors) == 1:
            return errors[0]
        answered = [exc for exc in errors if not isinstance(exc, UnreachableError)]
        worst = (answered or errors)[-1]
        error = type(worst)(
            f"none of {len(errors)} {self._what} servers can serve: {'; '.join(map(str, errors))}"
        )
        error.__cause__ = worst
        return error
