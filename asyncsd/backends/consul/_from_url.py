"""A ConsulBackend from a URL, for configuration."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from asyncsd.backends._shared._url import TLS_PARAMETERS, parse_url

from ._backend import ConsulBackend

__all__ = ["from_url"]


_PARAMETERS: dict[str, Callable[[str], Any]] = {
    "token_file": str,
    **TLS_PARAMETERS,
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
    scheme, where, options = parse_url(
        url,
        what="a Consul URL",
        schemes=("consul", "consul+direct", "consul+aio"),
        parameters=_PARAMETERS,
        secrets={"token": "token_file"},
    )
    tls = options.pop("tls", False)
    if where.strip("/") and where.startswith("/"):
        addresses = [f"unix://{unquote(where)}"]
    else:
        hosts = where.rstrip("/") or "127.0.0.1:8500"
        addresses = [f"https://{_with_port(host)}" if tls else host for host in hosts.split(",")]
    return ConsulBackend(addresses, client="direct" if scheme == "consul+direct" else "aio", **options)


def _with_port(host: str) -> str:
    return host if re.search(r":\d+$", host) else f"{host}:8501"  # Consul's own port for https.
