"""An EtcdBackend from a URL, for configuration."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote

from ._backend import EtcdBackend

__all__ = ["from_url"]


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("is true or false")
    return text.lower() == "true"


_PARAMETERS: dict[str, Callable[[str], Any]] = {
    "user": str,
    "password_file": str,
    "ca": str,
    "cert": str,
    "key": str,
    "verify": _flag,
    "wait": float,
    "timeout": float,
    "connect_timeout": float,
}


def from_url(url: str) -> EtcdBackend:
    """The backend of `etcd://host:port,host:port/prefix?user=app&password_file=/run/password`.

    `tls=true` speaks https. The other parameters are EtcdBackend's: user, password_file, ca, cert, key,
    verify, wait, timeout, connect_timeout. A password has no place in a URL, which ends in logs.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme != "etcd":
        got = f"; got {scheme!r}" if separator else ""
        raise ValueError(f"an etcd URL starts with etcd://{got}")
    where, _, query = rest.partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True))
    if "password" in given:
        raise ValueError("an etcd URL has no parameter 'password', since URLs end in logs: use password_file")
    try:
        tls = _flag(given.pop("tls", "false"))
    except ValueError as exc:
        raise ValueError(f"tls of an etcd URL {exc}") from None
    options: dict[str, Any] = {}
    for name, text in given.items():
        if name not in _PARAMETERS:
            raise ValueError(
                f"an etcd URL has no parameter {name!r}; it has tls, {', '.join(sorted(_PARAMETERS))}"
            )
        try:
            options[name] = _PARAMETERS[name](text)
        except ValueError as exc:
            raise ValueError(f"{name} of an etcd URL: {text!r}: {exc}") from None
    hosts, slash, prefix = where.partition("/")
    if slash and prefix.strip("/"):
        options["prefix"] = unquote(prefix)
    protocol = "https" if tls else "http"
    return EtcdBackend([f"{protocol}://{host}" for host in (hosts or "127.0.0.1:2379").split(",")], **options)
