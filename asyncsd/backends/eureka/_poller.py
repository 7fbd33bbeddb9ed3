"""One poll for all who wait: the servers push nothing."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from asyncsd._errors import BackendError, ClosedError
from asyncsd._protocols import Clock
from asyncsd._tasks import TaskOwner

from ._answers import AbsentError, ForbiddenError, UnavailableError
from ._catalog import Catalog
from ._codec import segment
from ._messages import Applications, Info, Listing, One
from ._servers import Server
from ._transport import Transport

__all__ = ["Poller"]

T = TypeVar("T")

FRESH = 1.0
"""Seconds for which a list is good enough for whoever asks: the servers' own are up to 30 s old."""
COMPLETE = 120.0
"""Seconds after which changes may lack some: the servers keep those of the last three minutes."""
SETTLED = 4
"""Intervals without a change after which the servers' caches are doubted."""
CACHED = 30.0
"""Seconds between two looks of a server at its caches, with its usual settings."""
MANY = 500
"""Instances that are decoded off the loop: it takes some 20 µs for each."""


class Poller:
    """Keeps the catalog up while somebody waits, by one request each `interval` seconds.

    That asks for the changes of the last minutes, and for the whole list where these don't lead to the state
    that the server counts, where they come from another server than before, and where too long lies between.

    A server answers from caches. What changes while it makes an answer is missing there, with nothing to
    show it, until something else changes or three minutes have passed (google/guava#1881). So once it is
    quiet after a change, the whole list, which is cached for itself, is compared.
    """

    def __init__(self, transport: Transport, catalog: Catalog, *, clock: Clock, interval: float) -> None:
        self._transport = transport
        self._catalog = catalog
        self._clock = clock
        self._interval = interval
        self._tasks = TaskOwner()
        self._poll: asyncio.Task[Exception | None] | None = None
        self._timer: asyncio.Task[None] | None = None
        self._waiting: set[asyncio.Future[Exception | None]] = set()
        self._asked_at = float("-inf")
        self._heard_at = float("-inf")
        self._failed = False
        self._whole = False
        """Whether the next poll has to ask for the whole list."""
        self._heard: Server | None = None
        """The server that the catalog is from."""
        self._server_version = 0
        self._settled: Applications | None = None
        """The changes that led to what is known: an answer that is the same has no news."""
        self._compare_at = float("inf")
        self._gap = 0.0

    async def aclose(self) -> None:
        """End the polling."""
        await self._tasks.aclose()

    async def fresh(self, *, whole: bool = False) -> None:
        """Return once the catalog is as the servers tell it now; `whole`: their whole list is asked for.

        A list that is a moment old is fresh enough, and so is one that is being asked for. On a cancellation
        a request in flight goes on for the others.
        """
        if whole:
            if self._poll is not None:
                await asyncio.wait((self._poll,))
            self._whole = True
        elif not self._failed and self._clock.time() - self._heard_at < min(FRESH, self._interval):
            return
        error = await self._ask()
        if error is not None:
            raise error

    async def changed(self, cursor: T, state: Callable[[], T], wait: float) -> T:
        """Wait, at most `wait` seconds, until `state()` isn't `cursor`; the state then.

        Raises what a poll of meanwhile failed with.
        """
        end = self._clock.time() + wait
        while (now := state()) == cursor and (left := end - self._clock.time()) > 0:
            told = asyncio.get_running_loop().create_future()
            self._waiting.add(told)
            if self._timer is None:
                self._timer = self._tasks.spawn(self._run(), role="poll", service="eureka")
            try:
                async with self._clock.timeout(left):
                    error = await told
            except TimeoutError:
                continue
            finally:
                self._waiting.discard(told)
            if error is not None:
                raise error
        return now

    async def _run(self) -> None:
        """Poll on while somebody waits."""
        try:
            while self._waiting:
                left = self._asked_at + self._interval - self._clock.time()
                if left > 0:
                    await self._clock.sleep(left)
                elif self._waiting:
                    await self._ask()
        finally:
            self._timer = None

    async def _ask(self) -> Exception | None:
        """Poll, or wait for the poll that is under way; what it failed with."""
        task = self._poll
        if task is None:
            task = self._poll = self._tasks.spawn(self._once(), role="fetch", service="eureka")
        await asyncio.wait((task,))
        if task.cancelled():
            raise ClosedError("the EurekaBackend was closed")
        return task.result()

    async def _once(self) -> Exception | None:
        self._asked_at = self._clock.time()
        before = (self._catalog.epoch, self._catalog.version)
        try:
            await self._transport.ask(self._read)
        except Exception as exc:  # noqa: BLE001 - a bug too is for whoever waits
            self._failed = True
            self._tell(exc)
            return exc
        finally:
            self._poll = None
        self._failed, self._heard_at = False, self._clock.time()
        if (self._catalog.epoch, self._catalog.version) != before:
            self._compare_in(SETTLED * self._interval)
            self._tell(None)
        return None

    def _tell(self, error: Exception | None) -> None:
        for told in self._waiting:
            if not told.done():
                told.set_result(error)

    async def _read(self, server: Server) -> None:
        """Bring the catalog to what `server` tells."""
        is_known = self._heard == server and self._clock.time() - self._heard_at < COMPLETE
        if is_known and not self._whole:
            changes = await self._changes(server)
            if changes is not None and await self._lead_on(changes):
                if self._clock.time() >= self._compare_at:
                    await self._compare(server)
                return
        infos = await self._all(server)
        if self._heard != server:
            if self._heard is not None:
                self._catalog.forget()  # It may not know yet, or any more, what the other knew.
            self._heard, self._server_version = server, 0
        self._catalog.replace(infos)
        self._settled, self._whole = None, False

    async def _all(self, server: Server) -> list[Info]:
        try:
            listing = await self._transport.get(server, "/apps", Listing)
        except AbsentError as exc:
            raise UnavailableError(
                "no list is there: is it a Eureka server, and its path the right one?",
                url=exc.url,
                status=404,
            ) from exc
        return await _infos(listing.applications)

    async def _lead_on(self, changes: Applications) -> bool:
        """Whether what is known is by these changes what the server counts."""
        if changes != self._settled:
            self._catalog.apply(await _infos(changes))
            if self._catalog.hashcode != changes.hashcode:
                return False
            self._settled = changes
        return True

    async def _compare(self, server: Server) -> None:
        """Compare what the changes led to with the whole list: where they differ, one of both is outdated.

        Which one, the server's answer for an instance tells, since that comes from no cache.
        """
        infos = await self._all(server)
        differing = self._catalog.differing(infos)
        if differing is not None:
            (app, id), listed = differing
            if await self._updated(server, app, id) == (listed and listed.last_updated_timestamp):
                self._catalog.replace(infos)
        # The caches of a server with its usual settings may be older than a few short intervals.
        self._compare_in(self._gap * SETTLED if self._gap < CACHED else float("inf"))

    def _compare_in(self, gap: float) -> None:
        self._gap, self._compare_at = gap, self._clock.time() + gap

    async def _updated(self, server: Server, app: str, id: str) -> int | None:
        """When the server last took a change of an instance: None where it has none, -1 where it fails."""
        try:
            told = await self._transport.get(server, f"/apps/{segment(app)}/{segment(id)}", One)
        except AbsentError:
            return None
        except BackendError:
            return -1
        return told.instance.last_updated_timestamp

    async def _changes(self, server: Server) -> Applications | None:
        """The changes of the last minutes; None where they don't lead on from what is known."""
        try:
            told = (await self._transport.get(server, "/apps/delta", Listing)).applications
        except (AbsentError, ForbiddenError, UnavailableError):
            return None  # A server may have them switched off.
        before, self._server_version = self._server_version, told.version
        if told.version < before:
            self._catalog.forget()
            return None
        return told


async def _infos(told: Applications) -> list[Info]:
    if sum(len(application.instance) for application in told.application) > MANY:
        return await asyncio.to_thread(told.infos)
    return told.infos()
