"""A ConsulBackend that has more to wait for than it may hold, so that a feed tells it of changes."""

import asyncio
from typing import Any, Self

from asyncsd import Query
from asyncsd.backends.consul import ConsulBackend

__all__ = ["Crowded"]


class Crowded(ConsulBackend):
    """Waits for services that nobody has, as many as start a feed; once it is open the feed is live.

    With a `max_watches` of 8 the feed follows up to four nodes, with 1 it sweeps them.
    """

    def __init__(self, url: str, *, max_watches: int = 8, **options: Any) -> None:
        super().__init__(url, max_watches=max_watches, **options)
        self._idle: list[asyncio.Task[None]] = []
        self._many = max_watches + 1

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._idle = [asyncio.create_task(self._wait_for(f"nobody-{n}")) for n in range(self._many)]
        async with asyncio.timeout(30):
            while not self.fed:  # noqa: ASYNC110 - a feed has no event for tests
                await asyncio.sleep(0.01)
        return self

    @property
    def fed(self) -> bool:
        """Whether a feed is live."""
        return "Feed(live" in repr(self._feeds)

    async def _wait_for(self, service: str) -> None:
        reply = await self.fetch(Query(service), None)
        while True:
            reply = await self.fetch(Query(service), reply.cursor)

    async def aclose(self) -> None:
        for task in self._idle:
            task.cancel()
        await asyncio.gather(*self._idle, return_exceptions=True)
        await super().aclose()
