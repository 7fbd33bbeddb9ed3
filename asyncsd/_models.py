"""What a registry knows, and what is said about it: immutable values without behaviour.

Times are seconds, as floats. Nothing here does I/O or reads a clock.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, Self, TypeAlias, TypeVar, overload

__all__ = [
    "Change",
    "Consistency",
    "Event",
    "Instance",
    "Meta",
    "Query",
    "Reply",
    "Snapshot",
    "Status",
]

Status: TypeAlias = Literal["passing", "warning", "critical"]
Consistency: TypeAlias = Literal["default", "consistent", "stale"]
Reason: TypeAlias = Literal["changed", "error", "reset", "recovered", "closed"]

V = TypeVar("V")

_SEVERITY: dict[str, int] = {"passing": 0, "warning": 1, "critical": 2}


class FrozenDict(dict[str, V]):
    """An immutable mapping, hashable where its values are."""

    __slots__ = ()

    def __hash__(self) -> int:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, V]]]:
        return (type(self), (dict(self),))

    if not TYPE_CHECKING:

        def _immutable(self, *_: object, **__: object) -> NoReturn:
            raise TypeError(
                f"{type(self).__name__} is immutable; make a new mapping: {{**old, 'key': value}}"
            )

        __setitem__ = __delitem__ = __ior__ = _immutable
        clear = pop = popitem = setdefault = update = _immutable


class Meta(FrozenDict[str]):
    """An immutable, hashable mapping of strings: the `meta` of an instance."""

    __slots__ = ()


_NO_META = Meta()


def _refuse_surrogates(name: str, value: str) -> None:
    """Refuse what no registry could be sent: half of a surrogate pair, as in the name of an odd file."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} has a lone surrogate in it, which UTF-8 can't write") from None


def as_meta(name: str, value: Mapping[str, str]) -> Meta:
    """`value` as a Meta, or an error that names the field."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is a mapping of strings to strings; got {type(value).__name__}")
    for key, item in value.items():
        if not isinstance(key, str) or not isinstance(item, str):
            raise TypeError(f"{name} is a mapping of strings to strings; got {key!r}: {type(item).__name__}")
        _refuse_surrogates(name, key)
        _refuse_surrogates(f"{name}[{key!r}]", item)
    return value if type(value) is Meta else Meta(value)


def as_text(name: str, value: str | None, *, none: bool = False) -> str | None:
    """`value`, or an error that names the field, and doesn't show what may be a secret."""
    if not isinstance(value, str) and not (none and value is None):
        raise TypeError(f"{name} is a string{' or None' if none else ''}; got {type(value).__name__}")
    if value is not None:
        _refuse_surrogates(name, value)
    return value


def as_flag(name: str, value: bool) -> bool:
    """`value`, or an error that names the field if it is no bool: "no" would count as true."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False; got {value!r}")
    return value


def as_tags(name: str, value: Iterable[str]) -> tuple[str, ...]:
    """`value` as a tuple of tags, or an error that names the field."""
    if isinstance(value, str):
        raise TypeError(f"{name} is a sequence of strings; got the one string {value!r}: write ({value!r},)")
    if not isinstance(value, Iterable):
        raise TypeError(f"{name} is a sequence of strings; got {value!r}")
    tags = tuple(value)
    for tag in tags:
        if not isinstance(tag, str):
            raise TypeError(f"{name} is a sequence of strings; got the tag {tag!r}: write {str(tag)!r}")
        _refuse_surrogates(name, tag)
    return tags


def as_name(name: str, value: str) -> str:
    """`value`, or an error that names the field if it is no usable name."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is a string; got {value!r}")
    if not value.strip() or value != value.strip():
        raise ValueError(f"{name} is a name without spaces around it, and not empty; got {value!r}")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError(f"{name} has no control characters; got {value!r}")
    _refuse_surrogates(name, value)
    return value


def as_port(name: str, value: int) -> int:
    """`value`, or an error that names the field if it is no port."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a whole number; got {value!r}")
    if not 0 <= value <= 65535:
        raise ValueError(f"{name} is from 0 to 65535; got {value!r}")
    return value


_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\Z")


def as_host(name: str, value: str) -> str:
    """`value` as a host name, an IPv4 or a bare IPv6 address, or an error that says what would do."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is a string; got {value!r}")
    host = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    if "://" in host:
        raise ValueError(f"{name} is a host without a scheme; got {value!r}: use scheme= for that")
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    else:
        if address.is_unspecified:
            raise ValueError(
                f"{name} is where others reach this process, and nobody can call {value!r}: "
                "leave host out to use the address by which this machine reaches the registry"
            )
        return host
    if ":" in host:
        raise ValueError(f"{name} is a host without a port; got {value!r}: use port= for that")
    labels = host.removesuffix(".").split(".")
    # No name ends in a number: what does is an IPv4 address with a slip in it.
    if len(host) > 253 or labels[-1].isdecimal() or not all(_LABEL.match(label) for label in labels):
        raise ValueError(f"{name} is a host name, an IPv4 or an IPv6 address; got {value!r}")
    return host


def url_host(host: str) -> str:
    """`host` as it stands in a URL: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a service, as the registry tells it.

    `weight` is its share relative to the others. `zone` is its meta's "zone", where it has one; `node` the
    registry's name for its machine. `scheme` is what it registered for URLs, None where it didn't. Instances
    are compared by value, and those from a registry keep their object while nothing about them changes.
    """

    id: str
    service: str
    host: str
    port: int
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = _NO_META
    weight: int = 1
    zone: str | None = None
    datacenter: str | None = None
    node: str | None = None
    status: Status = "passing"
    scheme: str | None = None

    def __post_init__(self) -> None:
        if type(self.tags) is not tuple:
            object.__setattr__(self, "tags", as_tags("Instance.tags", self.tags))
        if type(self.meta) is not Meta:
            object.__setattr__(self, "meta", as_meta("Instance.meta", self.meta))
        if not self.id or not self.service or not self.host:
            empty = "id" if not self.id else "service" if not self.service else "host"
            raise ValueError(f"Instance.{empty} is a string that isn't empty; got {getattr(self, empty)!r}")
        if not (type(self.id) is type(self.service) is type(self.host) is str):
            for name in ("id", "service", "host"):
                as_text(f"Instance.{name}", getattr(self, name))
        for value in (self.zone, self.datacenter, self.node, self.scheme):
            if value is not None and type(value) is not str:
                for name in ("zone", "datacenter", "node", "scheme"):
                    as_text(f"Instance.{name}", getattr(self, name), none=True)
        if type(self.port) is not int or not 0 <= self.port <= 65535:
            as_port("Instance.port", self.port)
        if self.status not in _SEVERITY:
            raise ValueError(f"Instance.status is 'passing', 'warning' or 'critical'; got {self.status!r}")
        if type(self.weight) is not int or self.weight < 0:
            raise ValueError(f"Instance.weight is a whole number, 0 or more; got {self.weight!r}")

    @property
    def key(self) -> tuple[str, str, str]:
        """What stays while it is the same instance: datacenter, node and id."""
        return (self.datacenter or "", self.node or "", self.id)

    @property
    def address(self) -> str:
        """`host:port`, with an IPv6 host in brackets."""
        return f"{url_host(self.host)}:{self.port}"

    def url(self, path: str = "/", *, scheme: str | None = None) -> str:
        """The URL of `path` on this instance; the scheme is the registered one, else http.

        Raises ValueError for an instance that registered port 0: it has none to call.
        """
        if self.port == 0:
            raise ValueError(f"{self.service} instance {self.id} registered no port: there is no URL to call")
        slash = "" if path.startswith("/") else "/"
        return f"{scheme or self.scheme or 'http'}://{url_host(self.host)}:{self.port}{slash}{path}"


identity: Callable[[Instance], tuple[str, str, int]] = attrgetter("id", "host", "port")
"""What statistics and endpoints are kept by: it stays while tags, meta, weight and status change."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which instances are wanted. A bare string stands for `Query(service)`.

    `tags`: all of them have to be there. `status` is the worst one still used: "passing", "warning", or
    "critical" for all. A backend fetches every status and the core filters, so that an empty answer can be
    explained; `server_filter=True` lets the registry drop the rest, which saves bytes. The other fields are
    for registries that have the like: `datacenter`, `near` (sort by distance from a node; "_agent" for this
    one), `filter` (an expression of the registry's own language), `node_meta`, `consistency`, and
    `max_stale`, the bound in seconds for "stale" reads.
    """

    service: str
    tags: tuple[str, ...] = ()
    status: Status = "passing"
    datacenter: str | None = None
    near: str | None = None
    filter: str | None = None
    node_meta: Mapping[str, str] = _NO_META
    consistency: Consistency = "default"
    max_stale: float | None = None
    server_filter: bool = False

    def __post_init__(self) -> None:
        as_name("Query.service", self.service)
        object.__setattr__(self, "tags", as_tags("Query.tags", self.tags))
        object.__setattr__(self, "node_meta", as_meta("Query.node_meta", self.node_meta))
        if self.status not in _SEVERITY:
            raise ValueError(
                f"Query.status is 'passing', 'warning' or 'critical' (all of them); got {self.status!r}"
            )
        if self.consistency not in ("default", "consistent", "stale"):
            raise ValueError(
                f"Query.consistency is 'default', 'consistent' or 'stale'; got {self.consistency!r}"
            )
        as_text("Query.datacenter", self.datacenter, none=True)
        as_text("Query.near", self.near, none=True)
        as_text("Query.filter", self.filter, none=True)
        as_flag("Query.server_filter", self.server_filter)
        if self.max_stale is not None and not isinstance(self.max_stale, int | float):
            raise TypeError(f"Query.max_stale is a number of seconds, such as 15.0; got {self.max_stale!r}")
        if self.max_stale is not None and (self.consistency != "stale" or not self.max_stale > 0):
            raise ValueError("Query.max_stale is in seconds, more than 0, and goes with consistency='stale'")

    @classmethod
    def of(cls, query: "Query | str") -> "Query":
        """`query` itself, or the Query that a bare service name stands for."""
        return query if isinstance(query, Query) else cls(query)

    def matches(self, instance: Instance) -> bool:
        """Whether `instance` has the tags, and a status that is good enough."""
        return _SEVERITY[instance.status] <= _SEVERITY[self.status] and self.has_tags(instance)

    def has_tags(self, instance: Instance) -> bool:
        """Whether `instance` has all of the query's tags."""
        return not self.tags or set(self.tags).issubset(instance.tags)


class Change(NamedTuple):
    """An instance that is still there, and differs."""

    before: Instance
    after: Instance


def _order(instance: Instance) -> tuple[str, str, int, str, str]:
    return (instance.id, instance.host, instance.port, instance.node or "", instance.datacenter or "")


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot(Sequence[Instance]):
    """The instances of a service at one moment, immutable, ordered by id.

    A sequence of those that fit the query; `unfit` has the others of the service that carry the query's tags
    but whose status is too bad. Two snapshots are equal when these are; `version` grows with each change
    that a watch publishes. An empty snapshot is false, as any empty sequence is: "not heard yet" is None.
    """

    instances: tuple[Instance, ...]
    unfit: tuple[Instance, ...] = ()
    version: int = 0

    @classmethod
    def of(cls, query: Query, instances: Iterable[Instance], *, version: int = 0) -> "Snapshot":
        """Sort `instances` and part them by whether they fit `query`; ones without its tags are left out."""
        fit: list[Instance] = []
        unfit: list[Instance] = []
        worst = _SEVERITY[query.status]
        tags = set(query.tags)
        for instance in instances:
            if tags and not tags.issubset(instance.tags):
                continue
            (fit if _SEVERITY[instance.status] <= worst else unfit).append(instance)
        fit.sort(key=_order)
        unfit.sort(key=_order)
        return cls(tuple(fit), tuple(unfit), version)

    @overload
    def __getitem__(self, index: int) -> Instance: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Instance, ...]: ...
    def __getitem__(self, index: int | slice) -> Instance | tuple[Instance, ...]:
        return self.instances[index]

    def __len__(self) -> int:
        return len(self.instances)

    def __iter__(self) -> Iterator[Instance]:
        return iter(self.instances)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Snapshot):
            return NotImplemented
        return self.instances == other.instances and self.unfit == other.unfit

    def __hash__(self) -> int:
        return hash((self.instances, self.unfit))


class Diff(NamedTuple):
    """What came, went and changed between two lists of instances."""

    added: tuple[Instance, ...] = ()
    removed: tuple[Instance, ...] = ()
    changed: tuple[Change, ...] = ()


def apart(
    before: Iterable[Instance] | None, after: Iterable[Instance] | None
) -> tuple[list[Instance], list[Instance]]:
    """Both lists without the objects that they share at either end.

    Two answers about a long list have nearly all of their objects in common, in the same order.
    """
    earlier, later = list(before or ()), list(after or ())
    same = 0
    for one, other in zip(earlier, later, strict=False):
        if one is not other:
            break
        same += 1
    del earlier[:same], later[:same]
    while earlier and later and earlier[-1] is later[-1]:
        del earlier[-1], later[-1]
    return earlier, later


def diff(before: Iterable[Instance] | None, after: Iterable[Instance] | None) -> Diff:
    """The Diff that leads from `before` to `after`; None counts as no instances."""
    earlier, later = apart(before, after)
    old = {instance.key: instance for instance in earlier}
    added: list[Instance] = []
    changed: list[Change] = []
    for instance in later:
        known = old.pop(instance.key, None)
        if known is None:
            added.append(instance)
        elif known is not instance and known != instance:
            changed.append(Change(known, instance))
    return Diff(tuple(added), tuple(old.values()), tuple(changed))


@dataclass(frozen=True, slots=True)
class Event:
    """What a watch tells: a whole snapshot, and how much to trust it.

    `snapshot` is None while nothing was heard. `stale` says that the registry can't be heard or is not
    believed just now, and that the snapshot is the last good one; `error` is why. `reason` is "changed",
    "error", "reset" (the registry seems to have lost data; the old list is held), "recovered" or "closed".
    `heard_at` is the clock's time of the last good answer, and `age` the seconds since then when this Event
    was made. `added`, `removed` and `changed` lead from the snapshot of the Event before to this one: where
    a slow reader made several Events into one, from the oldest of them. All three are empty when only
    instances that don't fit the query changed. `closed` marks the last Event of a watch.
    """

    query: Query
    snapshot: Snapshot | None
    stale: bool = False
    error: Exception | None = None
    reason: Reason = "changed"
    closed: bool = False
    heard_at: float | None = None
    age: float | None = None
    added: tuple[Instance, ...] = ()
    removed: tuple[Instance, ...] = ()
    changed: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What a backend's `fetch` gives.

    `cursor` goes into the next fetch, which then returns when the state differs from it; None asks for an
    answer at once. It means something to the backend alone. `index` is the registry's number for this
    state, where it has one that only grows: one that goes back tells the watch of a loss of data.
    `known_leader` is False when the registry itself doubts the answer. `skipped` counts items that were
    left out as malformed.
    """

    instances: tuple[Instance, ...]
    cursor: Any = None
    index: int | None = None
    known_leader: bool = True
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Names:
    """What a backend's `fetch_names` gives: each service's tags by its name; the rest as in Reply."""

    services: Mapping[str, tuple[str, ...]]
    cursor: Any = None
    index: int | None = None
    known_leader: bool = True
