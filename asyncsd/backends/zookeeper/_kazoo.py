"""All that is taken of kazoo, which has no types: clients, and what its errors mean."""

import importlib
import ssl
import struct
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from asyncsd._errors import (
    BackendError,
    BadRequestError,
    PermissionDeniedError,
    UnreachableError,
)

from ._address import Address
from ._connection import Connector
from ._log import KazooLog

__all__ = ["BadVersion", "Missing", "Settings", "Taken", "make_client", "meaning", "unwatch"]

SessionKey: TypeAlias = tuple[int, bytes]


class Missing(Exception):
    """There is no such node."""


class Taken(Exception):
    """There is such a node already."""


class BadVersion(Exception):
    """The node isn't as it was when it was read."""


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """What a client is made of. `credentials` is "user:password", `context` for TLS."""

    addresses: tuple[Address, ...]
    session_timeout: float
    credentials: str | None
    acl: Any
    context: ssl.SSLContext | None


def load() -> Any:
    """kazoo's parts. Reads files: call it off the loop. Raises ImportError that names the extra."""
    try:
        for module in ("client", "handlers.threading", "security"):
            importlib.import_module(f"kazoo.{module}")
        return importlib.import_module("kazoo")
    except ModuleNotFoundError as exc:
        raise ImportError("ZooKeeperBackend needs kazoo: pip install 'asyncsd[zookeeper]'") from exc


def make_client(settings: Settings, connector: Connector, log: KazooLog, session: SessionKey | None) -> Any:
    """A client that isn't started, and that takes up `session` where the servers still know it."""
    kazoo = load()
    acl = settings.acl
    if acl is None and settings.credentials is not None:
        acl = kazoo.security.CREATOR_ALL_ACL
    handler = _make_handler(kazoo)
    handler.create_connection = connector
    return kazoo.client.KazooClient(
        hosts=",".join(map(str, settings.addresses)),
        timeout=settings.session_timeout,
        client_id=session,
        auth_data=[("digest", settings.credentials)] if settings.credentials is not None else None,
        default_acl=acl,
        # kazoo's own longest pause is an hour.
        connection_retry={"max_tries": -1, "delay": 0.1, "max_delay": 2.0},
        handler=handler,
        logger=log,
    )


def _make_handler(kazoo: Any) -> Any:
    """kazoo's own, but that what it reads is told in the thread that reads it.

    kazoo hands each answer and each event of a watch to another thread, since what is called there may block.
    Ours doesn't: it only wakes the loop.
    """

    class Answer(kazoo.handlers.threading.AsyncResult):  # type: ignore[misc]
        """An AsyncResult with `then`."""

        _then: Callable[[Any], None] | None = None

        def then(self, callback: Callable[[Any], None]) -> None:
            """Call `callback` once there is an answer, in whichever thread; twice where it comes just now."""
            self._then = callback
            self._ready()

        def set(self, value: Any = None) -> None:
            super().set(value)  # pyright: ignore[reportUnknownMemberType]
            self._ready()

        def set_exception(self, exception: Any) -> None:
            super().set_exception(exception)  # pyright: ignore[reportUnknownMemberType]
            self._ready()

        def _ready(self) -> None:
            if self._then is not None and self.ready():
                self._then(self)

    class Handler(kazoo.handlers.threading.SequentialThreadingHandler):  # type: ignore[misc]
        """A handler that gives such answers."""

        def async_result(self) -> Answer:
            return Answer(self)

        def dispatch_callback(self, callback: Any) -> None:
            if callback.type == "watch":
                callback.func(*callback.args)
            else:
                super().dispatch_callback(callback)  # pyright: ignore[reportUnknownMemberType]

    return Handler()


class RemoveWatches:
    """ZooKeeper's request of that name, since 3.5, which kazoo doesn't have: all watches of a path."""

    type = 18

    def __init__(self, path: str, watchers: MutableMapping[str, Any]) -> None:
        self._path = path
        self._watchers = watchers

    def serialize(self) -> bytes:
        """The path, and which watches: any, which is 3."""
        path = self._path.encode()
        return struct.pack(f">i{len(path)}si", len(path), path, 3)

    def deserialize(self, _data: bytes, _offset: int) -> None:
        """The answer is empty. kazoo's own note goes now, in the thread that reads the notes."""
        self._watchers.pop(self._path, None)


def unwatch(client: Any, path: str) -> None:
    """Take back the watch for a node that isn't there, which kazoo has no way to do, and keeps for ever.

    Nothing is waited for. Without a connection there is no watch, and it does nothing.
    """
    with suppress(Exception):
        request = RemoveWatches(path, client._data_watchers)  # noqa: SLF001
        client._call(request, client.handler.async_result())  # noqa: SLF001


def meaning(error: Exception, what: str, where: str) -> Exception:
    """An error of kazoo's as one of ours; `what` was asked of `where`."""
    kind = type(error).__name__
    match kind:
        case "NoNodeError":
            return Missing(what)
        case "NodeExistsError":
            return Taken(what)
        case "BadVersionError":
            return BadVersion(what)
        case "NoAuthError":
            return PermissionDeniedError(f"{what}: the node's ACL forbids it", url=where)
        case "AuthFailedError":
            return PermissionDeniedError(f"{what}: the server refuses the credentials", url=where)
        case "InvalidACLError":
            return PermissionDeniedError(
                f"{what}: the server refuses the ACL; one for the creator needs user=", url=where
            )
        case "BadArgumentsError":
            return BadRequestError(f"{what}: the server refuses the values", url=where)
        case (
            "ConnectionLoss"
            | "ConnectionClosedError"
            | "ConnectionDropped"
            | "SessionExpiredError"
            | "SessionMovedError"
            | "OperationTimeoutError"
            | "KazooTimeoutError"
        ):
            return UnreachableError(f"{what}: the connection was lost ({kind})", url=where)
        case _:
            return BackendError(f"{what}: {kind}: {error}", url=where)
