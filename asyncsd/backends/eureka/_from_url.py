"""An EurekaBackend from a URL, for configuration."""

from asyncsd.backends._shared._url import SECRETS, SERVERS, flag, parse_url

from ._backend import EurekaBackend
from ._servers import PORT

__all__ = ["from_url"]


def from_url(url: str) -> EurekaBackend:
    """The backend of `eureka://host:port,host:port/eureka?zone=a&user=app&password_file=/run/password`.

    `tls=true` speaks https. The other parameters are EurekaBackend's: zone, prefer_ip, user, password_file,
    ca, cert, key, verify, interval, wait, timeout, connect_timeout. A password has no place in a URL, which
    ends in logs.
    """
    parsed = parse_url(
        url,
        what="a Eureka URL",
        schemes=("eureka",),
        parameters={**SERVERS, "zone": str, "prefer_ip": flag, "interval": float},
        secrets=SECRETS,
    )
    protocol = "https" if parsed.options.pop("tls", False) else "http"
    hosts, _, path = parsed.where.partition("/")
    addresses = (_with_port(host) for host in (hosts or "127.0.0.1").split(","))
    return EurekaBackend([f"{protocol}://{one}/{path}".rstrip("/") for one in addresses], **parsed.options)


def _with_port(host: str) -> str:
    """`host` with Eureka's port, where it has none: those of http and https aren't meant."""
    return host if host.rpartition(":")[2].isdecimal() else f"{host}:{PORT}"
