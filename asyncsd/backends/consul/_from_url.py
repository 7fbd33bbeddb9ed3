"""A ConsulBackend from a URL, for configuration."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote

from ._backend import ConsulBackend

__all__ = ["from_url"]


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("is true or false")
    return text.lower() == "true"


_PARAMETERS: dict[str, Callable[[str], Any]] = {
    "token_file": str,
    "ca": str,
    "cert": str,
    "key": str,
    "verify": _flag,
    "wait": float,
    "datacenter": str,
    "max_watches": int,
    "connect_timeout": float,
}


def from_url(url: str) -> ConsulBackend:
    """The backend of `consul://host:port,host:port?token_file=/run/token&datacenter=dc2`.

    "consul+direct://" takes the direct client. `tls=true` speaks https. "consul:///run/consul.sock" is a
    unix socket. The other parameters are ConsulBackend's: token_file, ca, cert, key, verify, wait,
    datacenter, max_watches, connect_timeout. A token has no place in a URL, which ends in logs.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("consul", "consul+aio", "consul+direct"):
        got = f"; got {scheme!r}" if separator else ""
        raise ValueError(f"a Consul URL starts with consul:// or consul+direct://{got}")
    where, _, query = rest.partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True))
    tls = _flag(given.pop("tls", "false"))
    options: dict[str, Any] = {}
    for name, text in given.items():
        if name not in _PARAMETERS:
            raise ValueError(
                f"a Consul URL has no parameter {name!r}; it has tls, {', '.join(sorted(_PARAMETERS))}"
            )
        try:
            options[name] = _PARAMETERS[name](text)
        except ValueError as exc:
            raise ValueError(f"{name} of a Consul URL: {text!r}: {exc}") from None
    if where.startswith("/"):
        addresses = [f"unix://{unquote(where)}"]
    else:
        hosts = where.rstrip("/") or "127.0.0.1:8500"
        addresses = [f"https://{_with_port(host)}" if tls else host for host in hosts.split(",")]
    return ConsulBackend(addresses, client="direct" if scheme == "consul+direct" else "aio", **options)


def _with_port(host: str) -> str:
    return host if re.search(r":\d+$", host) else f"{host}:8501"  # Consul's own port for https.
