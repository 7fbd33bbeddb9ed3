"""Who waits for a change, on whichever loop."""

import asyncio
from contextlib import suppress
from typing import TypeAlias

__all__ = ["NAMES", "Topic", "Waiter", "Waiters", "observation"]

Topic: TypeAlias = tuple[str, ...]

NAMES: Topic = ()
"""The names of all services; a service's own topic is (name,)."""


def observation(id: str) -> Topic:
    """The registration with this id."""
    return ("", id)


class Waiter:
    """One wait of the running loop's, which any thread may end."""

    __slots__ = ("_loop", "_woken")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._woken: asyncio.Future[None] = self._loop.create_future()

    async def wait(self) -> None:
        """Return once `wake` was called."""
        await self._woken

    def wake(self) -> None:
        """End the wait. From any thread; nothing where the loop has ended."""
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._loop:
            self._set()
        else:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._set)

    def _set(self) -> None:
        if not self._woken.done():
            self._woken.set_result(None)


class Waiters:
    """The waiters of a registry by what they wait for; guarded by the registry's lock."""

    def __init__(self) -> None:
        self._waiting: dict[Topic, set[Waiter]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, topic: Topic) -> Waiter:
        """A waiter on the running loop."""
        waiter = Waiter()
        self._waiting.setdefault(topic, set()).add(waiter)
        return waiter

    def discard(self, topic: Topic, waiter: Waiter) -> None:
        """Wake this one no more."""
        waiting = self._waiting.get(topic, set())
        waiting.discard(waiter)
        if not waiting:
            self._waiting.pop(topic, None)

    def wake(self, *topics: Topic) -> None:
        """Wake those who wait for one of `topics`."""
        for topic in topics:
            for waiter in self._waiting.get(topic, ()):
                waiter.wake()

    def wake_all(self) -> None:
        """Wake everybody."""
        self.wake(*self._waiting)
