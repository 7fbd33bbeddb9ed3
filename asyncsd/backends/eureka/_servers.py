"""Where the servers are: addresses as people write them, those of one's own zone first."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast
from urllib.parse import urlsplit

from asyncsd._values import as_host, as_port, url_host
from asyncsd.backends._shared._local import is_loopback

__all__ = ["PORT", "Server", "URLs", "parse_servers"]

URLs: TypeAlias = str | Iterable[str]

PORT = 8761
"""Spring's port for Eureka."""
PATH = "/eureka"
FORMS = "'http://127.0.0.1:8761/eureka', 'localhost:8761' or 'https://…'"


@dataclass(frozen=True, slots=True)
class Server:
    """One server of Eureka; `path` is what its paths begin with."""

    host: str
    port: int
    path: str = PATH
    is_tls: bool = False

    def __str__(self) -> str:
        return f"{'https' if self.is_tls else 'http'}://{url_host(self.host)}:{self.port}{self.path}"

    @property
    def is_local(self) -> bool:
        """Whether no network lies between."""
        return is_loopback(self.host)


def parse_servers(value: URLs | Mapping[str, URLs], zone: str | None) -> tuple[Server, ...]:
    """The servers of a string, with commas between several, of a list, or of such by their zones.

    Those of `zone` come first, the other zones after them in their order.
    """
    servers: list[Server] = []
    for urls in _by_zone(value, zone):
        for text in urls.split(",") if isinstance(urls, str) else urls:
            if not isinstance(text, str):
                raise TypeError(f"EurekaBackend.urls is a string such as {FORMS}, or a list of them")
            server = _parse(text.strip())
            if server in servers:
                raise ValueError(f"EurekaBackend.urls names {server} twice")
            servers.append(server)
    if not servers:
        raise ValueError(f"EurekaBackend.urls is empty: give one such as {FORMS}")
    if len({server.is_tls for server in servers}) > 1:
        raise ValueError("EurekaBackend.urls: all of them are http://, or all https://")
    return tuple(servers)


def _by_zone(value: URLs | Mapping[str, URLs], zone: str | None) -> list[URLs]:
    if isinstance(value, Mapping):
        zones = cast("Mapping[str, URLs]", value)
        return [zones[name] for name in sorted(zones, key=lambda name: name != zone)]
    return [value]


def _parse(text: str) -> Server:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port
    except ValueError:
        # `from None`: the text of the other may hold a password.
        raise ValueError(f"EurekaBackend.urls: one is no address: {FORMS} would do") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"EurekaBackend.urls: one such as {FORMS} would do")
    if parts.username is not None or parts.password is not None:
        # A URL ends in logs and errors, though Eureka's own clients take the login from there.
        raise ValueError("EurekaBackend.urls: the login goes into user= and password=, or password_file=")
    if parts.query or parts.fragment:
        raise ValueError("EurekaBackend.urls: an address without a query")
    host = as_host("EurekaBackend.urls' host", parts.hostname)
    is_tls = parts.scheme == "https"
    usual = PORT if "://" not in text else 443 if is_tls else 80
    port = as_port("EurekaBackend.urls' port", usual if port is None else port)
    return Server(host, port, parts.path.rstrip("/") or PATH, is_tls)
