"""What a process says about itself: its registration."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from ._checks import Check, GRPCCheck, HTTPCheck, TCPCheck, TTLCheck, complete, needs_port
from ._values import (
    FrozenDict,
    Meta,
    ShortRepr,
    as_flag,
    as_host,
    as_meta,
    as_name,
    as_port,
    as_tags,
    as_text,
)

__all__ = ["Record", "Registration"]

Tags: TypeAlias = Sequence[str] | Callable[[], Iterable[str]]
MetaSource: TypeAlias = Mapping[str, str] | Callable[[], Mapping[str, str]]
Weight: TypeAlias = int | Callable[[], int]
Addresses: TypeAlias = Mapping[str, tuple[str, int]]


def _weight(name: str, value: int, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 65535:
        raise ValueError(f"{name} is a whole number from {least} to 65535; got {value!r}")
    return value


def _addresses(name: str, value: Addresses) -> FrozenDict[tuple[str, int]]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} maps names to (host, port); got {value!r}")
    addresses: dict[str, tuple[str, int]] = {}
    for label, address in value.items():
        where = f"{name}[{label!r}]"
        as_name(f"A name in {name}", label)
        if not isinstance(address, tuple | list) or len(address) != 2:
            raise TypeError(f"{where} is (host, port), such as ('10.0.0.7', 8080); got {address!r}")
        host, port = address
        addresses[label] = (as_host(where, host), as_port(where, port))
    return FrozenDict(addresses)


@dataclass(frozen=True, slots=True, repr=False)
class Record(ShortRepr):
    """A registration with nothing left open: what a backend's `register` gets.

    The checks are complete too: HTTPCheck has a whole URL, TCPCheck and GRPCCheck a target.
    """

    id: str
    service: str
    host: str
    port: int
    tags: tuple[str, ...] = ()
    meta: Meta = field(default_factory=Meta)
    weight: int = 1
    warning_weight: int = 1
    scheme: str | None = None
    checks: tuple[Check, ...] = ()
    tagged_addresses: Addresses = field(default_factory=FrozenDict[tuple[str, int]])
    enable_tag_override: bool = False

    @property
    def ttl(self) -> float | None:
        """The shortest TTL among the checks, in seconds; None without a TTLCheck."""
        return min((check.ttl for check in self.checks if isinstance(check, TTLCheck)), default=None)


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Registration(ShortRepr):
    """What a process registers: a value that workers and tests may share.

    `host` is where others reach this process; left out, it is the address by which this machine reaches the
    registry. With `id` None each Registrar makes its own, `service-host-port-<8 hex>`. `tags`, `meta` and
    `weight` may be callables: they are looked at on each heartbeat, and what changed is submitted again.
    `warning_weight` counts while a check warns. `scheme` is for the URLs others build ("https"). Give one
    `check`, or several as `checks`. `tagged_addresses` maps a name ("lan", "wan") to (host, port).
    """

    service: str
    port: int = 0
    host: str | None = None
    id: str | None = None
    tags: Tags = ()
    meta: MetaSource = field(default_factory=Meta)
    weight: Weight = 1
    warning_weight: int = 1
    scheme: str | None = None
    check: Check | None = None
    checks: tuple[Check, ...] = ()
    tagged_addresses: Addresses = field(default_factory=FrozenDict[tuple[str, int]])
    enable_tag_override: bool = False

    def __post_init__(self) -> None:
        as_name("Registration.service", self.service)
        as_port("Registration.port", self.port)
        if self.host is not None:
            object.__setattr__(self, "host", as_host("Registration.host", self.host))
        if self.id is not None:
            as_name("Registration.id", self.id)
        if not callable(self.tags):
            object.__setattr__(self, "tags", as_tags("Registration.tags", self.tags))
        if not callable(self.meta):
            object.__setattr__(self, "meta", as_meta("Registration.meta", self.meta))
        if not callable(self.weight):
            _weight("Registration.weight", self.weight, 1)
        _weight("Registration.warning_weight", self.warning_weight, 0)
        as_flag("Registration.enable_tag_override", self.enable_tag_override)
        as_text("Registration.scheme", self.scheme, none=True)
        if self.scheme is not None and not self.scheme.replace("+", "").replace("-", "").isalnum():
            raise ValueError(f"Registration.scheme is a scheme such as 'https'; got {self.scheme!r}")
        if self.check is not None and self.checks:
            raise ValueError("Registration.check is for one check, checks for several: give one of the two")
        if isinstance(self.checks, HTTPCheck | TCPCheck | TTLCheck | GRPCCheck):
            raise TypeError(f"Registration.checks is a sequence; got the one {self.checks!r}: use check=")
        checks = (self.check,) if self.check is not None else tuple(self.checks)
        for check in checks:
            if not isinstance(check, HTTPCheck | TCPCheck | TTLCheck | GRPCCheck):
                raise TypeError(
                    f"Registration.check is an HTTPCheck, TCPCheck, TTLCheck or GRPCCheck; got {check!r}"
                )
        ids = [check.id for check in checks if check.id is not None]
        if len(set(ids)) < len(ids):
            raise ValueError(f"Registration.checks: each check has an id of its own; got {ids!r}")
        object.__setattr__(self, "checks", tuple(self.checks))
        addresses = _addresses("Registration.tagged_addresses", self.tagged_addresses)
        object.__setattr__(self, "tagged_addresses", addresses)

    def record(self, *, id: str, host: str) -> Record:
        """This registration as it is now, complete: the callables are called, the checks get their targets.

        Raises ValueError or TypeError when a callable gives what the field wouldn't take.
        """
        tags = self.tags() if callable(self.tags) else self.tags
        meta = self.meta() if callable(self.meta) else self.meta
        weight = self.weight() if callable(self.weight) else self.weight
        checks = (self.check,) if self.check is not None else self.checks
        for check in checks:
            if self.port == 0 and needs_port(check):
                raise ValueError(
                    f"Registration.port: {type(check).__name__} needs a port to look at; "
                    "give port=, or the check a whole target"
                )
        if self.id is None:
            # Workers share this value, and each needs checks of its own.
            checks = tuple(replace(c, id=f"{id}:{c.id}") if c.id is not None else c for c in checks)
        return Record(
            id=id,
            service=self.service,
            host=host,
            port=self.port,
            tags=as_tags("Registration.tags", tags),
            meta=as_meta("Registration.meta", meta),
            weight=_weight("Registration.weight", weight, 1),
            warning_weight=self.warning_weight,
            scheme=self.scheme,
            checks=tuple(complete(check, host, self.port, self.scheme) for check in checks),
            tagged_addresses=self.tagged_addresses,
            enable_tag_override=self.enable_tag_override,
        )
