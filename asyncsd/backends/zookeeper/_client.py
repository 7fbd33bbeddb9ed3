"""A client of kazoo's with its connection: made and stopped in threads."""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

from asyncsd._protocols import Clock
from asyncsd._tasks import TaskOwner
from asyncsd.backends._shared._thread import in_thread

from ._connection import Connector
from ._kazoo import SessionKey, Settings, make_client
from ._log import KazooLog

__all__ = ["CONTROL", "GOODBYE", "Client"]

log = logging.getLogger("asyncsd.zookeeper")

CONTROL = "zookeeper-control"
"""The name of the threads that make, start and stop clients."""
GOODBYE = 1.0
"""How long, in seconds, a server has to confirm the end of a session; most take a few milliseconds."""
HALT = 0.5
"""How long kazoo's threads have to end once there is no connection."""


class Client:
    """A kazoo client, not started yet: to be made in a thread, since it reads files."""

    def __init__(self, settings: Settings, log: KazooLog, session: SessionKey | None) -> None:
        self._connector = Connector(settings.context)
        self.kazoo: Any = make_client(settings, self._connector, log, session)
        # It may be stopped while it is being started.
        self._turn = threading.Lock()
        self._stopped = False

    @property
    def has_ended(self) -> bool:
        """Whether it has given up, and will never connect."""
        return str(self.kazoo.client_state) in ("CLOSED", "AUTH_FAILED")

    def start(self, listen: Callable[[str], None]) -> None:
        """Begin to connect; blocks. `listen` is called in kazoo's threads, with each of its states."""
        with self._turn:
            if not self._stopped:
                self.kazoo.add_listener(listen)
                self.kazoo.start_async()

    def cut(self) -> None:
        """End its connection: it goes on with the next server. Doesn't block."""
        self._connector.cut()

    def _stop(self) -> None:
        """Stop it; blocks until its threads have ended."""
        with self._turn:
            self._stopped = True
        for end in (self.kazoo.stop, self.kazoo.close):
            try:
                end()
            except Exception:
                log.debug("kazoo didn't stop cleanly", exc_info=True)

    async def aclose(self, clock: Clock, *, goodbye: float) -> bool:
        """End its session, and its threads; whether the server has said so within `goodbye` seconds.

        Past that the connection is cut, which wakes kazoo. A thread that is in the midst of connecting can't
        be woken: it ends by itself, later.
        """
        tasks = TaskOwner()
        stopping = tasks.spawn(in_thread(self._stop, name=CONTROL), role="stop", service="zookeeper")
        try:
            if await _ends(stopping, clock, goodbye):
                return True
            self._connector.abort()
            await _ends(stopping, clock, HALT)
            return False
        finally:
            self._connector.abort()  # Where this was cancelled, too.
            await tasks.aclose()


async def _ends(task: asyncio.Task[None], clock: Clock, seconds: float) -> bool:
    """Whether the task ends within so many seconds."""
    try:
        async with clock.timeout(seconds):
            await asyncio.wait((task,))
    except TimeoutError:
        return False
    return True
