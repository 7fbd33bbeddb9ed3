"""Reads what stands on all nodes after each write, where there are too many nodes to follow each."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

from asyncsd._errors import BackendError, ProtocolError
from asyncsd._protocols import Clock
from asyncsd._tasks import TaskOwner

from ._answers import Answer
from ._known import Known
from ._transport import segment

__all__ = ["LISTS", "Sweep", "node_list"]

log = logging.getLogger("asyncsd.consul")

Hear: TypeAlias = Callable[[Answer], set[str]]

LISTS = 8
"""How many lists of nodes are read at a time."""
RATE = 800.0
"""How many of them are read a second at most, over all sweeps."""
ALL = "/v1/internal/ui/nodes"
"""All nodes with their instances and checks in one answer: it costs an agent an eighth of the lists of 1,000
nodes with one instance each, and a third where they have five. It is Consul's page that asks for it."""
MOST, MOST_BYTES = 20_000, 32 << 20
"""More instances than this, or more bytes that tell of them, are too much for one answer."""
REST = 2.0
"""The agent is left alone for so many times what one answer for all costs, and for what it took at least."""


def node_list(node: str) -> str:
    """The path of a node's list."""
    return f"/v1/catalog/node-services/{segment(node)}"


class Sweep:
    """One sweep after the other while there is something to look for: `wanted`.

    The first is over the nodes' lists, for nothing tells before how large one answer would be. Further ones
    are that one answer where it isn't too large, and else, or where the agent doesn't have it, the lists.

    `read` asks for a path, gives the answer to a function, and returns the seconds to leave the agent alone.
    """

    def __init__(
        self, read: Callable[[str, Hear], Awaitable[float]], known: Known, tasks: TaskOwner, clock: Clock
    ) -> None:
        self._read = read
        self._known = known
        self._tasks = tasks
        self._clock = clock
        self._in_one = True
        self.wanted: asyncio.Event = asyncio.Event()
        self.is_done: bool = False
        """Whether one has come to its end."""

    @property
    def lag(self) -> float:
        """Seconds it may take to see a write: for a sweep that was on its way, and for the next."""
        return 3 * len(self._known.nodes) / RATE

    async def run(self, swept: Callable[[], None]) -> None:
        """Sweep until cancelled, or until a read fails; `swept` is called after each."""
        while True:
            await self.wanted.wait()
            self.wanted.clear()
            began = self._clock.time()
            rest = await self._all_in_one() if self._can_be_one else None
            if rest is None:
                count = len(self._known.nodes)
                await self._lists()
                took = self._clock.time() - began
                rest = max(took, count / RATE - took)
            self.is_done = True
            swept()
            await self._clock.sleep(rest)

    @property
    def _can_be_one(self) -> bool:
        return self._in_one and self.is_done and self._known.instances <= MOST

    async def _all_in_one(self) -> float | None:
        """The seconds to rest; None where the agent, or a proxy before it, gives no such answer."""
        began = self._clock.time()
        try:
            rest = await self._read(ALL, self._hear_all)
        except BackendError as exc:
            if not exc.permanent and exc.status != 404 and not isinstance(exc, ProtocolError):
                raise
            log.debug("the nodes' lists are read one by one: %s", exc)
            self._in_one = False
            return None
        return max(REST * rest, self._clock.time() - began)

    def _hear_all(self, answer: Answer) -> set[str]:
        self._in_one = len(answer.body) <= MOST_BYTES
        return self._known.hear_all(answer)

    async def _lists(self) -> None:
        nodes = deque(self._known.nodes)

        async def read() -> None:
            while nodes:
                node = nodes.popleft()
                await self._read(node_list(node), partial(self._known.hear_node, node))

        await asyncio.gather(
            *(self._tasks.spawn(read(), role="feed-sweep", service="consul") for _ in range(LISTS))
        )
