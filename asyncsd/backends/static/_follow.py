"""Following a file: it is looked at every so often, and read once it has changed and stays as it is."""

import asyncio
import logging
from collections.abc import Callable
from typing import TypeAlias, TypeVar

from asyncsd._errors import UnreachableError
from asyncsd._protocols import Clock
from asyncsd._tasks import TaskOwner
from asyncsd.backends._shared._thread import in_thread

from ._file import ListFile, State
from ._schema import Services

__all__ = ["Follower"]

log = logging.getLogger("asyncsd.static")

T = TypeVar("T")

Tell: TypeAlias = Callable[[Services | UnreachableError], None]

SETTLE = 0.1
"""Seconds for which a changed file has to stay as it is: it may be half written, or between two names. Less
where looks are more frequent."""
MOST_SETTLES = 10
"""A file that is written to without an end is read after so many."""
SLOW = 5.0
"""Seconds after which a file system that doesn't answer, or a file that takes long to read, is reported."""


class Follower:
    """Tells what a file says, and each change of that; or why it can't be used.

    `interval` is in seconds. Looking is by `stat`: it works on any file system, for links that are turned
    (as Kubernetes does with a ConfigMap), and for files that are replaced (as editors do).
    """

    def __init__(self, file: ListFile, tell: Tell, *, interval: float, clock: Clock) -> None:
        self._file = file
        self._tell = tell
        self._interval = interval
        self._settle = min(SETTLE, interval / 2)
        self._clock = clock
        self._tasks = TaskOwner()
        self._seen: State | None = None
        self._began = asyncio.Event()

    async def open(self) -> None:
        """Begin, and return once something was told."""
        self._tasks.spawn(self._run(), role="file", service=self._file.path.name)
        try:
            await self._began.wait()
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Look no more. Idempotent."""
        await self._tasks.aclose()

    async def _run(self) -> None:
        try:
            await self._follow()
        except Exception as bug:
            log.exception("following %s died of a bug", self._file)
            self._say(UnreachableError(f"{self._file}: it isn't followed any more, for a bug: {bug!r}"))

    async def _follow(self) -> None:
        await self._read()
        while True:
            await self._clock.sleep(self._interval)
            state = await self._ask(self._file.state)
            if state != self._seen:
                await self._settled(state)
                await self._read()

    async def _settled(self, state: State) -> None:
        """Return once the file stays as it is."""
        for _ in range(MOST_SETTLES):
            await self._clock.sleep(self._settle)
            before, state = state, await self._ask(self._file.state)
            if state == before:
                return

    async def _read(self) -> None:
        found = await self._ask(self._file.read)
        if found is not None:
            self._seen, said = found
            self._say(said)

    async def _ask(self, call: Callable[[], T]) -> T:
        """What `call` returns, from a thread; and a word when that takes long."""
        asked = self._tasks.spawn(
            in_thread(call, name="static"), role="file-thread", service=self._file.path.name
        )
        try:
            async with self._clock.timeout(SLOW):
                return await asyncio.shield(asked)
        except TimeoutError:
            self._say(UnreachableError(f"{self._file}: it couldn't be read within {SLOW:g} s"))
            self._seen = None  # To be told anew when it does, changed or not.
            return await asked

    def _say(self, said: Services | UnreachableError) -> None:
        self._tell(said)
        self._began.set()
