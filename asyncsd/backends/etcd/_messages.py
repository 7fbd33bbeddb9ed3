"""What the gateway sends: protobuf as JSON, with bytes in base64 and 64-bit numbers as strings."""

from typing import Any, TypeVar

import msgspec

from asyncsd._errors import ProtocolError

__all__ = [
    "Event",
    "Grant",
    "Header",
    "KeepAlive",
    "KeyValue",
    "Range",
    "Token",
    "Txn",
    "Watched",
    "Watching",
    "decode",
    "encode",
]

T = TypeVar("T")

encode = msgspec.json.Encoder().encode
"""A request's JSON; bytes become base64."""


class Header(msgspec.Struct):
    """What every answer begins with. `revision` is the store's, and only grows."""

    revision: int = 0


class KeyValue(msgspec.Struct):
    """A key as it stands; `lease` is 0 where it has none."""

    key: bytes = b""
    value: bytes = b""
    mod_revision: int = 0
    lease: int = 0


class Range(msgspec.Struct):
    """The keys of a range."""

    header: Header = msgspec.field(default_factory=Header)
    kvs: list[KeyValue] = []


class _Response(msgspec.Struct):
    response_range: Range | None = None


class Txn(msgspec.Struct):
    """What became of a transaction; zero fields are left out, and so is a `succeeded` that is false."""

    header: Header = msgspec.field(default_factory=Header)
    succeeded: bool = False
    responses: list[_Response] = []

    @property
    def found(self) -> KeyValue | None:
        """The first key that a range in it has found."""
        for response in self.responses:
            if response.response_range is not None and response.response_range.kvs:
                return response.response_range.kvs[0]
        return None


class Grant(msgspec.Struct):
    """A lease, and the seconds that it was given: at least what was asked for."""

    ID: int
    TTL: int = 0


class _Kept(msgspec.Struct):
    TTL: int = 0


class KeepAlive(msgspec.Struct):
    """The answer to a keep-alive. A lease that is gone has no TTL."""

    result: _Kept | None = None
    error: dict[str, Any] | None = None


class Token(msgspec.Struct):
    """What a login gives."""

    token: str


class Event(msgspec.Struct):
    """A change of a key, or its end, a "DELETE": then only the key and the revision are told."""

    kv: KeyValue
    type: str = "PUT"


class Watched(msgspec.Struct):
    """A line of a watch. A refused watch is `created` and `canceled` at once."""

    header: Header = msgspec.field(default_factory=Header)
    created: bool = False
    canceled: bool = False
    compact_revision: int = 0
    cancel_reason: str = ""
    events: list[Event] = []


class Watching(msgspec.Struct):
    """A line of a watch's stream, or the error that ends it."""

    result: Watched | None = None
    error: dict[str, Any] | None = None


def decode(kind: type[T], body: bytes, url: str) -> T:
    """`body` as a `kind`; ProtocolError for another shape."""
    try:
        # Not strict: 64-bit numbers are strings.
        return msgspec.json.decode(body, type=kind, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ProtocolError(f"the answer isn't what etcd's gateway gives: {exc}", url=url) from exc
