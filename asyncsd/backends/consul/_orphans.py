"""Registrations left behind on agents that couldn't be reached."""

import logging
from collections.abc import Awaitable, Callable, Iterable

from asyncsd._errors import BackendError
from asyncsd._protocols import Clock
from asyncsd._tasks import TaskOwner

from ._client import ConsulClient

__all__ = ["Orphans"]

log = logging.getLogger("asyncsd.consul")

INTERVAL = 5.0
"""Seconds between two tries to remove an orphan."""
PARTING = 2.0
"""Seconds that a deregistration gives to removing orphans too."""


class Orphans:
    """Remembers where a registration that moved may still stand, and removes it there.

    An agent that was cut off comes back with the old registration, and would show a second instance. It is
    removed twice, an interval apart: an agent that was frozen, and not dead, works off what reached it
    meanwhile in any order, and a registering that was given up may come after the first removal.
    """

    def __init__(
        self, tasks: TaskOwner, clock: Clock, remove: Callable[[ConsulClient, str], Awaitable[None]]
    ) -> None:
        self._tasks = tasks
        self._clock = clock
        self._remove = remove
        self._left: dict[str, list[ConsulClient]] = {}
        self._removed: dict[str, list[ConsulClient]] = {}
        self._due: dict[str, float] = {}

    def add(self, id: str, clients: Iterable[ConsulClient]) -> None:
        """The registration may stand on these."""
        known = self._left.setdefault(id, [])
        known += [client for client in clients if client not in known]
        self._removed.pop(id, None)
        self._forget_if_none(id)

    def discard(self, id: str, client: ConsulClient) -> None:
        """The registration belongs on this one."""
        self._left[id] = [other for other in self._left.get(id, []) if other is not client]
        self._forget_if_none(id)

    def look(self, id: str) -> None:
        """Try to remove what is left, beside the caller, unless that was tried a moment ago."""
        if id in self._left and self._clock.time() >= self._due.get(id, 0.0):
            self._due[id] = self._clock.time() + INTERVAL
            self._tasks.spawn(self._try(id), role="orphan", service=id)

    async def finish(self, id: str) -> None:
        """Try once more, for a short time, and forget them."""
        if id in self._left:
            try:
                async with self._clock.timeout(PARTING):
                    await self._try(id)
            except TimeoutError:
                pass
        removed = self._removed.pop(id, [])
        for client in self._left.pop(id, ()):
            if client in removed:
                continue
            log.warning("%s may still stand on %s, which can't be reached", id, client.where)
        self._due.pop(id, None)

    async def _try(self, id: str) -> None:
        for client in list(self._left.get(id, ())):
            try:
                await self._remove(client, id)
            except BackendError:
                continue
            if client not in self._left.get(id, ()):
                continue
            removed = self._removed.setdefault(id, [])
            if client in removed:
                self.discard(id, client)
            else:
                removed.append(client)
                log.info("%s was removed from %s, where it stood before", id, client.where)

    def _forget_if_none(self, id: str) -> None:
        if not self._left.get(id):
            self._left.pop(id, None)
            self._removed.pop(id, None)
            self._due.pop(id, None)
