"""A store of lists in a folder, one file for each query."""

import asyncio
import errno
import hashlib
import logging
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from ._models import Instance, Query
from ._protocols import StoredSnapshot
from ._values import duration

__all__ = ["FileStore"]

logger = logging.getLogger("asyncsd.store")

T = TypeVar("T")

DAY = 86_400.0
LEFTOVER = 60.0
"""A file that is being written and is so many seconds old was left by a process that was killed."""
OURS = re.compile(r".+-[0-9a-f]{16}\.json(\.bad|\.[0-9a-f]{16}\.tmp)?\Z")


class _Content(msgspec.Struct, frozen=True):
    """What a file tells."""

    query: Query
    heard_at: datetime
    index: int | None
    instances: tuple[Instance, ...]


class _File(msgspec.Struct, frozen=True):
    """What a file is: the content as it was written, and its checksum."""

    version: Literal[1]
    sha256: str
    content: msgspec.Raw


class _Unusable(Exception):
    """What stands in a file can't be used; the text says why."""


class FileStore:
    """Keeps the last good list of each query in the folder `path`, one file for each.

        Discovery(ConsulBackend(), store=FileStore("/var/cache/greeter/lists"))

    The folder is made when it is missing. A folder is for one registry; several processes may share it, and
    the last to write a query wins. A list is written at most each `every` seconds, in a thread, as a new file
    that takes the old one's place at once. One that the registry told more than `max_age` seconds ago isn't
    loaded, and its file removed; None is for ever. The folder and the files are for their owner alone, and
    hold what instances tell of themselves, their meta too, but nothing of how the registry is reached.

    Nothing is raised: a folder that can't be read or written is logged once, until it can again, and a file
    that isn't whole is logged and set aside as "….json.bad". `now` gives the seconds since 1970.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every: float = 5.0,
        max_age: float | None = DAY,
        now: Callable[[], float] = time.time,
    ) -> None:
        duration("every", every)
        duration("max_age", max_age, none=True)
        self.path: Path = Path(path)
        self.every: float = float(every)
        self.max_age: float | None = max_age
        self._now = now
        # One thread, and none of the loop's own: a disk that hangs takes nothing from what resolves names.
        # It ends with this object.
        self._thread = ThreadPoolExecutor(1, "asyncsd-store")
        self._tidied = False
        self._troubles: set[str] = set()

    def __repr__(self) -> str:
        return f"FileStore({str(self.path)!r})"

    async def load(self, query: Query) -> StoredSnapshot | None:
        """What was saved last for `query`, with its age by the wall clock; None when there is nothing to use.

        A wall clock that was put back makes the age too small, but never less than 0.
        """
        return await self._in_thread(lambda: self._load(query))

    async def save(self, query: Query, stored: StoredSnapshot) -> None:
        """Write a file; a cancellation may leave the old one."""
        heard_at = self._now() - stored.age
        await self._in_thread(lambda: self._save(query, stored, heard_at))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # -- in the thread

    def _load(self, query: Query) -> StoredSnapshot | None:
        path = self.path / _name(query)
        try:
            data = _read(path)
            content = _decode(data, query)
        except FileNotFoundError:
            return None
        except OSError as exc:
            self._trouble("read", exc)
            return None
        except _Unusable as exc:
            self._set_aside(path, exc)
            return None
        self._well("read")
        age = max(0.0, self._now() - content.heard_at.timestamp())
        if self.max_age is not None and age > self.max_age:
            logger.info("%s is not used: it is %.0f s old, and max_age %.0f s", path, age, self.max_age)
            return None
        return StoredSnapshot(content.instances, age, content.index)

    def _save(self, query: Query, stored: StoredSnapshot, heard_at: float) -> None:
        try:
            if not self._tidied:
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._tidy()
                self._tidied = True
            _write(self.path / _name(query), _encode(query, stored, heard_at))
        except OSError as exc:
            self._tidied = False  # Perhaps the folder was removed.
            self._trouble("written", exc)
        else:
            self._well("written")

    def _tidy(self) -> None:
        """Remove what killed writers left, and lists that are too old to be used."""
        now = self._now()
        for path in self.path.iterdir():
            if OURS.match(path.name):
                old = LEFTOVER if path.suffix == ".tmp" else self.max_age
                with suppress(OSError):
                    if old is not None and now - path.lstat().st_mtime > old:
                        path.unlink()

    def _set_aside(self, path: Path, why: _Unusable) -> None:
        aside = path.with_name(f"{path.name}.bad")
        try:
            path.replace(aside)
        except OSError as exc:
            logger.warning("%s is not used: %s; it can't be set aside: %s", path, why, exc.strerror or exc)
        else:
            logger.warning("%s is not used: %s; it is kept as %s", path, why, aside.name)

    def _trouble(self, what: str, exc: OSError) -> None:
        if what not in self._troubles:
            self._troubles.add(what)
            logger.warning("lists can't be %s in %s: %s", what, self.path, exc.strerror or exc)

    def _well(self, what: str) -> None:
        if what in self._troubles:
            self._troubles.discard(what)
            logger.info("lists can be %s in %s again", what, self.path)


def _name(query: Query) -> str:
    """A name of the query's own that is also fit to be read, and the same on any day."""
    digest = hashlib.sha256(msgspec.json.encode(query, order="deterministic")).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9_-]", "_", query.service)[:60]
    return f"{readable}-{digest[:16]}.json"


def _encode(query: Query, stored: StoredSnapshot, heard_at: float) -> bytes:
    heard = datetime.fromtimestamp(heard_at, UTC)
    content = msgspec.json.encode(_Content(query, heard, stored.index, stored.instances))
    return msgspec.json.encode(_File(1, hashlib.sha256(content).hexdigest(), msgspec.Raw(content)))


def _decode(data: bytes, query: Query) -> _Content:
    """The content of a file, or _Unusable."""
    try:
        file = msgspec.json.decode(data, type=_File)
        if hashlib.sha256(file.content).hexdigest() != file.sha256:
            raise _Unusable("it isn't as it was written")
        content = msgspec.json.decode(file.content, type=_Content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise _Unusable(f"it isn't as it was written: {exc}") from exc
    if content.query != query:
        raise _Unusable(f"it is of another query: {content.query!r}")
    return content


def _read(path: Path) -> bytes:
    """The bytes of a file of this user's own, which nobody else could have written."""
    try:
        # A link isn't followed, and a pipe not waited for.
        descriptor = os.open(path, os.O_RDONLY | _flags("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise _Unusable("it is a link") from exc
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _Unusable("it is no file")
        if sys.platform != "win32" and found.st_uid != os.geteuid():
            raise _Unusable(f"it belongs to another user, of id {found.st_uid}")
        if sys.platform != "win32" and found.st_mode & stat.S_IWOTH:
            raise _Unusable("everybody may write it")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _flags(*names: str) -> int:
    """The flags of `os.open` that this system has."""
    return sum(getattr(os, name, 0) for name in names)


def _write(path: Path, data: bytes) -> None:
    """Put a file in the place of what is there, wholly or not at all, whatever becomes of this process."""
    # Its name is drawn, for processes that share the folder, and it is a new file: no link that waits there.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _flags("O_BINARY")
    try:
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # Or a power cut could leave the new name on an empty file.
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
