"""A watch over a composite of real registries, and waiting for what it tells."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from asyncsd import Backoff, Discovery, Event, Limits, Registration, TTLCheck
from asyncsd.backends.composite import Failover, Merge

__all__ = ["QUICK", "RESET_HOLD", "Seen", "registration", "watching"]

RESET_HOLD = 2.0
QUICK: dict[str, Any] = {
    "backoff": Backoff(initial=0.05, maximum=0.2),
    "limits": Limits(least_interval=0.02, most_interval=0.1, reset_hold=RESET_HOLD),
}
SOON = 20.0


def registration(host: str, **values: Any) -> Registration:
    """An instance of "users"."""
    return Registration(service="users", host=host, port=80, check=TTLCheck(ttl=10.0), **values)


class Seen:
    """What a watch told, from its begin."""

    def __init__(self, queue: asyncio.Queue[Event]) -> None:
        self._queue = queue
        self.events: list[Event] = []

    @property
    def latest(self) -> Event:
        return self.events[-1]

    @property
    def hosts(self) -> dict[str, str]:
        """The hosts that are served now, and whence they are known."""
        if not self.events or self.latest.snapshot is None:
            return {}
        return {each.host: str(each.origin) for each in self.latest.snapshot}

    async def until(self, holds: Callable[["Seen"], object]) -> Event:
        """Read on until it `holds`; the Event after which it does."""
        async with asyncio.timeout(SOON):
            while not self.events or not holds(self):
                self.events.append(await self._queue.get())
        return self.latest

    async def serves(self, **hosts: str) -> Event:
        """Read on until just these are served: `a="east"` is the host "a" from "east"."""
        return await self.until(lambda seen: seen.hosts == hosts)

    def removed_since(self, event: Event) -> list[str]:
        """The hosts that went after `event`."""
        later = self.events[self.events.index(event) + 1 :]
        return [each.host for told in later for each in told.removed]


@asynccontextmanager
async def watching(backend: Merge | Failover) -> AsyncGenerator[Seen, None]:
    queue: asyncio.Queue[Event] = asyncio.Queue()
    async with Discovery(backend, **QUICK) as sd, sd.watch("users", queue=queue):
        yield Seen(queue)
