"""How an instance stands in a store of keys: as JSON of ours, or as the bare address that go-kit writes."""

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec

from asyncsd._models import Instance, Status
from asyncsd._registration import Record
from asyncsd._values import Meta, as_host, as_port

__all__ = ["Reading", "Readings", "instance_of", "owner_of", "status_of", "tags_by_service", "value_of"]

K = TypeVar("K", bound=str | bytes)


class Value(msgspec.Struct, omit_defaults=True):
    """What stands under a key.

    `warning_weight` counts while the status is "warning". `owner` tells registrations under one id apart,
    where nothing else in the store does.
    """

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
    owner: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Value).decode


def value_of(record: Record, status: Status, *, drained: bool, owner: str = "") -> bytes:
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
            owner=owner,
        )
    )


def status_of(value: bytes) -> Status | None:
    """The status that a value tells; None for one that isn't ours.

    That it is drained doesn't count: whoever said so was leaving.
    """
    try:
        return _decode(value).status
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def owner_of(value: bytes) -> str:
    """Who wrote a value; "" where it doesn't tell."""
    try:
        return _decode(value).owner
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def instance_of(service: str, id: str, value: bytes) -> Instance | None:
    """The instance that a value stands for; None for one that can't be read."""
    try:
        told = _decode(value) if value.lstrip()[:1] == b"{" else Value(**_address(value))
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
    except (ValueError, TypeError, RecursionError):  # What msgspec and the codec raise are ValueErrors.
        return None


def tags_by_service(instances: Iterable[Instance]) -> dict[str, tuple[str, ...]]:
    """The names of the services that have instances, in order, each with all tags of its instances."""
    services: dict[str, set[str]] = {}
    for instance in instances:
        services.setdefault(instance.service, set()).update(instance.tags)
    return {service: tuple(sorted(tags)) for service, tags in sorted(services.items())}


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


class Reading(NamedTuple):
    """The instances that stand at a place at a revision, and how many values were left out as malformed."""

    instances: tuple[Instance, ...]
    skipped: int
    revision: int


class _State(NamedTuple, Generic[K]):
    """What stands at a place at a revision, and when it was read as a whole."""

    known: dict[K, tuple[bytes, Instance | None]]
    revision: int
    read_at: float


class Readings(Generic[K]):
    """What was read under keys, as instances, which keep their object while their value stays.

    `instance` makes one of a key and its value; None where it can't.
    """

    def __init__(self, instance: Callable[[K, bytes], Instance | None]) -> None:
        self._instance = instance
        self._states: dict[K, _State[K]] = {}

    def read(
        self, place: K, found: Iterable[tuple[K, bytes]], revision: int = 0, *, at: float = 0.0
    ) -> Reading:
        """All that was found at a place at a revision, by a reading at the clock's time `at`."""
        state = self._states.get(place)
        known = {} if state is None else state.known
        now = {key: self._read(known, key, value) for key, value in found}
        return self._keep(place, _State(now, revision, at))

    def follow(
        self,
        place: K,
        since: int,
        changes: Sequence[tuple[int, K, bytes | None]],
        *,
        read_after: float = float("-inf"),
    ) -> Reading | None:
        """What stands at a place after all its changes since a revision: theirs, the keys and the values.

        None is the value of a key that was removed. Returns None where it has to be read: what stood before
        isn't known or was nothing, or a key is removed that isn't known, or the last whole reading wasn't
        after `read_after`.
        """
        state = self._states.get(place)
        if state is None or state.revision < since or state.read_at <= read_after:
            return None
        # Another watch of the same place may have taken some of them already.
        new = [change for change in changes if change[0] > state.revision]
        if not new:
            return self._keep(place, state)
        now = state.known.copy()
        for _, key, value in new:
            if value is not None:
                now[key] = self._read(now, key, value)
            elif now.pop(key, None) is None:
                return None
        ordered = dict(sorted(now.items(), key=itemgetter(0)))
        return self._keep(place, _State(ordered, new[-1][0], state.read_at))

    def _read(
        self, known: dict[K, tuple[bytes, Instance | None]], key: K, value: bytes
    ) -> tuple[bytes, Instance | None]:
        seen = known.get(key)
        return (value, self._instance(key, value)) if seen is None or seen[0] != value else seen

    def _keep(self, place: K, state: _State[K]) -> Reading:
        if state.known:
            self._states[place] = state
        else:
            self._states.pop(place, None)
        instances = tuple(instance for _, instance in state.known.values() if instance is not None)
        return Reading(instances, len(state.known) - len(instances), state.revision)
