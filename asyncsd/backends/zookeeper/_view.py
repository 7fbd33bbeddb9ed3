"""A node's children, kept as they are by watches."""

import asyncio
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from asyncsd._errors import ClosedError
from asyncsd._models import Instance
from asyncsd._protocols import Clock
from asyncsd._tasks import TaskOwner
from asyncsd.backends._shared._waiters import Waiters

from ._address import join, plain_name
from ._codec import decode
from ._kazoo import Missing
from ._session import Request, Session

__all__ = ["Folder", "Service", "Source"]


class Source(NamedTuple):
    """What views read from, and whom they tell.

    `heard` is called, in kazoo's thread, for every watch: one function for all views, so that the watch of a
    view that was dropped doesn't keep it. `numbers` are the versions of all views: that of a view which was
    dropped isn't had by the next one of the same service.
    """

    session: Session
    clock: Clock
    tasks: TaskOwner
    heard: Callable[[Any], None]
    changed: Callable[[], None]
    numbers: Iterator[int]


class Folder:
    """The names of a node's children. `refresh` reads what has changed, and sets the watches again.

    A watch of ZooKeeper's tells of one change and is gone, so what it told of is read again, which sets it
    anew: no change goes by unseen, and several that come together are one.
    """

    def __init__(self, path: str, source: Source) -> None:
        self.path = path
        self.version = next(source.numbers)
        self.names: frozenset[str] = frozenset()
        self.is_missing = False
        """Whether the node isn't there, as far as is known: its watch stands until it is."""
        self._source = source
        self._users = 0
        self._last_use = source.clock.time()
        self._waiters = Waiters(source.clock)
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
        self._source.changed()

    def relist(self) -> None:
        """A watch has told that its children are others now, or that it has come or gone."""
        self._relist = True
        self._wake()

    def reread(self, child: str) -> None:
        """A watch has told that a child is another now."""
        self._unread.add(child)
        self._wake()

    def gone(self, child: str) -> None:
        """A watch has told that a child is gone; that of the children tells the same, and wakes who waits."""
        self._unread.add(child)  # It may be back already, and has no watch then.

    @contextmanager
    def in_use(self) -> Generator[None, None, None]:
        """Somebody waits for it, or reads."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self.touch()

    @property
    def is_in_use(self) -> bool:
        return self._users > 0

    def touch(self) -> None:
        """It was of use now."""
        self._last_use = self._source.clock.time()

    def idle_for(self) -> float:
        """The seconds since it was of use."""
        return 0.0 if self.is_in_use else self._source.clock.time() - self._last_use

    def start(self) -> asyncio.Task[None] | None:
        """Begin to read what is stale, or join those who read already; None where nothing is to be read."""
        if self._reading is not None and not self._reading.done():
            return self._reading
        if not self.is_stale:
            return None
        self._reading = self._source.tasks.spawn(self._read_all(), role="read", service=self.path)
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
        ask, heard = self._source.session.ask, self._source.heard
        while True:
            try:
                names = await ask("get_children", self.path or "/", heard)
            except Missing:
                self.is_missing = await ask("exists", self.path, heard) is None
                if self.is_missing:
                    return frozenset()
            else:
                self.is_missing = False
                return frozenset(names)

    def _set_names(self, names: frozenset[str]) -> None:
        if names != self.names:
            self.names = names
            self._new_version()

    def _new_version(self) -> None:
        self.version = next(self._source.numbers)

    async def _read_children(self, names: set[str]) -> None:
        """Of these only the names matter."""


class Service(Folder):
    """A service's instances."""

    def __init__(self, name: str, path: str, source: Source) -> None:
        super().__init__(path, source)
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
            self._new_version()

    async def _read_children(self, names: set[str]) -> None:
        if not names:
            return
        ordered = sorted(names)
        answers = await self._source.session.ask_all(
            [Request("get", join(self.path, name), (self._source.heard,)) for name in ordered]
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
            self._new_version()
