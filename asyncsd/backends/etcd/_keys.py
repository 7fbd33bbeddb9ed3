"""How an instance stands in etcd: `/{prefix}/{service}/{id}`, with its value in JSON."""

from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec

from asyncsd._models import Instance, Status
from asyncsd._registration import Record
from asyncsd._values import Meta, as_host, as_port

from ._messages import KeyValue

__all__ = ["Decoder", "Keys", "Span", "Value", "status_of", "value_of"]


class Span(NamedTuple):
    """A range of keys: all from `key` on before `end`, or `key` alone where `end` is empty."""

    key: bytes
    end: bytes = b""

    def covers(self, key: bytes) -> bool:
        """Whether `key` is one of them."""
        return self.key <= key < self.end if self.end else key == self.key


class Value(msgspec.Struct, omit_defaults=True):
    """What stands under a key. `warning_weight` counts while the status is "warning"."""

    host: str
    port: int = 0
    id: str = ""
    service: str = ""
    tags: list[str] = []
    meta: dict[str, str] = {}
    weight: int = 1
    warning_weight: int = 1
    scheme: str | None = None
    status: Status = "passing"
    drained: bool = False


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Value).decode


def value_of(record: Record, status: Status, *, drained: bool) -> bytes:
    """The value of a record."""
    return _encode(
        Value(
            host=record.host,
            port=record.port,
            id=record.id,
            service=record.service,
            tags=list(record.tags),
            meta=dict(record.meta),
            weight=record.weight,
            warning_weight=record.warning_weight,
            scheme=record.scheme,
            status=status,
            drained=drained,
        )
    )


def status_of(value: bytes) -> Status | None:
    """The status that a value tells; None for one that isn't ours.

    That it is drained doesn't count: whoever said so was leaving.
    """
    try:
        return _decode(value).status
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class Keys:
    """The keys under one prefix."""

    def __init__(self, prefix: str) -> None:
        inner = prefix.strip("/")
        self._root = f"/{inner}/".encode() if inner else b"/"

    def __str__(self) -> str:
        return self._root.decode()

    @property
    def all(self) -> Span:
        """Every instance of every service."""
        return _under(self._root)

    def service(self, name: str) -> Span:
        """Every instance of a service."""
        return _under(self._root + _segment(name) + b"/")

    def record(self, record: Record) -> bytes:
        """The key of a record."""
        return self._root + _segment(record.service) + b"/" + _segment(record.id)

    def starts(self, key: bytes) -> tuple[bytes, ...]:
        """Where the spans begin that cover `key`: itself, its service's, and that of all."""
        slash = key.find(b"/", len(self._root))
        return (key, self._root) if slash < 0 else (key, key[: slash + 1], self._root)

    def split(self, key: bytes) -> tuple[str, str] | None:
        """The service and the id in a key; None for one of another form."""
        try:
            service, slash, id = key.removeprefix(self._root).decode().partition("/")
        except UnicodeDecodeError:
            return None
        return (unquote(service), unquote(id)) if service and slash and id else None


class Decoder:
    """Keys as instances, which keep their object while their value stays."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._known: dict[bytes, dict[bytes, tuple[bytes, Instance | None]]] = {}

    def decode(self, span: Span, found: list[KeyValue]) -> tuple[tuple[Instance, ...], int]:
        """The instances of a span, and how many keys were left out as malformed."""
        known = self._known.get(span.key, {})
        now: dict[bytes, tuple[bytes, Instance | None]] = {}
        for item in found:
            seen = known.get(item.key)
            if seen is None or seen[0] != item.value:
                seen = (item.value, self._instance(item))
            now[item.key] = seen
        if now:
            self._known[span.key] = now
        else:
            self._known.pop(span.key, None)
        instances = tuple(instance for _, instance in now.values() if instance is not None)
        return instances, len(now) - len(instances)

    def _instance(self, item: KeyValue) -> Instance | None:
        place = self._keys.split(item.key)
        if place is None:
            return None
        service, id = place
        try:
            told = _decode(item.value) if item.value.lstrip()[:1] == b"{" else Value(**_address(item.value))
            return Instance(
                id=told.id or id,
                service=service,
                host=told.host,
                port=told.port,
                tags=tuple(told.tags),
                meta=Meta(told.meta),
                weight=told.warning_weight if told.status == "warning" else told.weight,
                zone=told.meta.get("zone"),
                status="critical" if told.drained else told.status,
                scheme=told.scheme,
            )
        except (ValueError, TypeError):  # What msgspec and the codec raise are ValueErrors.
            return None


def _address(value: bytes) -> dict[str, Any]:
    """The fields of a bare address, "10.0.0.7:8080" or "http://10.0.0.7:8080", as go-kit writes it."""
    text = value.decode().strip()
    scheme, separator, _ = text.partition("://")
    parts = urlsplit(text if separator else f"//{text}")
    port = parts.port
    if port is None:
        port = {"http": 80, "https": 443}.get(scheme, 0) if separator else 0
    return {
        "host": as_host("host", parts.hostname or ""),
        "port": as_port("port", port),
        "scheme": scheme.lower() if separator else None,
    }


def _segment(name: str) -> bytes:
    """A name as one segment of a key."""
    return name.replace("%", "%25").replace("/", "%2F").encode()


def _under(start: bytes) -> Span:
    """All keys that begin with `start`, which ends in a slash."""
    return Span(start, start[:-1] + bytes([start[-1] + 1]))
