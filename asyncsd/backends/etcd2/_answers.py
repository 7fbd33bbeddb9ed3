"""What the v2 API answers, and its errors as asyncsd's."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from asyncsd._errors import (
    BackendError,
    BadRequestError,
    PermissionDeniedError,
    ProtocolError,
    UnsupportedError,
)

__all__ = ["Answer", "ClearedError", "ConflictError", "MissingError", "Node", "UnavailableError", "decode"]

SHOWN = 200
"""How many characters of an answer an error shows."""


class MissingError(BackendError):
    """There is no such key. `index` is the store's, as in an Answer."""

    index = 0


class ConflictError(BackendError):
    """What stands under the key isn't what the request said, or it isn't there."""


class ClearedError(BackendError):
    """What happened since isn't kept any more. `index` is the store's now."""

    index = 0


class UnavailableError(BackendError):
    """This member can't serve now, and another may: it has no leader, or too few of the others."""


class Node(msgspec.Struct, rename="camel"):
    """A key with its value, or a folder with what is in it. `modified_index` is that of its last change."""

    key: str = ""
    value: str = ""
    dir: bool = False
    nodes: list["Node"] = []
    modified_index: int = 0

    def leaves(self) -> Iterator[tuple[str, bytes]]:
        """Every key at and under this node, with its value, by name."""
        if not self.dir:
            yield self.key, self.value.encode()
        for node in sorted(self.nodes, key=lambda node: node.key):
            yield from node.leaves()


@dataclass(frozen=True, slots=True)
class Answer:
    """A node, and the store's index when it was read: a number that grows with every change of any key.

    `action` is what a write has done, "get" for a reading.
    """

    node: Node
    index: int
    action: str = "get"


class _Told(msgspec.Struct):
    node: Node
    action: str = "get"


class _Refusal(msgspec.Struct, rename="camel"):
    error_code: int = 0
    message: str = ""
    cause: str = ""
    index: int = 0


# etcd's own numbers, in its file error/error.go.
UNAUTHORIZED = 110
INVALID = range(200, 300)
_ERRORS: dict[int, tuple[type[BackendError], str]] = {
    100: (MissingError, ""),
    101: (ConflictError, ""),
    102: (BadRequestError, "a folder stands where the key should be: "),
    104: (BadRequestError, "a key stands where a folder should be: "),
    105: (ConflictError, ""),
    300: (UnavailableError, "this member can't serve: "),
    301: (UnavailableError, "this member can't serve: "),
    400: (UnavailableError, "this member begins anew: "),
    401: (ClearedError, ""),
}

_answer = msgspec.json.Decoder(_Told).decode
_refusal = msgspec.json.Decoder(_Refusal).decode


def decode(status: int, index: str | None, body: bytes, url: str) -> Answer:
    """The answer in a `body`, with the header X-Etcd-Index; raises the error that it stands for."""
    number = int(index) if index is not None and index.isdecimal() else None
    if status not in (200, 201):
        raise refusal(status, number, body, url)
    try:
        told = _answer(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ProtocolError(f"the answer isn't what etcd's v2 API gives: {exc}", url=url) from exc
    if number is None:
        raise ProtocolError("the answer has no X-Etcd-Index: is it etcd's v2 API?", url=url, status=status)
    return Answer(told.node, number, told.action)


def refusal(status: int, index: int | None, body: bytes, url: str) -> BackendError:
    """The error of an answer that isn't 200 or 201."""
    try:
        told = _refusal(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = " ".join(body.decode(errors="replace").split())[:SHOWN]
        if status == 404:
            return UnsupportedError(
                "the server has no v2 API: etcd 3.4 and 3.5 have it with --enable-v2=true, later ones not at "
                "all; EtcdBackend (etcd://) speaks v3",
                url=url,
                status=status,
            )
        if status in (502, 503, 504):
            return UnavailableError(f"{status}: {text}", url=url, status=status)
        return ProtocolError(f"{status}: {text}: is it etcd's v2 API?", url=url, status=status)
    message = ": ".join(part for part in (told.message, told.cause) if part)[:SHOWN] or f"{status}"
    code = told.error_code
    if code == 0 and status == 503:  # Of the members' API, which has no numbers.
        return UnavailableError(f"this member has no leader: {message}", url=url, status=status)
    if code == 0 and status == 404:
        return ProtocolError("404: is it etcd's v2 API?", url=url, status=status)
    if code == UNAUTHORIZED or status == 401:
        return PermissionDeniedError(
            f"{message}: etcd says no more; the user or the password may be another (user=, password=), or "
            "its role lacks read or write of the prefix",
            url=url,
            status=status,
        )
    kind, why = _ERRORS.get(code, (BadRequestError if code in INVALID else BackendError, ""))
    error = kind(f"{why}{message}", url=url, status=status)
    if isinstance(error, MissingError | ClearedError):
        error.index = told.index if index is None else index
    return error
