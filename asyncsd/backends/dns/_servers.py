"""Where the name servers are: as people write them, or as the system has them."""

import asyncio
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from asyncsd._values import as_host, as_port, url_host

__all__ = ["NameServer", "located", "parse_servers", "system_servers"]

PORT = 53
FORMS = "'10.0.0.1', '10.0.0.1:8600', '[2001:db8::1]:53' or 'ns1.example'"


@dataclass(frozen=True, slots=True)
class NameServer:
    """Where a name server listens, for UDP and for TCP."""

    host: str
    port: int = PORT

    def __str__(self) -> str:
        return f"dns://{url_host(self.host)}:{self.port}"

    @property
    def short(self) -> str:
        """As people write it."""
        return str(self).removeprefix("dns://").removesuffix(f":{PORT}")


def parse_servers(value: str | Iterable[str]) -> tuple[NameServer, ...]:
    """The servers of a string, which may name several with commas between, or of a list of them."""
    if isinstance(value, str):
        value = value.split(",")
    servers: list[NameServer] = []
    for text in value:
        if not isinstance(text, str):
            raise TypeError(f"DNSBackend.nameservers is a string such as {FORMS}, or a list of them")
        server = _parse(text.strip())
        if server in servers:
            raise ValueError(f"DNSBackend.nameservers names {server} twice")
        servers.append(server)
    if not servers:
        raise ValueError(f"DNSBackend.nameservers is empty: give {FORMS}, or None for the system's")
    return tuple(servers)


def _parse(text: str) -> NameServer:
    if "/" in text or "@" in text:
        raise ValueError(f"DNSBackend.nameservers: an address alone, such as {FORMS}")
    if text.count(":") > 1 and not text.startswith("["):
        text = f"[{text}]"  # A bare IPv6 address.
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        raise ValueError(f"DNSBackend.nameservers: {text!r} is no address: {FORMS} would do") from None
    host = as_host("DNSBackend.nameservers' host", parts.hostname or "")
    return NameServer(host, as_port("DNSBackend.nameservers' port", PORT if port is None else port))


async def located(servers: Sequence[NameServer]) -> tuple[NameServer, ...]:
    """`servers` by address: one given by name is as many as its addresses. An unknown one stays a name."""
    found: list[NameServer] = []
    for server in servers:
        try:
            addresses = await asyncio.get_running_loop().getaddrinfo(
                server.host, server.port, type=socket.SOCK_DGRAM
            )
        except OSError:
            found.append(server)  # Asking it will say so.
        else:
            found += (NameServer(str(address[0]), server.port) for *_, address in addresses)
    return tuple(dict.fromkeys(found))


def system_servers() -> tuple[NameServer, ...]:
    """The name servers of this machine: /etc/resolv.conf's, the registry's on Windows.

    Reads files: call it off the loop. Raises ValueError where there is none.
    """
    # Here, since it imports all that dnspython can do, and most who use this backend name their servers.
    import dns.resolver

    try:
        found = dns.resolver.Resolver().nameservers
    except dns.resolver.NoResolverConfiguration as exc:
        raise ValueError("this system names no name server: use DNSBackend(nameservers=...)") from exc
    return tuple(dict.fromkeys(NameServer(str(server)) for server in found))
