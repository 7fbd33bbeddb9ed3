"""Where the servers are, and the names of nodes."""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from asyncsd._values import as_host, as_port, url_host

__all__ = ["Address", "join", "node_name", "parse_addresses", "parse_path", "plain_name"]

PORT = 2181
FORMS = "'127.0.0.1:2181', 'zk1:2181,zk2:2181' or ['zk1', 'zk2']"


@dataclass(frozen=True, slots=True)
class Address:
    """Where one server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{url_host(self.host)}:{self.port}"


def parse_addresses(value: str | Iterable[str]) -> tuple[Address, ...]:
    """The addresses of a string, with commas between, or of a list. Raises ValueError or TypeError."""
    if not isinstance(value, str | Iterable):
        raise TypeError(f"ZooKeeperBackend.hosts is {FORMS}; got {value!r}")
    parts = value.split(",") if isinstance(value, str) else list(value)
    addresses: list[Address] = []
    for part in parts:
        if not isinstance(part, str):
            raise TypeError(f"ZooKeeperBackend.hosts is {FORMS}; got {part!r}")
        if "@" in part:
            # Not shown: it may hold a password.
            raise ValueError("ZooKeeperBackend.hosts has an '@': give user= and password_file=")
        address = _parse(part.strip())
        if address in addresses:
            raise ValueError(f"ZooKeeperBackend.hosts names {address} twice")
        addresses.append(address)
    if not addresses:
        raise ValueError(f"ZooKeeperBackend.hosts names no server: give {FORMS}")
    return tuple(addresses)


def _parse(text: str) -> Address:
    if not text or "/" in text:
        raise ValueError(f"ZooKeeperBackend.hosts is {FORMS}; got {text!r}")
    try:
        parts = urlsplit(f"//{text}")
        port = PORT if parts.port is None else parts.port
    except ValueError:
        raise ValueError(f"ZooKeeperBackend.hosts is {FORMS}; got {text!r}") from None
    host = as_host("ZooKeeperBackend.hosts", parts.hostname or "")
    return Address(host, as_port("ZooKeeperBackend.hosts", port))


def parse_path(name: str, value: str) -> str:
    """`value` as an absolute path without a slash at its end; "" for "/". Raises ValueError."""
    path = "/" + value.strip("/")
    labels = path[1:].split("/")
    if path == "/":
        return ""
    if "" in labels or "." in labels or ".." in labels or any(ord(one) < 32 for one in path):
        raise ValueError(f"{name} is a path such as '/services'; got {value!r}")
    if labels[0] == "zookeeper":
        raise ValueError(f"{name}: /zookeeper is ZooKeeper's own; got {value!r}")
    return path


def node_name(name: str) -> str:
    """A service's name or an instance's id as the name of a node, in which most characters are themselves."""
    return {".": "%2E", "..": "%2E%2E"}.get(name) or quote(name, safe="!$&'()*+,;=:@ ")


def plain_name(node: str) -> str:
    """What `node_name` was made of."""
    return unquote(node)


def join(*parts: str) -> str:
    """A path of a root and nodes below."""
    return "/".join(parts)
