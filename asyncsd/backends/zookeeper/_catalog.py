"""All services as they are read: a view each, and their names."""

from asyncsd._models import Names, Query, Reply
from asyncsd._protocols import Clock
from asyncsd._tasks import TaskOwner

from ._address import join, node_name, plain_name
from ._lifetime import Lifetime
from ._session import Session
from ._view import Folder, Service, Waiters

__all__ = ["Catalog"]


class Catalog:
    """Answers fetches, each service's from one view, which is made when it is first asked for."""

    def __init__(
        self, root: str, session: Session, *, tasks: TaskOwner, lifetime: Lifetime, clock: Clock, wait: float
    ) -> None:
        self._root = root
        self._session = session
        self._tasks = tasks
        self._clock = clock
        self._wait = wait
        self._lifetime = lifetime
        self._changes = self._waiters()
        self._services: dict[str, Service] = {}
        self._folder = Folder(root, session, self._waiters(), tasks=tasks, changed=self._changes.wake)

    def _waiters(self) -> Waiters:
        return Waiters(self._lifetime, self._clock)

    def lost(self) -> None:
        """Every watch is gone: all that was read has to be read again."""
        for view in self._services.values():
            view.mark()
        self._folder.mark()

    def _service(self, name: str) -> Service:
        if (view := self._services.get(name)) is None:
            path = join(self._root, node_name(name))
            view = self._services[name] = Service(
                name, path, self._session, self._waiters(), tasks=self._tasks, changed=self._changes.wake
            )
        return view

    async def fetch(self, query: Query, cursor: int | None) -> Reply:
        """The instances of a service; with a cursor, once they differ, or when the wait is over."""
        view = self._service(query.service)
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
        """The services that have instances, with their tags; with a cursor, once that differs."""
        if cursor is None:
            self._folder.mark()
        end = self._clock.time() + self._wait
        names, views = await self._read_names()
        while names == cursor and (left := end - self._clock.time()) > 0:
            if not any(one.is_stale for one in (self._folder, *views)):
                await self._changes.wait(left)
            names, views = await self._read_names()
        return Names(names, cursor=names, index=self._session.zxid)

    async def _read_names(self) -> tuple[dict[str, tuple[str, ...]], list[Service]]:
        await self._folder.refresh()
        # At the root stands ZooKeeper's own node too.
        nodes = [node for node in self._folder.names if self._root or node != "zookeeper"]
        views = [self._service(name) for name in sorted(map(plain_name, nodes))]
        for view in views:
            view.start()
        for view in views:
            await view.refresh()
        return {view.name: view.tags for view in views if view.instances}, views
