"""A feed of changes: a few blocking queries that tell of every service of a datacenter."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from asyncsd._errors import BackendError, ProtocolError, UnreachableError
from asyncsd._protocols import Clock
from asyncsd._tasks import TaskOwner

from ._answers import Answer, checked, parse_index
from ._budget import Budget, Interval
from ._known import Known
from ._marks import Marks
from ._sweep import LISTS, Sweep, node_list
from ._transport import Agent

__all__ = ["Feed"]

log = logging.getLogger("asyncsd.consul")

READS = 16
"""How many of those that were told of a change read at a time."""
FEWER = 0.8
"""Sweeping ends once there are fewer nodes than this part of what may be followed."""
SOON = 5.0
"""A feed that breaks twice within so many seconds ends."""


STATES: tuple[str, ...] = ("critical", "warning")


class Mark(NamedTuple):
    """How far a feed was before a service was read."""

    changes: int
    states: tuple[int, ...]
    """The index of each state's last answer."""


@dataclass(eq=False)
class _Source:
    """One query, and what takes its answers: it gives the services that changed."""

    path: str
    hear: Callable[[Answer], set[str]]
    state: str | None = None
    index: int | None = None
    last: int = 0
    """Its index in the round before."""
    heard_at: float | None = None
    interval: Interval = field(default_factory=Interval)


class Feed:
    """Tells which services changed, over a handful of connections, however many are watched.

    It holds blocking queries on
    - the checks that are critical, and those that are warning: what comes into a state or leaves it;
    - the nodes: an address that changes, a node that comes or goes;
    - each node's list of instances, which wakes for that node's writes alone; or, where there are more nodes
      than `room` gives connections, one on the names of all services, which wakes for every write and doesn't
      say of which: then a sweep reads what stands on all of them.

    Together they see all that makes another list of instances. What they say is a hint, for whoever waits to
    read the service itself.

    A read may be ahead of a query: a check that had turned critical by then, and is passing again when the
    query is answered, was never critical to that query. So what was read ahead of a state's query is taken
    as changed by its next answer.

    A query that fails has all of them begin anew, and what changed meanwhile is found by comparing. If that
    fails too, the feed ends with the error: `failure`.
    """

    def __init__(
        self, agent: Agent, datacenter: str | None, *, wait: float, room: Callable[[], int], clock: Clock
    ) -> None:
        self._agent = agent
        self._params = [("dc", datacenter)] if datacenter is not None else []
        self._wait = wait
        self._room = room
        self._clock = clock
        self._budget = Budget(clock)
        self._sources: dict[str, _Source] = {}
        self._following: dict[str, asyncio.Task[None]] = {}
        self._tasks = TaskOwner()
        self._sweep: Sweep | None = None
        self._complete = False
        self._told_of = dict.fromkeys(STATES, 0)
        self._ahead: dict[str, set[str]] = {state: set() for state in STATES}
        self._room_to_read = asyncio.Semaphore(LISTS)
        self.known: Known = Known()
        self.marks: Marks = Marks(clock)
        self.reads: asyncio.Semaphore = asyncio.Semaphore(READS)
        self.settled: asyncio.Event = asyncio.Event()
        """Set once it is live, and when it has ended without."""
        self.ended: asyncio.Event = asyncio.Event()
        self.answers: int = 0
        """How many it has had."""
        self.failure: Exception | None = None
        """What it ended by; None for a cancellation."""

    def __repr__(self) -> str:
        state = "ended" if self.ended.is_set() else "live" if self.is_live else "starting"
        return f"Feed({state}, {self.held} queries, {self.known!r}, {self.marks!r})"

    @property
    def is_live(self) -> bool:
        """Whether it tells of every change from now on."""
        return self.settled.is_set() and not self.ended.is_set()

    @property
    def held(self) -> int:
        """How many connections it holds."""
        return len(self._sources)

    @property
    def heard_at(self) -> float:
        """The time as of which all of its queries have told what there was."""
        return min((source.heard_at or 0.0 for source in self._sources.values()), default=0.0)

    @property
    def lag(self) -> float:
        """Seconds it may take to tell of a write: for a sweep that was on its way, and for the next."""
        return 0.0 if self._sweep is None else self._sweep.lag

    def mark(self) -> Mark:
        """To be taken before a service is read."""
        return Mark(self.marks.now, tuple(self._told_of.values()))

    def has_read(self, service: str, mark: Mark, index: int) -> None:
        """Since `mark` was taken, `service` was read, and told something new with this index."""
        for (state, now), before in zip(self._told_of.items(), mark.states, strict=True):
            if now != before and index > before:
                self.marks.mark((service,))
            elif index > now:
                self._ahead[state].add(service)

    def _catch_up(self, state: str, index: int) -> set[str]:
        """What was read ahead of this answer, if anything happened to the checks meanwhile."""
        before, self._told_of[state] = self._told_of[state], index
        ahead, self._ahead[state] = self._ahead[state], set()
        return ahead if index != before else set()

    async def changed(self, service: str, since: Mark, seconds: float) -> bool:
        """Wait for a change of `service` after the mark `since`, for so many seconds.

        Returns False at their end, and when the feed ends. Raises UnreachableError when that is because the
        agent can't be reached.
        """
        told = await self.marks.wait(service, since.changes, seconds)
        self.check()
        return told

    def check(self) -> None:
        """Raise where the feed has ended by what every other request would end by too."""
        if isinstance(self.failure, UnreachableError):
            # One for each: they would share a traceback that grows.
            raise UnreachableError(str(self.failure.args[0]), url=self.failure.url) from self.failure
        if self.failure is not None and not isinstance(self.failure, BackendError):
            raise RuntimeError("the feed of changes died of a bug") from self.failure

    async def run(self) -> None:
        """Follow until cancelled, or until it can't go on."""
        broke_at = float("-inf")
        try:
            while True:
                try:
                    await self._round()
                except BackendError as exc:
                    now = self._clock.time()
                    if not self._complete or now - broke_at < SOON:
                        raise
                    broke_at = now
                    log.info("the feed of changes begins anew: %s", exc)
        except Exception as exc:
            self.failure = exc
            if not isinstance(exc, BackendError):
                log.exception("the feed of changes died of a bug")
        finally:
            self.ended.set()
            self.settled.set()
            self.marks.wake_all()

    async def _round(self) -> None:
        """Ask everything once, and wait for changes then. Returns when it has to be done in another way."""
        self._complete = False
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        nodes = _Source("/v1/catalog/nodes", self.known.hear_nodes)
        states = {
            state: _Source(f"/v1/health/state/{state}", partial(self.known.hear_state, state), state)
            for state in STATES
        }
        before, self._sources = self._sources, {"nodes": nodes, **states}
        for name, source in self._sources.items():
            source.last = (before[name].index or before[name].last) if name in before else 0
        self._following = {}
        try:
            await self._turn(nodes)
            self._sweep = None
            if len(self.known.nodes) > self._room():
                self._sources["names"] = _Source("/v1/catalog/services", self._hear_names)
                self._sweep = Sweep(self._read, self.known, self._tasks, self._clock)
                self._spawn("sweep", self._sweep.run(self._look_if_complete))
            for name in list(self._sources):
                self._follow(name)
            await self._look_at_nodes()
            await self._over
        finally:
            await self._tasks.aclose()
            if self._over.done():
                self._over.exception()  # Seen, though another error or a cancellation came first.

    def _spawn(self, role: str, coro: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._tasks.spawn(self._guarded(coro), role=f"feed-{role}", service="consul")

    async def _guarded(self, coro: Coroutine[Any, Any, None]) -> None:
        """Whatever a part fails by ends the round."""
        try:
            await coro
        except Exception as exc:  # noqa: BLE001 - raised where the round is awaited
            if not self._over.done():
                self._over.set_exception(exc)

    def _follow(self, name: str) -> None:
        self._following[name] = self._spawn(name, self._ask_on(name, self._sources[name]))

    async def _ask_on(self, name: str, source: _Source) -> None:
        while True:
            pause = await self._turn(source)
            if name == "nodes":
                await self._look_at_nodes()
            await self._clock.sleep(pause)

    async def _turn(self, source: _Source) -> float:
        """Ask once, by a blocking query unless it is the first time; the seconds to leave the agent alone."""
        began = self._clock.time()
        before = source.index
        if before is None:
            # Whoever waits for the feed to start may have filled the line of all other reads.
            async with self._room_to_read:
                answer = await self._agent.get(source.path, self._params, apart=True)
        else:
            params = [*self._params, ("index", str(before))]
            answer = await self._agent.get(source.path, params, wait=self._wait)
        checked(answer)
        self.answers += 1
        if answer.status == 404:
            raise BackendError(f"404: {answer.text()}", url=answer.url, status=404)
        index = parse_index(answer)
        if index is None:
            raise ProtocolError("the answer has no index to wait from", url=answer.url, status=answer.status)
        changed = source.hear(answer)
        ahead = self._catch_up(source.state, index) if source.state is not None else set[str]()
        source.index = index
        if index < (before or source.last):
            # The agent has lost its data, or got other data: what it tells now may be another's.
            source.index, source.last = None, 0
            self.marks.mark_all()
        elif changed or ahead:
            self.marks.mark(changed | ahead)
        source.heard_at = self._clock.time()
        self._look_if_complete()
        pause = source.interval.heard(
            changed=bool(changed), moved=index != before, took=source.heard_at - began
        )
        return max(pause, self._budget.rest(len(answer.body)))

    def _look_if_complete(self) -> None:
        if not self._complete and (self._sweep is None or self._sweep.is_done):
            known = self.known.nodes.keys() if self._sweep is None else ()
            if all(f"node {name}" in self._sources for name in known):
                self._complete = all(source.heard_at is not None for source in self._sources.values())
                if self._complete:
                    self.settled.set()

    async def _look_at_nodes(self) -> None:
        """Follow the nodes that there are, or sweep them."""
        count, room = len(self.known.nodes), self._room()
        if (count > room) if self._sweep is None else (count < FEWER * room):
            if not self._over.done():
                self._over.set_result(None)
            return
        if self._sweep is not None:
            self._sweep.wanted.set()
            return
        names = {f"node {node}": node for node in self.known.nodes}
        for name, node in names.items():
            if name not in self._sources:
                self._sources[name] = self._list(node)
                self._follow(name)
        gone = [name for name in self._following if name.startswith("node ") and name not in names]
        for name in gone:
            del self._sources[name]
        await self._tasks.cancel(*(self._following.pop(name) for name in gone))
        self._look_if_complete()

    def _list(self, node: str) -> _Source:
        return _Source(node_list(node), partial(self.known.hear_node, node))

    def _hear_names(self, answer: Answer) -> set[str]:
        if self._sweep is not None:
            self._sweep.wanted.set()
        return self.known.hear_names(answer)

    async def _read(self, path: str, hear: Callable[[Answer], set[str]]) -> float:
        """Ask once for the sweep; the seconds to leave the agent alone."""
        return await self._turn(_Source(path, hear))
