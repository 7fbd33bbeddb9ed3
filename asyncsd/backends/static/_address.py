"""Where an instance listens, as people write it."""

from typing import NamedTuple
from urllib.parse import urlsplit

from asyncsd._values import as_host, as_port, url_host

__all__ = ["FORMS", "Address", "as_address"]

FORMS = "'10.0.0.1:80', '[::1]:80' or 'https://host:443'"
PORTS = {"http": 80, "https": 443}
NOBODYS = {"0.0.0.0", "::"}  # noqa: S104 - refused


class Address(NamedTuple):
    """A host and a port, and the scheme where one was written."""

    host: str
    port: int
    scheme: str | None = None

    def __str__(self) -> str:
        return f"{url_host(self.host)}:{self.port}"


def as_address(name: str, text: str) -> Address:
    """The address that `text` writes, or an error that begins with `name` and says what would do."""
    if "@" in text:  # What stands before it may be a password: it isn't shown.
        raise ValueError(f"{name} is an address such as {FORMS}, without a login before an @")
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:  # Brackets that don't match, or a port that is none.
        raise ValueError(f"{name} is an address such as {FORMS}; got {text!r}") from None
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"{name} is an address such as {FORMS}, without a path; got {text!r}")
    port = PORTS.get(parts.scheme) if port is None else port
    if not host or port is None:
        raise ValueError(f"{name} is an address with a port, such as {FORMS}; got {text!r}")
    if host in NOBODYS:
        raise ValueError(f"{name} is where an instance can be called, which nobody can at {text!r}")
    return Address(as_host(name, host), as_port(name, port), parts.scheme or None)
