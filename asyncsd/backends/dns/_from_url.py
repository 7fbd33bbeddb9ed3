"""A DNSBackend from a URL, for configuration."""

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from asyncsd.backends._shared._url import flag, parse_url

from ._backend import DNSBackend

__all__ = ["from_url"]

_PARAMETERS: dict[str, Callable[[str], Any]] = {
    "record": str,
    "port": int,
    "resolve": flag,
    "min_ttl": float,
    "max_ttl": float,
    "tcp": flag,
    "wait": float,
    "timeout": float,
}


def from_url(url: str) -> DNSBackend:
    """The backend of `dns://ns1:53,ns2:53/service.consul?max_ttl=5`.

    Without a name server, `dns:///example.com`, it is the system's. The path is the domain, and the
    parameters are DNSBackend's: record, port, resolve, min_ttl, max_ttl, tcp, wait, timeout.
    """
    parsed = parse_url(url, what="a DNS URL", schemes=("dns",), parameters=_PARAMETERS)
    servers, _, domain = parsed.where.partition("/")
    return DNSBackend(servers or None, domain=unquote(domain), **parsed.options)
