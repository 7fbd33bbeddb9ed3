"""An Etcd2Backend from a URL, for configuration."""

from urllib.parse import unquote

from asyncsd.backends._shared._url import SECRETS, SERVERS, parse_url

from ._backend import Etcd2Backend

__all__ = ["from_url"]


def from_url(url: str) -> Etcd2Backend:
    """The backend of `etcd2://host:port,host:port/prefix?user=app&password_file=/run/password`.

    `tls=true` speaks https. The other parameters are Etcd2Backend's: user, password_file, ca, cert, key,
    verify, wait, timeout, connect_timeout. A password has no place in a URL, which ends in logs.
    """
    _, where, options = parse_url(
        url,
        what="an etcd2 URL",
        schemes=("etcd2",),
        parameters=SERVERS,
        secrets=SECRETS,
    )
    protocol = "https" if options.pop("tls", False) else "http"
    hosts, _, prefix = where.partition("/")
    if prefix.strip("/"):
        options["prefix"] = unquote(prefix)
    return Etcd2Backend(
        [f"{protocol}://{host}" for host in (hosts or "127.0.0.1:2379").split(",")], **options
    )
