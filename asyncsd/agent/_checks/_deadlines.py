"""Many deadlines that are put off again and again, on one timer."""

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass

from asyncsd._protocols import Clock
from asyncsd._tasks import TaskOwner

__all__ = ["Deadlines"]

STALE = 64
"""Entries of the heap that may be out of date before it is made anew."""


@dataclass(slots=True)
class _Deadline:
    when: float
    queued: float
    """Where it stands in the heap: never later than `when`."""


class Deadlines:
    """Calls `passed` with a key once its deadline has passed, from one task for all.

    A deadline that is put off, as each heartbeat does, only writes its time down: the timer looks at it when
    it comes to where it stood. It takes 0.3 KB, where a task for each would take 2 KB.
    """

    def __init__(self, passed: Callable[[str], None], *, clock: Clock, owner: TaskOwner) -> None:
        self._passed = passed
        self._clock = clock
        self._owner = owner
        self._deadlines: dict[str, _Deadline] = {}
        self._heap: list[tuple[float, str]] = []
        self._sooner = asyncio.Event()
        self._timer: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"Deadlines({len(self._deadlines)})"

    def set(self, key: str, seconds: float) -> None:
        """Let `key` pass in so many seconds, unless it is set again or dropped before."""
        when = self._clock.time() + seconds
        deadline = self._deadlines.get(key)
        if deadline is not None and deadline.queued <= when:
            deadline.when = when
            return
        self._deadlines[key] = _Deadline(when, when)
        heapq.heappush(self._heap, (when, key))
        if self._heap[0] == (when, key):
            self._sooner.set()
        if self._timer is None or self._timer.done():
            self._timer = self._owner.spawn(self._run(), role="check", service="ttl")

    def drop(self, key: str) -> None:
        """Forget a deadline; one that isn't there is no error."""
        if self._deadlines.pop(key, None) is None:
            return
        if len(self._heap) > 2 * len(self._deadlines) + STALE:
            self._heap = [(deadline.queued, key) for key, deadline in self._deadlines.items()]
            heapq.heapify(self._heap)

    async def _run(self) -> None:
        while self._heap:
            self._sooner.clear()
            try:
                async with self._clock.timeout(self._heap[0][0] - self._clock.time()):
                    await self._sooner.wait()
            except TimeoutError:
                self._pass()

    def _pass(self) -> None:
        now = self._clock.time()
        while self._heap and self._heap[0][0] <= now:
            queued, key = heapq.heappop(self._heap)
            deadline = self._deadlines.get(key)
            if deadline is None or deadline.queued != queued:
                continue  # dropped, or set to a sooner time
            if deadline.when > now:
                deadline.queued = deadline.when
                heapq.heappush(self._heap, (deadline.when, key))
            else:
                del self._deadlines[key]
                self._passed(key)
