"""An agent that serves whatever the test's own loop does."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar

from asyncsd.agent import Agent, Fault

__all__ = ["AgentThread"]

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds for what takes milliseconds."""


class AgentThread:
    """An agent on a loop and a thread of its own, for tests that have no loop, or block theirs.

    >>> with AgentThread() as agent:
    ...     client = TestClient(create_app(agent.url))

    Faults are plain calls, which return when they have taken effect: within a millisecond or so. They may be
    called from any thread. What they do is told with `Agent`.
    """

    def __init__(self, agent: Agent | None = None) -> None:
        """`agent` is one that isn't open; by default one on a free port of loopback."""
        self._agent = agent or Agent()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stop: Future[None] = Future()

    def __repr__(self) -> str:
        return f"AgentThread({self._agent!r})"

    @property
    def url(self) -> str:
        """Where it listens: "http://127.0.0.1:41234"."""
        return self._agent.url

    @property
    def requests(self) -> int:
        """How many requests came, those to /ui/ aside."""
        return self._agent.requests

    def __enter__(self) -> Self:
        """Serve. OSError if the port is taken; RuntimeError if it serves already."""
        if self._thread is not None:
            raise RuntimeError("this agent is open already: make another one")
        started: Future[None] = Future()
        self._stop = Future()
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._serve(started),), name="asyncsd:agent", daemon=True
        )
        try:
            self._thread.start()
            started.result(PATIENCE)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop, and cut all connections. Idempotent, from any thread."""
        thread, self._thread = self._thread, None
        self._loop = None
        with suppress(InvalidStateError):  # Another thread closes it too.
            self._stop.set_result(None)
        if thread is not None:
            thread.join(PATIENCE)

    def fail(self, status: int = 500, *, text: str = "", path: str = "") -> Fault:
        """Answer every request, or those to paths that begin with `path`, with this status from now on."""
        return self._fault(lambda: self._agent.fail(status, text=text, path=path))

    def delay(self, seconds: float, *, path: str = "") -> Fault:
        """Answer so much later from now on; delays add up."""
        return self._fault(lambda: self._agent.delay(seconds, path=path))

    def hang(self, *, path: str = "") -> Fault:
        """Take requests and answer none, until it is healed; those that wait are held too."""
        return self._fault(lambda: self._agent.hang(path=path))

    def heal(self) -> None:
        """End all faults. Requests that they hold are answered."""
        self._call(self._agent.heal)

    def cut(self) -> None:
        """Cut all connections, without an answer. New ones are taken."""
        self._call(self._agent.cut)

    def forget(self) -> None:
        """Lose all registrations, as if somebody had removed them: the index goes on."""
        self._call(self._agent.forget)

    def reset_index(self) -> None:
        """Let the index begin anew, lower than before, and keep the registrations."""
        self._call(self._agent.reset_index)

    def restart(self) -> None:
        """End and begin anew on the same port, with nothing registered and a lower index."""
        self._await(self._agent.restart)

    async def _serve(self, started: Future[None]) -> None:
        stop = asyncio.wrap_future(self._stop)
        try:
            async with self._agent:
                self._loop = asyncio.get_running_loop()
                started.set_result(None)
                await stop
        except BaseException as exc:
            if started.done():
                raise
            started.set_exception(exc)

    def _call(self, function: Callable[[], T]) -> T:
        async def call() -> T:
            return function()

        return self._await(call)

    def _await(self, function: Callable[[], Awaitable[T]]) -> T:
        async def call() -> T:
            return await function()

        loop, thread = self._loop, self._thread
        if loop is None or thread is None or not thread.is_alive():  # A forked process has no such thread.
            raise RuntimeError("this agent isn't open: use it inside `with AgentThread() as agent:`")
        return asyncio.run_coroutine_threadsafe(call(), loop).result(PATIENCE)

    def _fault(self, function: Callable[[], Fault]) -> Fault:
        fault = self._call(function)
        return fault.ended_by(lambda: self._call(fault.heal) if self._loop is not None else None)
