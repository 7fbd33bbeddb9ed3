"""Which services changed, for those that wait for it."""

from collections.abc import Iterable

from asyncsd._protocols import Clock
from asyncsd.backends._shared._waiters import Waiters

__all__ = ["Marks"]

MOST = 10_000
"""How many services' last changes are remembered beside those that are waited for."""


class Marks:
    """Counts changes, and remembers each service's last.

    Whoever reads a service notes `now` before, and waits afterwards for a later change: none is lost,
    whenever it comes. A change that was read already is told once more at worst. Names may come and go for
    months: once they are many, those that nobody waits for are forgotten, and count as changed by then.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: dict[str, int] = {}
        self._all = 0
        self._forgotten = 0
        """What isn't remembered may have changed up to here."""
        self._waiting: dict[str, Waiters] = {}
        self.now: int = 0

    def __repr__(self) -> str:
        return f"Marks({self.now} changes, {len(self._waiting)} services waited for)"

    def mark(self, services: Iterable[str]) -> None:
        """These have changed."""
        self.now += 1
        for service in services:
            self._last[service] = self.now
            if (waiters := self._waiting.get(service)) is not None:
                waiters.wake()
        if len(self._last) > MOST + 2 * len(self._waiting):
            self._last = {name: self._at(name) for name in self._waiting}
            self._forgotten = self.now

    def mark_all(self) -> None:
        """Any of them may have changed: those that wait are woken in the order of their coming."""
        self.now += 1
        self._all = self.now
        self.wake_all()

    def wake_all(self) -> None:
        """End all waits."""
        for waiters in self._waiting.values():
            waiters.wake()

    def changed(self, service: str, since: int) -> bool:
        """Whether `service` may have changed since `now` was this."""
        return max(self._all, self._at(service)) > since

    def _at(self, service: str) -> int:
        return self._last.get(service, self._forgotten)

    async def wait(self, service: str, since: int, seconds: float) -> bool:
        """Wait for a change of `service` later than `since`, for so long; whether there was one."""
        if self.changed(service, since):
            return True
        waiters = self._waiting.get(service)
        if waiters is None:
            waiters = self._waiting[service] = Waiters(self._clock)
        try:
            await waiters.wait(seconds)
        finally:
            if not waiters:
                del self._waiting[service]
        return self.changed(service, since)
