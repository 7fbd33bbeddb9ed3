"""A session with the servers: made, kept, and made anew; the requests that go over it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from asyncsd._errors import BackendError, UnreachableError
from asyncsd._protocols import Clock
from asyncsd._tasks import TaskOwner
from asyncsd.backends._shared._thread import in_thread

from ._client import CONTROL, GOODBYE, Client
from ._kazoo import SessionKey, Settings, meaning, unwatch
from ._log import KazooLog
from ._threads import Submitter, tell

__all__ = ["Request", "Session"]

log = logging.getLogger("asyncsd.zookeeper")

_OPEN = object()
"""In the place of an answer that is still to come."""


class Request(NamedTuple):
    """One request: a method of kazoo's client without its `_async`, its path and the rest."""

    method: str
    path: str
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def start(self, client: Any) -> Any:
        """Hand it to kazoo; the AsyncResult."""
        return getattr(client, f"{self.method}_async")(self.path, *self.args, **self.options)


class Session:
    """Keeps a kazoo client connected, and asks through it.

    kazoo reconnects by itself, but not to servers that have lost their data: they know less than it has
    seen, and refuse it for ever. So a client that was connected and isn't for half of the session timeout is
    put aside for a new one, which takes up the same session where that still stands.

    Nor does kazoo leave a server that is silent while requests go out more often than its pings would, which
    is a third of the session timeout: so the connection is cut where there was no answer to any for as long.

    `ids` are all sessions that were had. `lost` is called on the loop when the connection is lost: every
    watch is gone then.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        where: str,
        timeout: float,
        connect_timeout: float,
        clock: Clock,
        lost: Callable[[], None],
    ) -> None:
        self.where = where
        self.id: int | None = None
        self.ids: set[int] = set()
        self._settings = settings
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._clock = clock
        self._lost = lost
        self._key: SessionKey | None = None
        self._client: Client | None = None
        self._log = KazooLog()
        self._connected = asyncio.Event()
        self._disconnected = asyncio.Event()
        self._disconnected.set()
        self._was_connected = False
        self._answered_at = 0.0
        self._silent_since: float | None = None
        """When the first request was made since then that had no answer in time."""
        self._tasks = TaskOwner()
        self._submitter: Submitter | None = None

    @property
    def is_connected(self) -> bool:
        return self._connected.is_set()

    @property
    def zxid(self) -> int | None:
        """The number of the last transaction that the server told of."""
        return (self._client and self._client.kazoo.last_zxid) or None

    async def open(self) -> None:
        """Start to connect, without waiting for it. Raises ImportError without kazoo."""
        await self._make()
        self._submitter = Submitter()
        self._tasks.spawn(self._supervise(), role="session", service="zookeeper")

    async def aclose(self) -> None:
        """End the session, and with it all its ephemeral nodes.

        A server that doesn't answer is waited for no longer than a second: it ends the session by itself,
        once that is over.
        """
        goodbye = GOODBYE if self.is_connected else 0.0
        self._connected.clear()
        await self._tasks.aclose()
        if self._submitter is not None:
            self._submitter.stop()
        client, self._client = self._client, None
        if client is not None and not await client.aclose(self._clock, goodbye=goodbye) and goodbye:
            log.warning("ZooKeeper at %s doesn't answer: its session ends by its timeout", self.where)

    async def _make(self) -> None:
        """Make a client, and start it."""
        loop = asyncio.get_running_loop()
        client = await in_thread(partial(Client, self._settings, self._log, self._key), name=CONTROL)

        def listen(state: str) -> None:
            tell(loop, self._heard, client, state, client.kazoo.client_id)

        self._client = client
        await in_thread(partial(client.start, listen), name=CONTROL)

    def _heard(self, client: Client, state: str, key: SessionKey | None) -> None:
        if client is not self._client:
            return
        if state == "CONNECTED" and key is not None:
            if self.id is not None and key[0] != self.id:
                log.warning("ZooKeeper's session 0x%x is over; there is a new one, 0x%x", self.id, key[0])
            elif not self._connected.is_set():
                log.info("connected to ZooKeeper at %s: session 0x%x", self.where, key[0])
            self.id, self._key = key[0], key
            self.ids.add(key[0])
            self._was_connected = True
            self._answered()
            self._connected.set()
            self._disconnected.clear()
            return
        if self._connected.is_set():
            log.info("the connection to ZooKeeper at %s is lost: %s", self.where, self._why())
        self._connected.clear()
        self._disconnected.set()
        self._lost()

    async def _supervise(self) -> None:
        """Put a client aside that doesn't come back."""
        patience = self._settings.session_timeout / 2
        while True:
            await self._disconnected.wait()
            try:
                async with self._clock.timeout(patience):
                    await self._connected.wait()
            except TimeoutError:
                if self.is_connected:
                    continue  # It came as the time was over.
                # One that was never connected knows nothing that servers could refuse, unless it has ended.
                if self._was_connected or (self._client is not None and self._client.has_ended):
                    await self._replace()

    async def _replace(self) -> None:
        log.info("no connection to ZooKeeper at %s yet: beginning anew", self.where)
        client, self._client = self._client, None
        self._was_connected = False
        if client is not None:
            await client.aclose(self._clock, goodbye=0.0)
        await self._make()

    def _why(self) -> str:
        return self._log.trouble or "no answer: is it a ZooKeeper server?"

    def meaning(self, error: Exception, what: str) -> Exception:
        """An error of kazoo's as one of ours."""
        return meaning(error, what, self.where)

    def _answered(self) -> None:
        """The server has said something."""
        self._answered_at, self._silent_since = self._clock.time(), None

    def _unanswered(self, kazoo: Any, began: float) -> None:
        """A request that was made then had no answer in time."""
        client = self._client
        if client is None or client.kazoo is not kazoo or self._answered_at > began:
            return
        if self._silent_since is None:
            self._silent_since = began
        silent = self._clock.time() - self._silent_since
        if silent >= self._settings.session_timeout / 3 and self.is_connected:
            log.info("ZooKeeper at %s was silent for %.1f s: the connection is cut", self.where, silent)
            self._silent_since = None
            client.cut()

    async def _ready(self) -> Any:
        """The client, connected; UnreachableError where it isn't in time."""
        if not self._connected.is_set():
            try:
                async with self._clock.timeout(self._connect_timeout):
                    while not self._connected.is_set():  # It may be lost again before this one hears of it.
                        await self._connected.wait()
            except TimeoutError as exc:
                raise UnreachableError(
                    f"no connection to ZooKeeper within {self._connect_timeout:g} s: {self._why()}",
                    url=self.where,
                ) from exc
        assert self._client is not None  # noqa: S101 - it is connected
        return self._client.kazoo

    def unwatch(self, path: str) -> None:
        """Take back the watch of a node that isn't there. Nothing is waited for, and nothing fails."""
        if self.is_connected and self._client is not None and self._submitter is not None:
            self._submitter.submit(partial(unwatch, self._client.kazoo, path))

    async def ask(self, method: str, path: str, *args: Any, **options: Any) -> Any:
        """The answer to one request; raises Missing, Taken, BadVersion or a BackendError."""
        (answer,) = await self.ask_all([Request(method, path, args, options)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def ask_all(self, requests: Sequence[Request]) -> list[Any]:
        """The answers to requests that go out together; an exception stands for itself.

        Raises UnreachableError where no connection is there, or not every answer in time.
        """
        return await self.run([(str(request), request.start) for request in requests])

    async def run(self, starts: Sequence[tuple[str, Callable[[Any], Any]]]) -> list[Any]:
        """`ask_all` of functions that hand something to a client and return kazoo's AsyncResult."""
        client = await self._ready()
        began = self._clock.time()
        loop = asyncio.get_running_loop()
        answers: list[Any] = [_OPEN] * len(starts)
        left = len(starts)
        done: asyncio.Future[None] = loop.create_future()

        def settle(number: int, answer: Any) -> None:
            nonlocal left
            if answers[number] is not _OPEN:
                return
            answers[number] = answer
            if not isinstance(answer, Exception) or not isinstance(meaning(answer, "", ""), UnreachableError):
                self._answered()
            left -= 1
            if left == 0 and not done.done():
                done.set_result(None)

        def submit() -> None:
            for number, (_, start) in enumerate(starts):
                try:
                    start(client).then(partial(_deliver, loop, settle, number))
                except Exception as exc:  # noqa: BLE001 - kazoo's own, and what it makes of odd values
                    tell(loop, settle, number, exc)

        assert self._submitter is not None  # noqa: S101 - it is open
        try:
            async with self._clock.timeout(self._timeout):
                self._submitter.submit(submit)
                await done
        except TimeoutError as exc:
            self._unanswered(client, began)
            raise UnreachableError(
                f"{starts[0][0]}: no answer from ZooKeeper within {self._timeout:g} s", url=self.where
            ) from exc
        answers = [
            meaning(answer, what, self.where)
            if isinstance(answer, Exception) and not isinstance(answer, BackendError)
            else answer
            for (what, _), answer in zip(starts, answers, strict=True)
        ]
        for answer in answers:
            if isinstance(answer, UnreachableError):
                raise answer
        return answers


def _deliver(
    loop: asyncio.AbstractEventLoop, settle: Callable[[int, Any], None], number: int, result: Any
) -> None:
    """Take an AsyncResult to the loop, from kazoo's thread."""
    answer = result.value if result.successful() else result.exception
    tell(loop, settle, number, answer)
