"""Faults on demand: what an agent in trouble does to its clients."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiohttp import web

from asyncsd._protocols import Clock

__all__ = ["Fault", "Faults"]


class Fault:
    """A fault that is on, until `heal()` or the end of a `with` block."""

    def __init__(self, what: str, path: str, end: Callable[["Fault"], None]) -> None:
        self.path = path
        self.status = 0
        self.text = ""
        self.delay = 0.0
        self.hangs = False
        self._what = what
        self._end = end

    def __repr__(self) -> str:
        return f"Fault({self._what}{f', path={self.path!r}' if self.path else ''})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heal()

    def heal(self) -> None:
        """End it. Requests that it holds are answered."""
        self._end(self)


class Faults:
    """The faults that are on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._on: list[Fault] = []
        self._healed: asyncio.Event | None = None

    def __repr__(self) -> str:
        return f"Faults({self._on})"

    def fail(self, status: int, text: str, path: str) -> Fault:
        """Answer so."""
        fault = self._add(f"status {status}", path)
        fault.status, fault.text = status, text
        return fault

    def delay(self, seconds: float, path: str) -> Fault:
        """Answer so much later."""
        fault = self._add(f"delay {seconds} s", path)
        fault.delay = seconds
        return fault

    def hang(self, path: str) -> Fault:
        """Answer when it is healed."""
        fault = self._add("hang", path)
        fault.hangs = True
        return fault

    def heal(self) -> None:
        """End all."""
        for fault in list(self._on):
            fault.heal()

    async def meet(self, path: str) -> web.Response | None:
        """Let a request to `path` meet what is on; the answer that it gets, if it gets none of its own."""
        for fault in [fault for fault in self._on if path.startswith(fault.path)]:
            if fault.delay:
                await self._clock.sleep(fault.delay)
            while fault.hangs and fault in self._on:
                self._healed = self._healed or asyncio.Event()
                await self._healed.wait()
            if fault.status and fault in self._on:
                return web.Response(status=fault.status, text=fault.text)
        return None

    def _add(self, what: str, path: str) -> Fault:
        fault = Fault(what, path, self._remove)
        self._on.append(fault)
        return fault

    def _remove(self, fault: Fault) -> None:
        if fault in self._on:
            self._on.remove(fault)
        if self._healed is not None:
            self._healed.set()
            self._healed = None
