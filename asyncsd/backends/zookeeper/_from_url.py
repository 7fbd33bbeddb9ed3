"""A ZooKeeperBackend from a URL, for configuration."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote

from ._backend import ZooKeeperBackend

__all__ = ["from_url"]


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("is true or false")
    return text.lower() == "true"


_PARAMETERS: dict[str, Callable[[str], Any]] = {
    "auth_file": str,
    "ca": str,
    "cert": str,
    "connect_timeout": float,
    "key": str,
    "prefix": str,
    "session_timeout": float,
    "timeout": float,
    "tls": _flag,
    "verify": _flag,
    "wait": float,
}


def from_url(url: str) -> ZooKeeperBackend:
    """The backend of `zk://host:port,host:port/chroot?prefix=/services&auth_file=/run/zk`.

    Services are nodes below the chroot and the prefix. The parameters are ZooKeeperBackend's: auth_file, ca,
    cert, connect_timeout, key, prefix, session_timeout, timeout, tls, verify, wait. A password has no place
    in a URL, which ends in logs.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme != "zk":
        got = f"; got {scheme!r}" if separator else ""
        raise ValueError(f"a ZooKeeper URL starts with zk://{got}")
    where, _, query = rest.partition("?")
    hosts, _, chroot = where.partition("/")
    options: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in _PARAMETERS:
            raise ValueError(f"a ZooKeeper URL has no parameter {name!r}; it has {', '.join(_PARAMETERS)}")
        try:
            options[name] = _PARAMETERS[name](text)
        except ValueError as exc:
            raise ValueError(f"{name} of a ZooKeeper URL: {text!r}: {exc}") from None
    prefix = options.pop("prefix", "/services")
    if chroot.strip("/"):
        prefix = f"/{unquote(chroot).strip('/')}/{prefix.strip('/')}"
    return ZooKeeperBackend(hosts or "127.0.0.1:2181", prefix=prefix, **options)
