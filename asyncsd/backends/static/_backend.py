"""The backend: what the core asks, from a list."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

from asyncsd._clock import LoopClock
from asyncsd._errors import UnreachableError
from asyncsd._models import Instance, Names, Query, Reply, Trust
from asyncsd._protocols import Clock
from asyncsd._values import duration
from asyncsd.backends._shared._lifetime import Lifetime
from asyncsd.backends._shared._refusals import refuse_unknown

from ._file import File, ListFile
from ._follow import Follower
from ._schema import SchemaError, Services, as_services

__all__ = ["StaticBackend"]

log = logging.getLogger("asyncsd.static")

Entries = Iterable[str | Instance | Mapping[str, Any]]


class StaticBackend:
    """Instances that are written down: in the program, or in a TOML or YAML file that is watched.

    `services` maps names to lists; an entry is an address ("10.0.0.1:80", "https://host:443"), a table of
    Instance's fields ({"host": …, "port": …, "tags": […]}), or an Instance. `file` names a file of the same
    shape under the key `services`, looked at every `interval` seconds. A file that can't be used leaves the
    list that was read before: its instances serve on as stale, with the error. `wait` is how long, in
    seconds, a fetch waits for a change.

    It is for reading only: it checks nothing, and nothing can be registered with it. Nothing happens before
    `async with`; a backend is opened once. A file that can't be used at first is no error of that: each
    fetch raises UnreachableError then, until it can.

    >>> StaticBackend({"users": ["10.0.0.1:80", "10.0.0.2:80"]})
    StaticBackend(2 instances of 1 service)
    """

    def __init__(
        self,
        services: Mapping[str, Entries] | None = None,
        *,
        file: File | None = None,
        interval: float = 1.0,
        wait: float = 55.0,
        clock: Clock | None = None,
    ) -> None:
        if (services is None) is (file is None):
            raise TypeError("StaticBackend takes a mapping of services, or file=: one of the two")
        for name, seconds in (("interval", interval), ("wait", wait)):
            duration(f"StaticBackend.{name}", seconds)
        self._clock: Clock = clock or LoopClock()
        self._wait = wait
        self._file: ListFile | None = None
        self._follower: Follower | None = None
        self._services: Services | None = None
        self._error: UnreachableError | None = None
        self._version = 0
        self._errors = 0
        self._changed_at: dict[str, int] = {}
        self._changed = asyncio.Event()
        """Set at the next change, and another one from then on."""
        self._lifetime = Lifetime("StaticBackend")
        if file is not None:
            self._file = ListFile(file)
            self._follower = Follower(self._file, self._tell, interval=interval, clock=self._clock)
        else:
            try:
                self._take(as_services(services, ("StaticBackend.services",)))
            except SchemaError as exc:
                raise ValueError(str(exc)) from None

    def __repr__(self) -> str:
        if self._file is not None:
            return f"StaticBackend(file={str(self._file)!r})"
        return f"StaticBackend({_count(self._services or {})})"

    @property
    def is_open(self) -> bool:
        """Whether it was opened, and not closed since."""
        return self._lifetime.is_open

    async def __aenter__(self) -> Self:
        self._lifetime.refuse_second()
        self._lifetime.open()
        if self._follower is not None:
            try:
                await self._follower.open()
            except BaseException:
                self._lifetime.close()
                raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End every wait with ClosedError, and look at the file no more. Idempotent."""
        self._lifetime.close()
        if self._follower is not None:
            await self._follower.aclose()

    async def fetch(self, query: Query, cursor: tuple[int, int] | None) -> Reply:
        """The instances of a service; with a cursor, once they or the state of the file differ.

        Raises UnreachableError while the file could never be used.
        """
        refuse_unknown(query, "a static list", ("filter", "node_meta"))
        async with self._lifetime.call():
            cursor = await self._differing(cursor, lambda: self._changed_at.get(query.service, 0))
            instances = self._known().get(query.service, ())
        if query.datacenter is not None:
            instances = tuple(each for each in instances if each.datacenter == query.datacenter)
        if query.server_filter:
            instances = tuple(each for each in instances if query.matches(each))
        trust = None if self._error is None else Trust(stale=True, error=self._error)
        return Reply(instances, cursor=cursor, index=self._version, trust=trust)

    async def fetch_names(self, cursor: tuple[int, int] | None) -> Names:
        """The services that have instances, with their tags; waits as `fetch` does."""
        async with self._lifetime.call():
            cursor = await self._differing(cursor, lambda: self._version)
            services = self._known()
        names = {
            service: tuple(sorted({tag for instance in instances for tag in instance.tags}))
            for service, instances in services.items()
            if instances
        }
        return Names(names, cursor=cursor, index=self._version)

    async def _differing(
        self, cursor: tuple[int, int] | None, changed_at: Callable[[], int]
    ) -> tuple[int, int]:
        """Wait until the state isn't `cursor`, at most for the backend's wait; the state then."""
        end = self._clock.time() + self._wait
        while (state := (changed_at(), self._errors)) == cursor and (left := end - self._clock.time()) > 0:
            changed = self._changed
            try:
                async with self._clock.timeout(left):
                    await changed.wait()
            except TimeoutError:
                break
        return state

    def _known(self) -> Services:
        if self._services is None:
            raise UnreachableError(str(self._error or f"{self._file}: it was not read yet"))
        return self._services

    def _tell(self, said: Services | UnreachableError) -> None:
        """Take what the file says, or why it can't be used; log what is new."""
        known, before = self._services, self._error
        if isinstance(said, UnreachableError):
            if before is None or str(before) != str(said):
                kept = "" if known is None else f"; {_count(known)} that were read before serve on"
                log.warning("%s%s", said, kept)
                self._fails(said)
            return
        changed = self._take(said)
        if changed or before is not None:
            log.info("%s: %s", self._file, _count(said))
        if before is not None:
            self._fails(None)
        elif changed:
            self._wake()

    def _fails(self, error: UnreachableError | None) -> None:
        self._error = error
        self._errors += 1
        self._wake()

    def _take(self, services: Services) -> bool:
        """Whether that is another list. What is as it was stays the same object."""
        known = self._services or {}
        taken = {service: _same(known.get(service, ()), found) for service, found in services.items()}
        changed = {name for name in {*known, *taken} if known.get(name, ()) is not taken.get(name, ())}
        first, self._services = self._services is None, taken
        if changed or first:
            self._version += 1
            self._changed_at.update(dict.fromkeys(changed, self._version))
        return bool(changed) or first

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _same(known: tuple[Instance, ...], found: tuple[Instance, ...]) -> tuple[Instance, ...]:
    if known == found:
        return known
    old = {instance.key: instance for instance in known}
    return tuple(
        before if (before := old.get(instance.key)) is not None and before == instance else instance
        for instance in found
    )


def _count(services: Services) -> str:
    instances = sum(map(len, services.values()))
    return (
        f"{instances} instance{'' if instances == 1 else 's'} "
        f"of {len(services)} service{'' if len(services) == 1 else 's'}"
    )
