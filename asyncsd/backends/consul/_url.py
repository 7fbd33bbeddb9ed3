"""Where agents are: addresses as people write them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from asyncsd._values import as_host, as_port, url_host
from asyncsd.backends._shared._local import is_loopback

__all__ = ["Address", "parse_addresses"]

PORT = 8500
SCHEMES = {"http": "http", "https": "https", "consul": "http"}
FORMS = "'http://127.0.0.1:8500', 'localhost:8500', 'consul://…', 'https://…' or 'unix:///path'"


@dataclass(frozen=True, slots=True)
class Address:
    """Where one agent listens.

    `url` is its address without credentials, without a slash at its end. `is_local` tells whether no network
    lies between: of a unix socket, or a loopback address.
    """

    url: str
    host: str = ""
    port: int = 0
    socket: str | None = None
    credentials: tuple[str, str] | None = field(default=None, repr=False)
    is_local: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Each request asks for it.
        object.__setattr__(self, "is_local", self.socket is not None or is_loopback(self.host))

    def __str__(self) -> str:
        return self.url if self.socket is None else f"unix://{self.socket}"

    @property
    def is_tls(self) -> bool:
        return self.url.startswith("https:")


def parse_addresses(value: str | Iterable[str]) -> tuple[Address, ...]:
    """The addresses of a string, which may name several with commas between, or of a list of them.

    Raises ValueError or TypeError, which show no credentials.
    """
    if isinstance(value, str):
        parts: Sequence[object] = [part.strip() for part in value.split(",")]
    elif isinstance(value, Iterable):
        parts = list(value)
    else:
        raise TypeError(f"ConsulBackend.url is a string such as {FORMS}, or a list of them")
    addresses: list[Address] = []
    for part in parts:
        if not isinstance(part, str):
            raise TypeError(f"ConsulBackend.url is a string such as {FORMS}, or a list of them")
        address = _parse(part.strip())
        if address in addresses:
            raise ValueError(f"ConsulBackend.url names {address} twice")
        addresses.append(address)
    if not addresses:
        raise ValueError(f"ConsulBackend.url names no agent: give one such as {FORMS}")
    return tuple(addresses)


def _parse(text: str) -> Address:
    if not text:
        raise ValueError(f"ConsulBackend.url is empty: give one such as {FORMS}")
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/"):
            raise ValueError("ConsulBackend.url: a unix socket is 'unix:///absolute/path'")
        # The host is what goes into the Host header; the socket says where to connect.
        return Address("http://localhost", socket=path)
    try:
        parts = urlsplit(text if "://" in text else f"consul://{text}")
        port = parts.port
    except ValueError:
        # `from None`: the text of the other may hold the password.
        raise ValueError(f"ConsulBackend.url is no address: one such as {FORMS} would do") from None
    scheme = SCHEMES.get(parts.scheme)
    if scheme is None:
        raise ValueError(f"ConsulBackend.url has the scheme {parts.scheme!r}: one such as {FORMS} would do")
    if not parts.hostname:
        raise ValueError(f"ConsulBackend.url names no host: one such as {FORMS} would do")
    if parts.query or parts.fragment:
        raise ValueError("ConsulBackend.url has no '?' or '#': a token goes into token=")
    if "@" in parts.path:
        raise ValueError(
            "ConsulBackend.url has an '@' after its host: a '/' in a user name or a password is written %2F"
        )
    if parts.hostname in ("0.0.0.0", "::"):  # noqa: S104 - refused, and not bound
        raise ValueError(
            f"ConsulBackend.url is where an agent is reached, and {parts.hostname} is where one listens: "
            "on this machine it is 127.0.0.1"
        )
    host = as_host("ConsulBackend.url's host", parts.hostname)
    if port is None:
        port = {"http": 80, "https": 443}.get(parts.scheme, PORT)
    as_port("ConsulBackend.url's port", port)
    credentials = None
    if parts.username or parts.password:
        credentials = (unquote(parts.username or ""), unquote(parts.password or ""))
    path = quote(unquote(parts.path.rstrip("/")), safe="/:!$&'()*+,;=-._~")
    return Address(f"{scheme}://{url_host(host)}:{port}{path}", host, port, None, credentials)
