"""What a process says about itself: its registration and the checks that go with it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias
from urllib.parse import urlsplit

from ._config import duration
from ._models import Meta, Status, as_host, as_meta, as_name, as_port, as_tags, url_host

__all__ = ["Check", "GRPCCheck", "HTTPCheck", "Health", "Record", "Registration", "TCPCheck", "TTLCheck"]

DEREGISTER_AFTER = 60.0
"""Ids are random, so a process that dies leaves a ghost: by default it goes after a minute."""


class Health(NamedTuple):
    """What a `health=` callable says: a status, and a note for people."""

    status: Status
    note: str = ""


def _common(check: "Check") -> None:
    kind = type(check).__name__
    duration(f"{kind}.deregister_after", check.deregister_after, none=True)
    if check.initial_status not in ("passing", "warning", "critical"):
        raise ValueError(
            f"{kind}.initial_status is 'passing', 'warning' or 'critical'; got {check.initial_status!r}"
        )
    if check.id is not None:
        as_name(f"{kind}.id", check.id)


def _probing(check: "HTTPCheck | TCPCheck | GRPCCheck") -> None:
    kind = type(check).__name__
    _common(check)
    duration(f"{kind}.interval", check.interval)
    duration(f"{kind}.timeout", check.timeout)
    for name in ("success_before_passing", "failures_before_critical"):
        value = getattr(check, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{kind}.{name} is a whole number, 0 or more; got {value!r}")


def _target(name: str, value: str | None) -> None:
    """Refuse anything that is neither None nor host:port."""
    if value is None:
        return
    host, colon, port = value.rpartition(":")
    if not colon or not port.isdecimal():
        raise ValueError(f"{name} is 'host:port', or None for the registration's own; got {value!r}")
    as_host(name, host)
    as_port(name, int(port))


@dataclass(frozen=True, slots=True, kw_only=True)
class TTLCheck:
    """The process itself says that it is well, at least every `ttl` seconds (asyncsd: at a third)."""

    ttl: float = 15.0
    id: str | None = None
    name: str | None = None
    notes: str = ""
    deregister_after: float | None = DEREGISTER_AFTER
    initial_status: Status = "critical"

    def __post_init__(self) -> None:
        duration("TTLCheck.ttl", self.ttl)
        _common(self)


@dataclass(frozen=True, slots=True)
class HTTPCheck:
    """The registry asks a URL every `interval` seconds: 2xx passes, 429 warns, the rest is critical.

    `url` is a path ("/health"), completed with the registration's scheme, host and port, or a whole URL.
    """

    url: str = "/health"
    interval: float = field(default=10.0, kw_only=True)
    timeout: float = field(default=5.0, kw_only=True)
    method: str = field(default="GET", kw_only=True)
    headers: Mapping[str, str] = field(default_factory=Meta, kw_only=True)
    body: str = field(default="", kw_only=True)
    tls_skip_verify: bool = field(default=False, kw_only=True)
    tls_server_name: str | None = field(default=None, kw_only=True)
    success_before_passing: int = field(default=0, kw_only=True)
    failures_before_critical: int = field(default=0, kw_only=True)
    id: str | None = field(default=None, kw_only=True)
    name: str | None = field(default=None, kw_only=True)
    notes: str = field(default="", kw_only=True)
    deregister_after: float | None = field(default=DEREGISTER_AFTER, kw_only=True)
    initial_status: Status = field(default="critical", kw_only=True)

    def __post_init__(self) -> None:
        _probing(self)
        object.__setattr__(self, "headers", as_meta("HTTPCheck.headers", self.headers))
        if not self.url.startswith("/"):
            parts = urlsplit(self.url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(
                    f"HTTPCheck.url is a path such as '/health' or a whole http(s) URL; got {self.url!r}"
                )
        if not self.method.isalpha():
            raise ValueError(f"HTTPCheck.method is an HTTP method such as 'GET'; got {self.method!r}")


@dataclass(frozen=True, slots=True)
class TCPCheck:
    """The registry connects to `target` every `interval` seconds.

    `target` is "host:port"; None stands for the registration's own.
    """

    target: str | None = None
    interval: float = field(default=10.0, kw_only=True)
    timeout: float = field(default=5.0, kw_only=True)
    success_before_passing: int = field(default=0, kw_only=True)
    failures_before_critical: int = field(default=0, kw_only=True)
    id: str | None = field(default=None, kw_only=True)
    name: str | None = field(default=None, kw_only=True)
    notes: str = field(default="", kw_only=True)
    deregister_after: float | None = field(default=DEREGISTER_AFTER, kw_only=True)
    initial_status: Status = field(default="critical", kw_only=True)

    def __post_init__(self) -> None:
        _probing(self)
        _target("TCPCheck.target", self.target)


@dataclass(frozen=True, slots=True)
class GRPCCheck:
    """The registry calls the standard gRPC health service of `target` ("host:port") every `interval` seconds.

    `service` names the one to ask for; "" asks for the server as a whole.
    """

    target: str | None = None
    service: str = field(default="", kw_only=True)
    interval: float = field(default=10.0, kw_only=True)
    timeout: float = field(default=5.0, kw_only=True)
    tls: bool = field(default=False, kw_only=True)
    tls_skip_verify: bool = field(default=False, kw_only=True)
    tls_server_name: str | None = field(default=None, kw_only=True)
    success_before_passing: int = field(default=0, kw_only=True)
    failures_before_critical: int = field(default=0, kw_only=True)
    id: str | None = field(default=None, kw_only=True)
    name: str | None = field(default=None, kw_only=True)
    notes: str = field(default="", kw_only=True)
    deregister_after: float | None = field(default=DEREGISTER_AFTER, kw_only=True)
    initial_status: Status = field(default="critical", kw_only=True)

    def __post_init__(self) -> None:
        _probing(self)
        _target("GRPCCheck.target", self.target)


Check: TypeAlias = HTTPCheck | TCPCheck | TTLCheck | GRPCCheck

Tags: TypeAlias = Sequence[str] | Callable[[], Iterable[str]]
MetaSource: TypeAlias = Mapping[str, str] | Callable[[], Mapping[str, str]]
Weight: TypeAlias = int | Callable[[], int]


def _weight(name: str, value: int, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 65535:
        raise ValueError(f"{name} is a whole number from {least} to 65535; got {value!r}")
    return value


@dataclass(frozen=True, slots=True)
class Record:
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
    tagged_addresses: Mapping[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    enable_tag_override: bool = False

    @property
    def ttl(self) -> float | None:
        """The shortest TTL among the checks, in seconds; None without a TTLCheck."""
        return min((check.ttl for check in self.checks if isinstance(check, TTLCheck)), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
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
    tagged_addresses: Mapping[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
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
        object.__setattr__(self, "checks", tuple(self.checks))
        for label, (host, port) in self.tagged_addresses.items():
            as_host(f"Registration.tagged_addresses[{label!r}]", host)
            as_port(f"Registration.tagged_addresses[{label!r}]", port)

    def record(self, *, id: str, host: str) -> Record:
        """This registration as it is now, complete: the callables are called, the checks get their targets.

        Raises ValueError or TypeError when a callable gives what the field wouldn't take.
        """
        tags = self.tags() if callable(self.tags) else self.tags
        meta = self.meta() if callable(self.meta) else self.meta
        weight = self.weight() if callable(self.weight) else self.weight
        checks = (self.check,) if self.check is not None else self.checks
        for check in checks:
            if self.port == 0 and _needs_port(check):
                raise ValueError(
                    f"Registration.port: {type(check).__name__} needs a port to look at; "
                    "give port=, or the check a whole target"
                )
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
            checks=tuple(_complete(check, host, self.port, self.scheme) for check in checks),
            tagged_addresses=dict(self.tagged_addresses),
            enable_tag_override=self.enable_tag_override,
        )


def _needs_port(check: Check) -> bool:
    match check:
        case HTTPCheck(url):
            return url.startswith("/")
        case TCPCheck(target) | GRPCCheck(target):
            return target is None
        case TTLCheck():
            return False


def _complete(check: Check, host: str, port: int, scheme: str | None) -> Check:
    match check:
        case HTTPCheck(url) if url.startswith("/"):
            scheme = scheme if scheme in ("http", "https") else "http"
            return replace(check, url=f"{scheme}://{url_host(host)}:{port}{url}")
        case TCPCheck(None) | GRPCCheck(None):
            return replace(check, target=f"{url_host(host)}:{port}")
        case _:
            return check
