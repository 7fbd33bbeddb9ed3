"""Waiting for changes: by one long poll for everything, or by several where a user's rights are narrower."""

import logging

from asyncsd._errors import PermissionDeniedError
from asyncsd._protocols import Clock
from asyncsd._tasks import TaskOwner
from asyncsd.backends._shared._spread import FEW, Spread

from ._keys import Keys
from ._stream import Heard, Stream
from ._transport import Transport

__all__ = ["Watch"]

log = logging.getLogger("asyncsd.etcd2")


class Watch:
    """Waits for changes of services and keys.

    All of them are heard by one long poll of the prefix. Where that is refused, each service has its own;
    and where that is refused too, each key.
    """

    def __init__(self, transport: Transport, keys: Keys, *, clock: Clock) -> None:
        self._transport = transport
        self._keys = keys
        self._clock = clock
        self._tasks = TaskOwner()
        self._streams: dict[str, Stream] = {}
        self._refused: set[str] = set()
        self._waiting = 0
        self._spread = Spread()

    async def aclose(self) -> None:
        """Listen no more."""
        await self._tasks.aclose()

    async def changed(self, path: str, after: int, seconds: float) -> Heard:
        """Return once `path` may have changed since the index `after`, and after `seconds` at most.

        Where many wait it may be up to a quarter less. Raises PermissionDeniedError where `path` itself may
        not be listened to.
        """
        self._waiting += 1
        try:
            if self._waiting > FEW:
                seconds = self._spread.shortened(seconds)
            return await self._changed(path, after, seconds)
        finally:
            self._waiting -= 1

    async def _changed(self, path: str, after: int, seconds: float) -> Heard:
        scopes = self._keys.scopes(path)
        refused: PermissionDeniedError | None = None
        for scope in scopes:
            if scope in self._refused:
                continue
            try:
                return await self._stream(scope).wait(path, after, seconds)
            except PermissionDeniedError as exc:
                refused = exc
                self._refused.add(scope)
                log.info("etcd refuses to tell what changes under %s", scope)
        self._refused.difference_update(scopes)  # Once there are rights, the widest is tried first again.
        if refused is None:
            return Heard(after)
        raise refused

    def _stream(self, scope: str) -> Stream:
        stream = self._streams.get(scope)
        if stream is None:
            self._streams = {known: stream for known, stream in self._streams.items() if stream.is_running}
            stream = self._streams[scope] = Stream(
                self._transport, scope, clock=self._clock, tasks=self._tasks
            )
        return stream
