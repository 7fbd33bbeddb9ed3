"""Where etcd's servers are: addresses as people write them."""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from asyncsd._values import as_host, as_port, url_host

__all__ = ["Endpoint", "parse_endpoints"]

PORT = 2379
FORMS = "'http://127.0.0.1:2379', 'localhost:2379' or 'https://…'"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one server listens for clients."""

    host: str
    port: int
    is_tls: bool = False

    def __str__(self) -> str:
        return f"{'https' if self.is_tls else 'http'}://{url_host(self.host)}:{self.port}"


def parse_endpoints(value: str | Iterable[str], *, owner: str) -> tuple[Endpoint, ...]:
    """The endpoints of a string, which may name several with commas between, or of a list of them.

    `owner` is the backend whose parameter this is, for errors.
    """
    name = f"{owner}.endpoints"
    if isinstance(value, str):
        value = value.split(",")
    endpoints: list[Endpoint] = []
    for text in value:
        if not isinstance(text, str):
            raise TypeError(f"{name} is a string such as {FORMS}, or a list of them")
        endpoint = _parse(text.strip(), name)
        if endpoint in endpoints:
            raise ValueError(f"{name} names {endpoint} twice")
        endpoints.append(endpoint)
    if not endpoints:
        raise ValueError(f"{name} is empty: give one such as {FORMS}")
    if len({endpoint.is_tls for endpoint in endpoints}) > 1:
        raise ValueError(f"{name}: all of them are http://, or all https://")
    return tuple(endpoints)


def _parse(text: str, name: str) -> Endpoint:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port
    except ValueError:
        # `from None`: the text of the other may hold a password.
        raise ValueError(f"{name}: one is no address: {FORMS} would do") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{name}: one such as {FORMS} would do")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{name}: the login goes into user= and password=")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"{name}: an address without a path; the keys' prefix goes into prefix=")
    host = as_host(f"{name}' host", parts.hostname)
    port = as_port(f"{name}' port", PORT if port is None else port)
    return Endpoint(host, port, parts.scheme == "https")
