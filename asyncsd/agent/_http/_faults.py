"""Faults on demand: what an agent in trouble does to its clients."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiohttp import web

from asyncsd._protocols import Clock

__all__ = ["Fault", "Faults"]


class Fault:
    """A fault that is on, until `heal()` or the end of a `with` block.

    It concerns requests to paths that begin with `path`: they get this `status` and `text`, come `delay`
    seconds later, or are held if it `hangs`.
    """

    __slots__ = ("_end", "delay", "hangs", "path", "status", "text")

    def __init__(
        self,
        end: Callable[["Fault"], object],
        path: str,
        *,
        status: int = 0,
        text: str = "",
        delay: float = 0.0,
        hangs: bool = False,
    ) -> None:
        self.path: str = path
        self.status: int = status
        self.text: str = text
        self.delay: float = delay
        self.hangs: bool = hangs
        self._end = end

    def __repr__(self) -> str:
        what = f"status {self.status}" if self.status else "hang" if self.hangs else f"delay {self.delay} s"
        return f"Fault({what}{f', path={self.path!r}' if self.path else ''})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heal()

    def heal(self) -> None:
        """End it: requests that it holds go on. Idempotent."""
        self._end(self)

    def ended_by(self, end: Callable[[], object]) -> "Fault":
        """The same fault, healed by `end`: for one who isn't on the agent's thread."""
        return Fault(
            lambda _: end(),
            self.path,
            status=self.status,
            text=self.text,
            delay=self.delay,
            hangs=self.hangs,
        )

    def answer(self) -> web.Response:
        """What a fault of `fail` answers."""
        return web.Response(status=self.status, text=self.text)


@dataclass(slots=True, eq=False)
class _Running:
    """A request that its endpoint answers, perhaps after a long wait."""

    path: str
    scope: asyncio.Timeout
    fault: Fault | None = None


class Faults:
    """The faults that are on.

    A request is late by the sum of the delays that concern it, is held while one hangs, and then gets the
    status of the failure that was set last. The order in which they were set means nothing else. A query
    that waits already is told of a failure at once, and an answer that is ready is held by a hang: so what
    a test sets is what all clients see from then on.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._on: list[Fault] = []
        self._running: set[_Running] = set()
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"Faults({self._on})"

    def fail(self, status: int, text: str, path: str) -> Fault:
        """Answer so."""
        if not 400 <= status <= 599:
            raise ValueError(f"status {status}: a failure's is from 400 to 599")
        fault = self._add(Fault(self._remove, path, status=status, text=text))
        for running in self._running:
            if running.fault is None and running.path.startswith(path):
                running.fault = fault
                running.scope.reschedule(asyncio.get_running_loop().time())
        return fault

    def delay(self, seconds: float, path: str) -> Fault:
        """Answer so much later."""
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"delay of {seconds} s: give 0 or more, and hang() for ever")
        return self._add(Fault(self._remove, path, delay=seconds))

    def hang(self, path: str) -> Fault:
        """Answer once it is healed."""
        return self._add(Fault(self._remove, path, hangs=True))

    def heal(self) -> None:
        """End all."""
        for fault in list(self._on):
            fault.heal()

    async def answer(
        self, path: str, endpoint: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """What `endpoint` answers to a request to `path`, or what the faults make of it."""
        if self._on:
            await self._hold(path, self._clock.time())
            if failures := [fault for fault in self._concerning(path) if fault.status]:
                return failures[-1].answer()
        running = _Running(path, asyncio.timeout(None))
        try:
            async with running.scope:
                self._running.add(running)
                answer = await endpoint()
        except TimeoutError:
            if running.fault is None:
                raise
            answer = running.fault.answer()
        finally:
            self._running.discard(running)
        if self._on:
            await self._hold(path)
        return answer

    async def _hold(self, path: str, came: float | None = None) -> None:
        """Return once nothing hangs and the delays since `came`, if it is given, are over."""
        while True:
            on = self._concerning(path)
            late = 0.0 if came is None else came + sum(fault.delay for fault in on) - self._clock.time()
            if late <= 0 and not any(fault.hangs for fault in on):
                return
            changed = self._changed
            try:
                async with self._clock.timeout(late if late > 0 else None):
                    await changed.wait()
            except TimeoutError:
                pass

    def _concerning(self, path: str) -> list[Fault]:
        return [fault for fault in self._on if path.startswith(fault.path)]

    def _add(self, fault: Fault) -> Fault:
        self._on.append(fault)
        self._change()
        return fault

    def _remove(self, fault: Fault) -> None:
        if fault in self._on:
            self._on.remove(fault)
            self._change()

    def _change(self) -> None:
        """Let those that are held look again."""
        self._changed.set()
        self._changed = asyncio.Event()
