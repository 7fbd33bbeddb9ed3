"""A ZooKeeperBackend from a URL, for configuration."""

from urllib.parse import unquote

from asyncsd.backends._shared._url import SECRETS, SERVERS, parse_url

from ._backend import ZooKeeperBackend

__all__ = ["from_url"]


def from_url(url: str) -> ZooKeeperBackend:
    """The backend of `zk://host:port,host:port/chroot?prefix=/services&user=app&password_file=/run/zk`.

    Services are nodes below the chroot and the prefix. The parameters are ZooKeeperBackend's: user,
    password_file, prefix, session_timeout, tls, ca, cert, key, verify, wait, timeout, connect_timeout. A
    password has no place in a URL, which ends in logs.
    """
    _, where, options = parse_url(
        url,
        what="a ZooKeeper URL",
        schemes=("zk",),
        parameters={**SERVERS, "prefix": str, "session_timeout": float},
        secrets=SECRETS,
    )
    hosts, _, chroot = where.partition("/")
    prefix = options.pop("prefix", "/services")
    if chroot.strip("/"):
        prefix = f"/{unquote(chroot).strip('/')}/{prefix.strip('/')}"
    return ZooKeeperBackend(hosts or "127.0.0.1:2181", prefix=prefix, **options)
