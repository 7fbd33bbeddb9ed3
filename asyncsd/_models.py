"""What a registry knows, and what is said about it: immutable values without behaviour.

Times are seconds, as floats. Nothing here does I/O or reads a clock.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal, NamedTuple, TypeAlias, overload

from ._errors import DiscoveryError
from ._values import Meta, as_flag, as_meta, as_name, as_port, as_tags, as_text, url_host

__all__ = [
    "Change",
    "Consistency",
    "Event",
    "Instance",
    "Query",
    "Reply",
    "Snapshot",
    "Status",
    "Trust",
]

Status: TypeAlias = Literal["passing", "warning", "critical"]
Consistency: TypeAlias = Literal["default", "consistent", "stale"]
Reason: TypeAlias = Literal["changed", "error", "reset", "stored", "recovered", "closed"]

_SEVERITY: dict[str, int] = {"passing": 0, "warning": 1, "critical": 2}
_USABLE = {
    worst: frozenset(status for status in _SEVERITY if _SEVERITY[status] <= _SEVERITY[worst])
    for worst in _SEVERITY
}

_NO_META = Meta()


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a service, as the registry tells it.

    `weight` is its share relative to the others. `zone` is its meta's "zone", where it has one; `node` the
    registry's name for its machine. `scheme` is what it registered for URLs, None where it didn't. `origin`
    names the member of a composite backend that tells of it, "eu/east" in a nested one. Instances are
    compared by value, and those from a registry keep their object while nothing about them changes.
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
    origin: str | None = None

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
        for value in (self.zone, self.datacenter, self.node, self.scheme, self.origin):
            if value is not None and type(value) is not str:
                for name in ("zone", "datacenter", "node", "scheme", "origin"):
                    as_text(f"Instance.{name}", getattr(self, name), none=True)
        if type(self.port) is not int or not 0 <= self.port <= 65535:
            as_port("Instance.port", self.port)
        if self.status not in _SEVERITY:
            raise ValueError(f"Instance.status is 'passing', 'warning' or 'critical'; got {self.status!r}")
        if type(self.weight) is not int or self.weight < 0:
            raise ValueError(f"Instance.weight is a whole number, 0 or more; got {self.weight!r}")

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What stays while it is the same instance: origin, datacenter, node and id."""
        return (self.origin or "", self.datacenter or "", self.node or "", self.id)

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

    def __hash__(self) -> int:
        # Each answer to it asks for this: those that differ do so by these, but for a few.
        return hash((self.service, self.tags, self.status, self.datacenter, self.filter))

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


def _order(instance: Instance) -> tuple[str, str, int, str, str, str]:
    return (
        instance.id,
        instance.host,
        instance.port,
        instance.node or "",
        instance.datacenter or "",
        instance.origin or "",
    )


_id: Callable[[Instance], str] = attrgetter("id")


def _sorted(instances: list[Instance]) -> tuple[Instance, ...]:
    """`instances` in their order; the ids alone, which most often differ, take a third of the time."""
    if len(instances) < 2:
        return tuple(instances)
    if len(set(map(_id, instances))) == len(instances):
        return tuple(sorted(instances, key=_id))
    return tuple(sorted(instances, key=_order))


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
        if tags := set(query.tags):
            instances = [instance for instance in instances if tags.issubset(instance.tags)]
        usable = _USABLE[query.status]
        fit: list[Instance] = []
        unfit: list[Instance] = []
        for instance in instances:
            (fit if instance.status in usable else unfit).append(instance)
        return cls(_sorted(fit), _sorted(unfit), version)

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
    believed just now, and that the snapshot is the last good one; `error` is why. An `error` without `stale`
    says that a part of several registries can't be heard: the others are, and live. `reason` is "changed",
    "error", "reset" (the registry seems to have lost data; the old list is held), "stored" (the list is from
    before the start: see FileStore), "recovered" or "closed".
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


class Trust(NamedTuple):
    """How much an answer is worth that has been doubted already, by a composite's watches of its members.

    `stale` and `error` are what the Event will say. `unheard` are the origins that have told nothing yet,
    though the list is for what they tell: what a store kept of them serves on.
    """

    stale: bool = False
    error: DiscoveryError | None = None
    unheard: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What a backend's `fetch` gives.

    `cursor` goes into the next fetch, which then returns when the state differs from it; None asks for an
    answer at once. It means something to the backend alone. `index` is the registry's number for this
    state, where it has one that only grows: one that goes back tells the watch of a loss of data.
    `known_leader` is False when the registry itself doubts the answer. `skipped` counts items that were
    left out as malformed. With a `trust` the answer is believed as it stands, and so far; without one the
    watch judges for itself. `hold` is for how many seconds a registry that lost its data may be late to tell
    all of it again, where that takes longer than `limits.reset_hold`.
    """

    instances: tuple[Instance, ...]
    cursor: Any = None
    index: int | None = None
    known_leader: bool = True
    skipped: int = 0
    trust: Trust | None = None
    hold: float = 0.0


@dataclass(frozen=True, slots=True)
class Names:
    """What a backend's `fetch_names` gives: each service's tags by its name; the rest as in Reply."""

    services: Mapping[str, tuple[str, ...]]
    cursor: Any = None
    index: int | None = None
    known_leader: bool = True
    hold: float = 0.0
