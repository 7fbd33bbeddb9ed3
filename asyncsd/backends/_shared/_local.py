"""Where this machine is, as others see it."""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

from asyncsd._errors import UnreachableError

__all__ = ["LocalHost", "is_loopback", "local_host"]

LOOPBACK = "127.0.0.1"


@lru_cache(64)
def is_loopback(host: str) -> bool:
    """Whether no network lies between here and `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def local_host(host: str, port: int, *, url: str) -> str:
    """The address by which this machine reaches `host`. Raises UnreachableError with `url` where it can't."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        family, kind, _, _, target = found[0]
        with socket.socket(family, kind) as probe:
            probe.setblocking(False)
            probe.connect(target)  # UDP: the kernel chooses the route, and nothing is sent.
            return str(probe.getsockname()[0])
    except OSError as exc:
        raise UnreachableError(f"no way from here to {host}: {exc.strerror or exc}", url=url) from exc


class Place(Protocol):
    """Where a server listens; as a string, for people."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...


class LocalHost:
    """The default host of what registers: the address by which this machine reaches the servers.

    `what` they are is for people: "etcd".
    """

    def __init__(self, what: str, servers: Sequence[Place], *, log: logging.Logger) -> None:
        self._what = what
        self._servers = servers
        self._log = log
        self._warned = False

    async def find(self) -> str:
        """The address; loopback, with a warning once, where all servers are on this machine."""
        for server in self._servers:
            if not is_loopback(server.host):
                return await local_host(server.host, server.port, url=str(server))
        if not self._warned:
            self._warned = True
            self._log.warning(
                "%s is asked at %s: what registers without host= gets %s, which other machines can't call",
                self._what,
                self._servers[0],
                LOOPBACK,
            )
        return LOOPBACK
