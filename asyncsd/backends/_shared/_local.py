"""Where this machine is, as others see it."""

import asyncio
import ipaddress
import socket

from asyncsd._errors import UnreachableError

__all__ = ["is_loopback", "local_host"]


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
