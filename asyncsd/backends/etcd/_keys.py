"""How an instance stands in etcd: `/{prefix}/{service}/{id}`, with its value in JSON."""

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote

from asyncsd._models import Instance
from asyncsd._registration import Record
from asyncsd.backends._shared._value import Reading, Readings, instance_of

from ._messages import Event, KeyValue

__all__ = ["Decoder", "Keys", "Span"]


class Span(NamedTuple):
    """A range of keys: all from `key` on before `end`, or `key` alone where `end` is empty."""

    key: bytes
    end: bytes = b""

    def covers(self, key: bytes) -> bool:
        """Whether `key` is one of them."""
        return self.key <= key < self.end if self.end else key == self.key


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
        self._readings: Readings[bytes] = Readings(self._instance)

    def decode(self, span: Span, found: list[KeyValue], revision: int = 0, *, at: float = 0.0) -> Reading:
        """A span as it was read at a revision, and at the clock's time `at`."""
        return self._readings.read(span.key, ((item.key, item.value) for item in found), revision, at=at)

    def follow(
        self, span: Span, since: int, events: Sequence[Event], *, read_after: float = float("-inf")
    ) -> Reading | None:
        """A span after all its changes since a revision; None where it has to be read: see Readings."""
        changes = [
            (event.kv.mod_revision, event.kv.key, None if event.type == "DELETE" else event.kv.value)
            for event in events
        ]
        return self._readings.follow(span.key, since, changes, read_after=read_after)

    def _instance(self, key: bytes, value: bytes) -> Instance | None:
        place = self._keys.split(key)
        return None if place is None else instance_of(*place, value)


def _segment(name: str) -> bytes:
    """A name as one segment of a key."""
    return name.replace("%", "%25").replace("/", "%2F").encode()


def _under(start: bytes) -> Span:
    """All keys that begin with `start`, which ends in a slash."""
    return Span(start, start[:-1] + bytes([start[-1] + 1]))
