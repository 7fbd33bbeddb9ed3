"""Tasks that have an owner, and cleanup that a cancellation can't cut short."""

import asyncio
import importlib
from collections.abc import Coroutine, Generator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import anyio

__all__ = ["TaskOwner", "ended", "finish", "strays_are_errors"]

T = TypeVar("T")

# anyio imports its asyncio part, some 50 ms of reading files, with the first scope: that would be on the
# loop, in the middle of a program.
with suppress(ImportError):
    importlib.import_module("anyio._backends._asyncio")


class TaskOwner:
    """Holds the tasks of one object strongly, and cancels and awaits them.

    Tasks are named `asyncsd:<role>:<service>`. Only the owner cancels them; a task that ended by itself is
    let go. An exception of a task stays in the task, for whoever awaits it.
    """

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        return f"TaskOwner({len(self._tasks)} running)"

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def tasks(self) -> frozenset[asyncio.Task[Any]]:
        """Those that haven't ended."""
        return frozenset(self._tasks)

    def spawn(self, coro: Coroutine[Any, Any, T], *, role: str, service: str) -> asyncio.Task[T]:
        """Run `coro` as a task of this owner."""
        task = asyncio.get_running_loop().create_task(coro, name=f"asyncsd:{role}:{service}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def cancel(self, *tasks: asyncio.Task[Any]) -> None:
        """Cancel `tasks` and wait until they have ended, whatever they raise.

        A cancellation of the caller is raised once they have. RuntimeError if the caller is one of them: it
        would wait for itself.
        """
        if asyncio.current_task() in tasks:
            raise RuntimeError(f"{asyncio.current_task()!r} can't close itself: let its owner do it")
        for task in tasks:
            task.cancel()
        cancelled: asyncio.CancelledError | None = None
        try:
            await ended(*tasks)
        except asyncio.CancelledError as exc:
            cancelled = exc
        for task in tasks:
            if not task.cancelled():
                task.exception()  # Mark it as seen: its owner has chosen to end it.
        if cancelled is not None:
            raise cancelled

    async def aclose(self) -> None:
        """Cancel and await all tasks. Idempotent."""
        await self.cancel(*self._tasks)


@contextmanager
def strays_are_errors(what: str) -> Generator[None, None, None]:
    """RuntimeError for a CancelledError that isn't this task's: `what`, or what it awaits, was cancelled.

    Passed on, it would end the task as if its owner had cancelled it, and nobody would hear of it.
    """
    try:
        yield
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise RuntimeError(f"{what} was cancelled") from exc


async def ended(*tasks: asyncio.Task[Any]) -> None:
    """Wait until `tasks` have ended, whatever they raise; a cancellation of the caller is raised then."""
    cancelled: asyncio.CancelledError | None = None
    # The anyio scope holds off anyio's cancellations, the loop asyncio's own. Both are needed: without the
    # scope, a cancelled anyio scope cancels again on every turn and this would spin.
    with anyio.CancelScope(shield=True):
        while pending := {task for task in tasks if not task.done()}:
            try:
                await asyncio.wait(pending)
            except asyncio.CancelledError as exc:
                cancelled = exc
    if cancelled is not None:
        raise cancelled


async def finish(
    coro: Coroutine[Any, Any, T], linger: float, *, role: str = "finish", service: str = ""
) -> T:
    """Run a cleanup to its end, though the caller be cancelled, for at most `linger` seconds.

    A cancellation that comes meanwhile is raised once the cleanup has ended. Past `linger` the cleanup is
    cancelled and TimeoutError raised.

    `coro` runs in a task of its own: a cancellation aimed at the caller can't reach it. The wait for that
    task is shielded in two ways, since an anyio shield doesn't stop a native `task.cancel()`, and catching
    that alone would spin under a cancelled anyio scope, which cancels again on each turn of the loop.
    """
    task = asyncio.get_running_loop().create_task(coro, name=f"asyncsd:{role}:{service}")
    cancelled: asyncio.CancelledError | None = None
    deadline = asyncio.get_running_loop().time() + linger
    expired = False
    with anyio.CancelScope(shield=True):
        while not task.done():
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0 and not expired:
                expired = True
                task.cancel()
            try:
                await asyncio.wait((task,), timeout=None if expired else left)
            except asyncio.CancelledError as exc:
                cancelled = exc
    if cancelled is not None:
        if not task.cancelled():
            task.exception()
        raise cancelled
    if expired and task.cancelled():
        raise TimeoutError(f"cleanup {role} {service} took longer than {linger} s and was given up")
    return task.result()
