"""Cancels a scenario at every step of the loop, to show that nothing is ever left behind."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, TypeAlias

import anyio

from asyncsd.testing import FakeClock

Scenario: TypeAlias = Callable[[FakeClock], AbstractAsyncContextManager[Coroutine[Any, Any, object]]]
"""Makes a fresh world, yields the coroutine that is to be cancelled, and asserts at its exit.

    @asynccontextmanager
    async def watching(clock):
        async with MemoryBackend(A, clock=clock) as backend:
            watcher = Watcher(backend, "users", clock=clock)
            yield watcher.run()
            assert watcher.hub.closed
"""

How: TypeAlias = Literal["once", "twice", "scope"]


async def cancel_at_every_step(
    scenario: Scenario, *, limit: int = 400, how: tuple[How, ...] = ("once", "twice", "scope")
) -> int:
    """Run `scenario` again and again, cancelled after 1, 2, 3 ... steps of the loop, until it completes.

    Each step is cancelled by one `task.cancel()`, by two (one step apart), and by an anyio scope, which
    cancels on every turn. Whenever nothing can run, the clock jumps to what is due next. After each round
    the task has to have ended as cancelled, no task named "asyncsd:" may be left, and the scenario asserts
    the rest.
    `limit` is the last step for a coroutine that never ends by itself. Returns the number of steps.
    """
    steps = 0
    for steps in range(1, limit + 1):
        completed = [await _round(scenario, steps, kind) for kind in how]
        if any(completed):
            break
    assert steps > 1, "the scenario ended before it could be cancelled"
    return steps


async def _round(scenario: Scenario, steps: int, how: How) -> bool:
    """Whether the scenario completed before its cancellation."""
    clock = FakeClock()
    scope = anyio.CancelScope()
    where = f"cancelled {how} at step {steps}"
    async with scenario(clock) as coro:
        task = asyncio.get_running_loop().create_task(_scoped(coro, scope), name="scenario")
        for _ in range(steps):
            await step(clock)
        completed = task.done()
        if not completed:
            if how == "scope":
                scope.cancel()
            else:
                task.cancel()
            if how == "twice":
                await step(clock)
                task.cancel()
        deadline = time.monotonic() + 10.0
        while not task.done():
            assert time.monotonic() < deadline, f"{where}: it didn't end"
            await step(clock)
        if not task.cancelled():
            task.result()  # An error of its own is the test's.
        if not completed and how != "scope":  # A scope that meets no further await cancels nothing.
            assert task.cancelled(), f"{where}: the cancellation was swallowed"
    for _ in range(3):
        await asyncio.sleep(0)
    left = sorted(task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("asyncsd:"))
    assert not left, f"{where}: still running: {left}"
    return completed


async def _scoped(coro: Coroutine[Any, Any, object], scope: anyio.CancelScope) -> None:
    with scope:
        await coro


async def step(clock: FakeClock) -> None:
    """Let the loop turn once; if that leaves it with nothing to do, move the clock to what is due next."""
    await asyncio.sleep(0)
    if not asyncio.get_running_loop()._ready:  # type: ignore[attr-defined]
        clock.skip()
