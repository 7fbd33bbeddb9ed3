"""A node's children, kept as they are by watches."""

import asyncio
from collections.abc import Callable
from typing import Any

from asyncsd._errors import ClosedError
from asyncsd._models import Instance
from asyncsd._protocols import Clock
from asyncsd._tasks import TaskOwner

from ._address import join, plain_name
from ._codec import decode
from ._kazoo import Missing
from ._lifetime import Lifetime
from ._session import Request, Session
from ._threads import tell

__all__ = ["Folder", "Service", "Waiters"]


class Waiters:
    """Those who wait for a change."""

    def __init__(self, lifetime: Lifetime, clock: Clock) -> None:
        self._lifetime = lifetime
        self._clock = clock
        self._waiting: set[asyncio.Future[None]] = set()

    async def wait(self, seconds: float) -> None:
        """Return at the next `wake`, or after so many seconds."""
        with self._lifetime.waiting() as woken:
            self._waiting.add(woken)
            try:
                async with self._clock.timeout(seconds):
                    await woken
            except TimeoutError:
                pass
            finally:
                self._waiting.discard(woken)

    def wake(self) -> None:
        for woken in self._waiting:
            if not woken.done():
                woken.set_result(None)


class Folder:
    """The names of a node's children. `refresh` reads what has changed, and sets the watches again.

    A watch of ZooKeeper's tells of one change and is gone, so what it told of is read again, which sets it
    anew: no change goes by unseen, and several that come together are one.
    """

    def __init__(
        self,
        path: str,
        session: Session,
        waiters: Waiters,
        *,
        tasks: TaskOwner,
        changed: Callable[[], None],
    ) -> None:
        self.path = path
        self.version = 0
        self.names: frozenset[str] = frozenset()
        self._session = session
        self._waiters = waiters
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._tasks = tasks
        self._reading: asyncio.Task[None] | None = None
        self._relist = True
        self._unread: set[str] = set()
        self._all = True

    @property
    def is_stale(self) -> bool:
        """Whether there is something to read."""
        return self._relist or bool(self._unread)

    def mark(self) -> None:
        """Everything has to be read again."""
        self._relist = self._all = True
        self._wake()

    async def wait(self, seconds: float) -> None:
        """Return once something has to be read, or after so many seconds."""
        if not self.is_stale:
            await self._waiters.wait(seconds)

    def _wake(self) -> None:
        self._waiters.wake()
        self._changed()

    def heard(self, event: Any) -> None:
        """A watch's event, in kazoo's thread."""
        tell(self._loop, self._event, str(event.type), event.path)

    def _event(self, kind: str, path: str | None) -> None:
        if kind == "NONE" or path is None:
            return  # The connection is lost, of which the session tells.
        if path == (self.path or "/"):
            self._relist = True
        else:
            self._unread.add(path.rpartition("/")[2])
        self._wake()

    def start(self) -> asyncio.Task[None] | None:
        """Begin to read what is stale, or join those who read already; None where nothing is to be read."""
        if self._reading is not None and not self._reading.done():
            return self._reading
        if not self.is_stale:
            return None
        self._reading = self._tasks.spawn(self._read_all(), role="read", service=self.path)
        # Whoever waited may have been cancelled: nobody is left then to see how it ended.
        self._reading.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._reading

    async def refresh(self) -> None:
        """Read until nothing is stale, all who ask together; what an error left unread is read next time."""
        if (reading := self.start()) is not None:
            await asyncio.wait((reading,))
            if reading.cancelled():
                raise ClosedError("the ZooKeeperBackend was closed")
            reading.result()

    async def _read_all(self) -> None:
        while self.is_stale:
            relist, everything, unread = self._relist, self._all, self._unread
            self._relist, self._all, self._unread = False, False, set()
            try:
                await self._read(relist, everything, unread)
            except BaseException:
                self._relist = self._relist or relist
                self._all = self._all or everything
                self._unread |= unread
                raise

    async def _read(self, relist: bool, everything: bool, unread: set[str]) -> None:
        if relist:
            names = await self._list()
            if everything:
                unread.update(names)
            unread.update(names - self.names)
            self._set_names(names)
        unread.intersection_update(self.names)
        await self._read_children(unread)

    async def _list(self) -> frozenset[str]:
        """The children, none where the node isn't there; watched either way."""
        while True:
            try:
                return frozenset(await self._session.ask("get_children", self.path or "/", self.heard))
            except Missing:
                if await self._session.ask("exists", self.path, self.heard) is None:
                    return frozenset()

    def _set_names(self, names: frozenset[str]) -> None:
        if names != self.names:
            self.names = names
            self.version += 1

    async def _read_children(self, names: set[str]) -> None:
        """Of these only the names matter."""


class Service(Folder):
    """A service's instances."""

    def __init__(
        self,
        name: str,
        path: str,
        session: Session,
        waiters: Waiters,
        *,
        tasks: TaskOwner,
        changed: Callable[[], None],
    ) -> None:
        super().__init__(path, session, waiters, tasks=tasks, changed=changed)
        self.name = name
        self._data: dict[str, bytes | None] = {}
        self._instances: dict[str, Instance | None] = {}

    @property
    def instances(self) -> tuple[Instance, ...]:
        return tuple(one for one in self._instances.values() if one is not None)

    @property
    def skipped(self) -> int:
        """How many nodes are no instance, or may not be read."""
        return sum(one is None for one in self._instances.values())

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of all instances, sorted."""
        return tuple(sorted({tag for instance in self.instances for tag in instance.tags}))

    def _set_names(self, names: frozenset[str]) -> None:
        for gone in self.names - names:
            self._forget(gone)
        self.names = names

    def _forget(self, name: str) -> None:
        self._data.pop(name, None)
        if name in self._instances and self._instances.pop(name) is not None:
            self.version += 1

    async def _read_children(self, names: set[str]) -> None:
        if not names:
            return
        ordered = sorted(names)
        answers = await self._session.ask_all(
            [Request("get", join(self.path, name), (self.heard,)) for name in ordered]
        )
        for name, answer in zip(ordered, answers, strict=True):
            if isinstance(answer, Missing):
                # Gone since the list was made; one that came back in its place is in the next list.
                self._forget(name)
                self.names -= {name}
                self._relist = True
            else:
                self._take(name, None if isinstance(answer, Exception) else answer[0])

    def _take(self, name: str, data: bytes | None) -> None:
        if name in self._data and self._data[name] == data:
            return
        self._data[name] = data
        before = self._instances.get(name)
        after = None if data is None else decode(self.name, plain_name(name), data)
        self._instances[name] = after
        if before != after:
            self.version += 1
