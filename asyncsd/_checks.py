"""The checks that a registry runs on an instance, or waits to be told of."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias
from urllib.parse import urlsplit

from ._models import Status
from ._values import Meta, ShortRepr, as_flag, as_host, as_meta, as_name, as_port, as_text, duration, url_host

__all__ = [
    "Check",
    "GRPCCheck",
    "HTTPCheck",
    "Health",
    "TCPCheck",
    "TTLCheck",
    "complete",
    "masked",
    "needs_port",
]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
"""The name of a header (RFC 9110, 5.6.2)."""
DEREGISTER_AFTER = 60.0
"""Ids are random, so a process that dies leaves a ghost: by default it goes after a minute."""


class Health(NamedTuple):
    """What a `health=` callable says: a status, and a note for people."""

    status: Status
    note: str = ""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class _Common(ShortRepr):
    """What every check has.

    `id` and `name` are the registry's, made from the registration's unless given; where the registration's
    id is drawn, that goes before a check's own. `deregister_after` is how many seconds an instance may stay
    critical before the registry removes it; None leaves it there. `initial_status` holds until the first
    result.
    """

    id: str | None = None
    name: str | None = None
    notes: str = ""
    deregister_after: float | None = DEREGISTER_AFTER
    initial_status: Status = "critical"

    def __post_init__(self) -> None:
        kind = type(self).__name__
        duration(f"{kind}.deregister_after", self.deregister_after, none=True)
        if self.initial_status not in ("passing", "warning", "critical"):
            raise ValueError(
                f"{kind}.initial_status is 'passing', 'warning' or 'critical'; got {self.initial_status!r}"
            )
        if self.id is not None:
            as_name(f"{kind}.id", self.id)
        as_text(f"{kind}.name", self.name, none=True)
        as_text(f"{kind}.notes", self.notes)


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class _Probe(_Common):
    """What the checks have that a registry runs itself, every `interval` seconds and for `timeout` at most.

    So many results in a row, `success_before_passing` and `failures_before_critical`, change the status.
    """

    interval: float = 10.0
    timeout: float = 5.0
    success_before_passing: int = 0
    failures_before_critical: int = 0

    def __post_init__(self) -> None:
        _Common.__post_init__(self)
        kind = type(self).__name__
        duration(f"{kind}.interval", self.interval)
        duration(f"{kind}.timeout", self.timeout)
        for name in ("success_before_passing", "failures_before_critical"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"{kind}.{name} is a whole number, 0 or more; got {value!r}")


@dataclass(frozen=True, slots=True, repr=False)
class TTLCheck(_Common):
    """The process itself says that it is well, at least every `ttl` seconds (asyncsd: at a third)."""

    ttl: float = field(default=15.0, kw_only=True)

    def __post_init__(self) -> None:
        _Common.__post_init__(self)
        duration("TTLCheck.ttl", self.ttl)


@dataclass(frozen=True, slots=True, repr=False)
class HTTPCheck(_Probe):
    """The registry asks a URL: 2xx passes, 429 warns, the rest is critical.

    `url` is a path ("/health"), completed with the registration's scheme, host and port, or a whole URL.
    What may be secret isn't shown by its repr: the headers' values, the body, a password or a query in `url`.
    """

    url: str = "/health"
    method: str = field(default="GET", kw_only=True)
    headers: Mapping[str, str] = field(default_factory=Meta, kw_only=True)
    body: str = field(default="", kw_only=True)
    tls_skip_verify: bool = field(default=False, kw_only=True)
    tls_server_name: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _Probe.__post_init__(self)
        object.__setattr__(self, "headers", as_meta("HTTPCheck.headers", self.headers))
        for header, value in self.headers.items():
            if not _TOKEN.match(header) or not value.isprintable():
                raise ValueError(
                    f"HTTPCheck.headers has a header that can't be sent: {header!r}; its name is of letters, "
                    "digits and dashes, and its value has no control characters"
                )
        as_text("HTTPCheck.url", self.url)
        as_text("HTTPCheck.method", self.method)
        as_text("HTTPCheck.body", self.body)
        as_flag("HTTPCheck.tls_skip_verify", self.tls_skip_verify)
        as_text("HTTPCheck.tls_server_name", self.tls_server_name, none=True)
        if not self.url.startswith("/") and not _is_http(self.url):
            raise ValueError(
                f"HTTPCheck.url is a path such as '/health' or a whole http(s) URL; got {masked(self.url)!r}"
            )
        if not self.method.isalpha():
            raise ValueError(f"HTTPCheck.method is an HTTP method such as 'GET'; got {self.method!r}")

    def _shown(self, name: str) -> object:
        match name:
            case "url":
                return masked(self.url)
            case "headers":
                return dict.fromkeys(self.headers, "***")
            case "body":
                return "***"
            case _:
                return getattr(self, name)


@dataclass(frozen=True, slots=True, repr=False)
class TCPCheck(_Probe):
    """The registry connects to `target`, "host:port"; None stands for the registration's own."""

    target: str | None = None

    def __post_init__(self) -> None:
        _Probe.__post_init__(self)
        _refuse_target("TCPCheck.target", self.target)


@dataclass(frozen=True, slots=True, repr=False)
class GRPCCheck(_Probe):
    """The registry calls the standard gRPC health service of `target` ("host:port"; None: its own).

    `service` names the one to ask for; "" asks for the server as a whole.
    """

    target: str | None = None
    service: str = field(default="", kw_only=True)
    tls: bool = field(default=False, kw_only=True)
    tls_skip_verify: bool = field(default=False, kw_only=True)
    tls_server_name: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _Probe.__post_init__(self)
        _refuse_target("GRPCCheck.target", self.target)
        as_text("GRPCCheck.service", self.service)
        as_flag("GRPCCheck.tls", self.tls)
        as_flag("GRPCCheck.tls_skip_verify", self.tls_skip_verify)
        as_text("GRPCCheck.tls_server_name", self.tls_server_name, none=True)


Check: TypeAlias = HTTPCheck | TCPCheck | TTLCheck | GRPCCheck


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # Brackets that don't match, or a port that is none.
        return False


def masked(url: str) -> str:
    """`url` without what may be secret: what stands before an @, and the query."""
    return re.sub(r"(?s)\?.*", "?***", re.sub(r"(?s)//.*@", "//***@", url))


def _refuse_target(name: str, value: str | None) -> None:
    """Refuse anything that is neither None nor host:port."""
    as_text(name, value, none=True)
    if value is None:
        return
    host, colon, port = value.rpartition(":")
    if not colon or not port.isdecimal():
        raise ValueError(f"{name} is 'host:port', or None for the registration's own; got {value!r}")
    if ":" in host and not host.startswith("["):
        raise ValueError(f"{name} has an IPv6 address in brackets, '[::1]:80'; got {value!r}")
    as_host(name, host)
    as_port(name, int(port))


def needs_port(check: Check) -> bool:
    """Whether the check looks at the registration's own port."""
    match check:
        case HTTPCheck():
            return check.url.startswith("/")
        case TCPCheck() | GRPCCheck():
            return check.target is None
        case TTLCheck():
            return False


def complete(check: Check, host: str, port: int, scheme: str | None) -> Check:
    """The check with a whole URL or target."""
    match check:
        case HTTPCheck() if check.url.startswith("/"):
            scheme = scheme if scheme in ("http", "https") else "http"
            return replace(check, url=f"{scheme}://{url_host(host)}:{port}{check.url}")
        case TCPCheck(target=None) | GRPCCheck(target=None):
            return replace(check, target=f"{url_host(host)}:{port}")
        case _:
            return check
