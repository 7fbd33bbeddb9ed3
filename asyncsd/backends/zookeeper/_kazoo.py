"""All that is taken of kazoo, which has no types: clients, and what its errors mean."""

import importlib
from dataclasses import dataclass
from typing import Any, TypeAlias

from asyncsd._errors import (
    BackendError,
    BadRequestError,
    PermissionDeniedError,
    UnreachableError,
)

from ._address import Address
from ._log import KazooLog
from ._tls import Connect

__all__ = ["BadVersion", "Missing", "Settings", "Taken", "make_client", "meaning"]

SessionKey: TypeAlias = tuple[int, bytes]


class Missing(Exception):
    """There is no such node."""


class Taken(Exception):
    """There is such a node already."""


class BadVersion(Exception):
    """The node isn't as it was when it was read."""


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """What a client is made of. `credentials` is "user:password"."""

    addresses: tuple[Address, ...]
    session_timeout: float
    credentials: str | None
    acl: Any
    connect: Connect


def load() -> Any:
    """kazoo's parts. Reads files: call it off the loop. Raises ImportError that names the extra."""
    try:
        for module in ("client", "handlers.threading", "security"):
            importlib.import_module(f"kazoo.{module}")
        return importlib.import_module("kazoo")
    except ModuleNotFoundError as exc:
        raise ImportError("ZooKeeperBackend needs kazoo: pip install asyncsd[zookeeper]") from exc


def make_client(settings: Settings, log: KazooLog, session: SessionKey | None) -> Any:
    """A client that isn't started, and that takes up `session` where the servers still know it."""
    kazoo = load()
    acl = settings.acl
    if acl is None and settings.credentials is not None:
        acl = kazoo.security.CREATOR_ALL_ACL
    handler = kazoo.handlers.threading.SequentialThreadingHandler()
    handler.create_connection = settings.connect
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
                f"{what}: the server refuses the ACL; one for the creator needs auth=", url=where
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
