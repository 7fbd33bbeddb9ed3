"""An EtcdBackend from a URL, for configuration."""

from urllib.parse import unquote

from asyncsd.backends._shared._url import SECRETS, SERVERS, parse_url

from ._backend import EtcdBackend

__all__ = ["from_url"]


def from_url(url: str) -> EtcdBackend:
    """The backend of `etcd://host:port,host:port/prefix?user=app&password_file=/run/password`.

    `tls=true` speaks https. The other parameters are EtcdBackend's: user, password_file, ca, cert, key,
    verify, wait, timeout, connect_timeout. A password has no place in a URL, which ends in logs.
    """
    _, where, options = parse_url(
        url,
        what="an etcd URL",
        schemes=("etcd",),
        parameters=SERVERS,
        secrets=SECRETS,
    )
    protocol = "https" if options.pop("tls", False) else "http"
    hosts, _, prefix = where.partition("/")
    if prefix.strip("/"):
        options["prefix"] = unquote(prefix)
    return EtcdBackend([f"{protocol}://{host}" for host in (hosts or "127.0.0.1:2379").split(",")], **options)
