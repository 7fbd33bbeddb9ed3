"""All services as they are read: a view each, and their names."""

import asyncio
from itertools import count
from typing import Any

from asyncsd._errors import PermissionDeniedError
from asyncsd._models import Names, Query, Reply
from asyncsd._protocols import Clock
from asyncsd._tasks import TaskOwner
from asyncsd.backends._shared._waiters import Waiters

from ._address import join, node_name, plain_name
from ._session import Session
from ._threads import tell
from ._view import Folder, Service, Source

__all__ = ["Catalog"]

IDLE = 120.0
"""A view that nobody has asked for so many seconds is dropped; whoever asks again begins a new one."""


class Catalog:
    """Answers fetches, each service's from one view, which is made when it is asked for."""

    def __init__(self, root: str, session: Session, *, tasks: TaskOwner, clock: Clock, wait: float) -> None:
        self._root = root
        self._session = session
        self._clock = clock
        self._wait = wait
        self._loop = asyncio.get_running_loop()
        self._changes = Waiters(clock)
        self._source = Source(session, clock, tasks, self._heard, self._changes.wake, count(1))
        self._folder = Folder(root, self._source)
        self._services: dict[str, Service] = {}
        """The views, by their paths."""
        self._swept = clock.time()

    def __len__(self) -> int:
        """How many services are watched."""
        return len(self._services)

    def lost(self) -> None:
        """Every watch is gone: all that was read has to be read again."""
        for view in self._services.values():
            view.mark()
        self._folder.mark()

    def _heard(self, event: Any) -> None:
        """A watch's event, in kazoo's thread."""
        tell(self._loop, self._event, str(event.type), event.path)

    def _event(self, kind: str, path: str | None) -> None:
        if kind == "NONE" or path is None:
            return  # The connection is lost, of which the session tells.
        if path == (self._root or "/"):
            self._folder.relist()
        elif (view := self._services.get(path)) is not None:
            view.relist()
        else:
            parent, _, child = path.rpartition("/")
            if (view := self._services.get(parent)) is None:
                return
            if kind == "DELETED":
                view.gone(child)
            else:
                view.reread(child)

    def _service(self, name: str) -> Service:
        path = join(self._root, node_name(name))
        if (view := self._services.get(path)) is None:
            view = self._services[path] = Service(name, path, self._source)
        return view

    def _sweep(self) -> None:
        """Drop the views that are of no use any more.

        What they watch tells of one change more at most, which nobody looks at. But what isn't there may
        never come: that watch is taken back.
        """
        now = self._clock.time()
        if now - self._swept < IDLE / 2:
            return
        self._swept = now
        # Whoever waits for a change of the names waits for those of all views.
        listed = self._paths() if self._folder.is_in_use else {}
        for path, view in list(self._services.items()):
            if view.idle_for() >= IDLE and path not in listed:
                del self._services[path]
                if view.is_missing:
                    self._session.unwatch(path)

    async def fetch(self, query: Query, cursor: int | None) -> Reply:
        """The instances of a service; with a cursor, once they differ, or when the wait is over."""
        self._sweep()
        view = self._service(query.service)
        with view.in_use():
            if cursor is None:
                if query.consistency == "consistent":
                    await self._session.ask("sync", self._root or "/")
                view.mark()
            end = self._clock.time() + self._wait
            await view.refresh()
            while view.version == cursor and (left := end - self._clock.time()) > 0:
                await view.wait(left)
                await view.refresh()
        found = view.instances
        if query.server_filter:
            found = tuple(instance for instance in found if query.matches(instance))
        return Reply(found, cursor=view.version, index=self._session.zxid, skipped=view.skipped)

    async def fetch_names(self, cursor: dict[str, tuple[str, ...]] | None) -> Names:
        """The services that have instances, with their tags; with a cursor, once that differs.

        What may not be read is left out.
        """
        self._sweep()
        with self._folder.in_use():
            if cursor is None:
                self._folder.mark()
            end = self._clock.time() + self._wait
            names, views = await self._read_names()
            while names == cursor and (left := end - self._clock.time()) > 0:
                if not any(one.is_stale for one in (self._folder, *views)):
                    await self._changes.wait(left)
                names, views = await self._read_names()
        return Names(names, cursor=names, index=self._session.zxid)

    def _paths(self) -> dict[str, str]:
        """The services that are listed, by their paths."""
        # At the root stands ZooKeeper's own node too.
        nodes = (node for node in self._folder.names if self._root or node != "zookeeper")
        return {join(self._root, node): plain_name(node) for node in nodes}

    async def _read_names(self) -> tuple[dict[str, tuple[str, ...]], list[Service]]:
        await self._folder.refresh()
        views = [self._service(name) for name in sorted(self._paths().values())]
        for view in views:
            view.touch()
            view.start()
        readable: list[Service] = []
        for view in views:
            try:
                await view.refresh()
            except PermissionDeniedError:
                continue  # Nobody can tell whether it has instances. It is tried again the next time.
            readable.append(view)
        return {view.name: view.tags for view in readable if view.instances}, readable
