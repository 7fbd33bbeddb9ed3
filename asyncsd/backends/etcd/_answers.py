"""The gateway's errors, as asyncsd's."""

from typing import Any

import msgspec

from asyncsd._errors import (
    BackendError,
    BadRequestError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    UnreachableError,
)

__all__ = ["LeaseGoneError", "LoggedOutError", "UnavailableError", "error_of", "refusal", "watch_refusal"]

SHOWN = 200
"""How many characters of an answer an error shows."""

WITHOUT_NAME = (
    "(while authentication is on, etcd's gateway takes no client certificate with a common name: use a "
    "certificate without one, and user= and password=)"
)

STOPPING = ("connection is closing", "server stopped", "transport:")
"""What the gateway says while the server under it goes."""

# gRPC's codes (google.rpc.Code). The HTTP statuses that go with them differ between versions of etcd.
CANCELLED, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = 1, 3, 4, 5
PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION = 7, 8, 9
UNAVAILABLE, UNAUTHENTICATED = 14, 16


class LeaseGoneError(BackendError):
    """The lease has run out, or was revoked."""


class LoggedOutError(PermissionDeniedError):
    """The token isn't known (any more): a restart forgets all of them."""


class UnavailableError(BackendError):
    """This member can't serve now, and another may: it has no leader, or too few of the others."""


class _Error(msgspec.Struct):
    """An error as it comes alone, from 3.4 with its text twice; or in `error`, for what streams."""

    code: int = 0
    message: str = ""
    error: dict[str, Any] | str | None = None


def refusal(status: int, body: bytes, url: str) -> BackendError:
    """The error of an answer that isn't 200."""
    try:
        told = msgspec.json.decode(body, type=_Error, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = " ".join(body.decode(errors="replace").split())[:SHOWN]
        if "CommonName of client" in text:  # Alone of all errors this one is no JSON.
            return PermissionDeniedError(f"{text} {WITHOUT_NAME}", url=url, status=status)
        return ProtocolError(f"{status}: {text}: is it etcd's gateway?", url=url, status=status)
    if isinstance(told.error, dict):
        return error_of(told.error, url, status)
    message = told.message or (told.error if isinstance(told.error, str) else "")
    if status == 404 and not told.code:  # The gateway's own have a code: another server's JSON.
        return ProtocolError(f"{status}: {message}: is it etcd's gateway?", url=url, status=status)
    return _mapped(told.code, message or f"{status}", url, status)


def error_of(error: dict[str, Any], url: str, status: int | None = None) -> BackendError:
    """The error that a stream ends with, or is refused with: in an object of its own."""
    # 3.4 calls it grpc_code.
    code = error.get("code") or error.get("grpc_code") or 0
    return _mapped(code if isinstance(code, int) else 0, str(error.get("message", "")), url, status)


def watch_refusal(reason: str, url: str) -> BackendError:
    """Why a watch was cancelled: here the code is missing, and the text alone tells."""
    if "permission denied" in reason:
        return _mapped(PERMISSION_DENIED, reason, url, None)
    if "auth token" in reason or "auth store" in reason:
        return _mapped(UNAUTHENTICATED, reason, url, None)
    if "no leader" in reason:
        return _mapped(UNAVAILABLE, reason, url, None)
    return BackendError(f"etcd ended the watch: {reason}", url=url)


def _mapped(code: int, message: str, url: str, status: int | None) -> BackendError:
    message = message.removeprefix("etcdserver: ")[:SHOWN]
    if code == UNAUTHENTICATED or "revision of auth store is old" in message:
        return LoggedOutError(f"etcd refuses the login: {message}", url=url, status=status)
    if code == PERMISSION_DENIED:
        return PermissionDeniedError(
            f"{message}: the user's role needs readwrite on the prefix", url=url, status=status
        )
    if code == INVALID_ARGUMENT and ("user name is empty" in message or "authentication failed" in message):
        return PermissionDeniedError(
            f"etcd wants a login: {message}: see user= and password=", url=url, status=status
        )
    if code == NOT_FOUND and "lease" in message:
        return LeaseGoneError(message, url=url, status=status)
    if code == INVALID_ARGUMENT:
        return BadRequestError(message, url=url, status=status)
    if code == RESOURCE_EXHAUSTED and "space" not in message:
        return RateLimitedError(message, url=url, status=status)
    if code == CANCELLED or (code == UNAVAILABLE and any(part in message for part in STOPPING)):
        return UnreachableError(f"the server is stopping: {message}", url=url, status=status)
    if code in (UNAVAILABLE, DEADLINE_EXCEEDED):
        return UnavailableError(f"this member can't serve: {message}", url=url, status=status)
    return BackendError(message, url=url, status=status)
