"""One registration: its node, written, verified, and made anew."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from asyncsd._checks import Health
from asyncsd._errors import BackendError, NotRegisteredError
from asyncsd._protocols import Clock
from asyncsd._registration import Record

from ._address import join, node_name
from ._codec import encode
from ._kazoo import BadVersion, Missing, Taken
from ._session import Session

if TYPE_CHECKING:
    from asyncsd._models import Status

__all__ = ["Entry", "remove"]

log = logging.getLogger("asyncsd.zookeeper")

TRIES = 5
"""How often a node may change between being looked at and being written."""
RETRY = 1.0


class Entry:
    """A registration's node: ephemeral, of this session, or it isn't there."""

    def __init__(self, root: str, record: Record, session: Session, clock: Clock) -> None:
        self.record = record
        self.status: Status = record.checks[0].initial_status if record.checks else "passing"
        self.drained = False
        self.parent = join(root, node_name(record.service))
        self.path = join(self.parent, node_name(record.id))
        self._session = session
        self._clock = clock
        self._lock = asyncio.Lock()
        self._heard = clock.time()
        # What stands in the node, as of our last writing.
        self._written: tuple[int, bytes] | None = None
        self._rival: int | None = None

    def _data(self) -> bytes:
        return encode(self.record, self.status, drained=self.drained)

    async def put(self, record: Record) -> None:
        """Make the node, or replace what stands there, without a moment of absence."""
        async with self._lock:
            data = encode(record, self.status, drained=self.drained)
            self.record = record
            for _ in range(TRIES):
                if await self._put(data):
                    self._heard = self._clock.time()
                    return
        raise BackendError(f"{self.path} changes while it is written", url=self._session.where)

    async def _put(self, data: bytes) -> bool:
        """One try; False where the node has come or gone meanwhile."""
        stat = await self._session.ask("exists", self.path)
        try:
            if stat is None:
                await self._create(data)
                return True
            owner = int(stat.ephemeralOwner)
            if owner == self._session.id:
                await self._set(data, stat.version)
                return True
            if owner not in self._session.ids:
                self._refuse_rival(owner)
                log.warning("%s stood there of session 0x%x: it is replaced", self.path, owner)
            await self._take_over(data, stat.version)
        except (Missing, Taken, BadVersion):
            return False
        self._rival = None
        return True

    def _refuse_rival(self, owner: int) -> None:
        """Two live processes with one id would take it from each other for ever: the second has it."""
        if owner == self._rival:
            raise BackendError(
                f"{self.record.id!r} was taken over by another process (session 0x{owner:x}) that uses "
                "the same id: give each an id of its own",
                url=self._session.where,
            )

    async def _create(self, data: bytes) -> None:
        try:
            await self._session.ask("create", self.path, data, ephemeral=True)
        except Missing:
            await self._make_folder(self.parent)
            await self._session.ask("create", self.path, data, ephemeral=True)
        self._written = (0, data)

    async def _make_folder(self, path: str) -> None:
        try:
            await self._session.ask("create", path, b"")
        except Taken:
            pass
        except Missing:
            await self._make_folder(path.rpartition("/")[0])
            await self._make_folder(path)

    async def _set(self, data: bytes, version: int) -> None:
        if self._written != (version, data):
            stat = await self._session.ask("set", self.path, data, version)
            self._written = (int(stat.version), data)

    async def _take_over(self, data: bytes, version: int) -> None:
        """Put a node of this session in the place of another's, in one transaction."""

        def start(client: Any) -> Any:
            transaction = client.transaction()
            transaction.delete(self.path, version)
            transaction.create(self.path, data, client.default_acl, ephemeral=True)
            return transaction.commit_async()

        (answer,) = await self._session.run([(f"replace {self.path}", start)])
        if isinstance(answer, Exception):
            raise answer
        for part in answer:
            # One part says why, and the others that they were rolled back with it.
            if isinstance(part, Exception) and type(part).__name__ not in (
                "RolledBackError",
                "RuntimeInconsistency",
            ):
                raise self._session.meaning(part, f"replace {self.path}")
        self._written = (0, data)

    async def _stat(self, watch: Any = None) -> Any:
        """What ZooKeeper says of the node; NotRegisteredError where it isn't ours."""
        stat = await self._session.ask("exists", self.path, watch)
        where = self._session.where
        if stat is None:
            raise NotRegisteredError(f"{self.record.id!r} isn't registered: no {self.path}", url=where)
        owner = int(stat.ephemeralOwner)
        if owner != self._session.id:
            if owner not in self._session.ids:
                self._rival = owner
            raise NotRegisteredError(
                f"{self.record.id!r} isn't registered: {self.path} is of session 0x{owner:x}, not ours",
                url=where,
            )
        return stat

    async def watch(self, heard: Any) -> int:
        """The number of the node's last change; `heard` is called, in kazoo's thread, at the next."""
        return int((await self._stat(heard)).mzxid)

    async def renew(self, health: Health) -> None:
        """See that the node is there and ours, and holds what it should."""
        async with self._lock:
            if self.record.ttl is not None:
                self.status = health.status
            await self._rewrite()
            self._heard = self._clock.time()

    async def drain(self, on: bool) -> None:
        """Say whether it is out of rotation."""
        async with self._lock:
            self.drained = on
            await self._rewrite()

    async def _rewrite(self) -> None:
        for _ in range(TRIES):
            stat = await self._stat()
            try:
                await self._set(self._data(), int(stat.version))
            except (Missing, BadVersion):
                continue
            return
        raise BackendError(f"{self.path} changes while it is written", url=self._session.where)

    async def expire(self) -> None:
        """Turn it critical when it isn't renewed within its TTL, and remove it later, as a registry does.

        ZooKeeper has no such thing: as long as the process runs, kazoo's thread keeps the session.
        """
        while (ttl := self.record.ttl) is not None:
            after = min((a for check in self.record.checks if (a := check.deregister_after)), default=None)
            late = self._clock.time() - self._heard
            if late < ttl:
                await self._clock.sleep(ttl - late)
                continue
            try:
                if self.status != "critical":
                    await self._mark_overdue(ttl)
                elif after is not None and late >= ttl + after:
                    await remove(self._session, self.path)
                    return
                else:
                    await self._clock.sleep(RETRY if after is None else min(RETRY, ttl + after - late))
            except NotRegisteredError:
                await self._clock.sleep(RETRY)
            except BackendError as exc:
                log.debug("%s is overdue, which couldn't be written: %s", self.record.id, exc)
                await self._clock.sleep(RETRY)

    async def _mark_overdue(self, ttl: float) -> None:
        async with self._lock:
            if self._clock.time() - self._heard < ttl:
                return
            before, self.status = self.status, "critical"
            try:
                await self._rewrite()
            except BaseException:
                self.status = before
                raise


async def remove(session: Session, path: str) -> None:
    """Remove a node of ours, of this session or one before; another's, or none, is left as it is."""
    for _ in range(TRIES):
        stat = await session.ask("exists", path)
        if stat is None or int(stat.ephemeralOwner) not in session.ids:
            return
        try:
            await session.ask("delete", path, stat.version)
        except Missing:
            return
        except BadVersion:
            continue
        return
    raise BackendError(f"{path} changes while it is removed", url=session.where)
