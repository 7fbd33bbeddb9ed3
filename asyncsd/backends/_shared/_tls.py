"""TLS towards a registry."""

import ssl
from dataclasses import dataclass
from os import PathLike
from typing import TypeAlias

__all__ = ["TLS", "File"]

File: TypeAlias = str | PathLike[str]


@dataclass(frozen=True, slots=True, repr=False)
class TLS:
    """Which certificates to trust and to show: files, or a whole context of the user's.

    `owner` is the backend whose parameters these are, for errors.
    """

    owner: str
    ca: File | None = None
    cert: File | None = None
    key: File | None = None
    verify: bool = True
    context: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        if self.context is not None and (self.ca or self.cert or self.key or not self.verify):
            raise ValueError(f"{self.owner}.ssl is a whole context: put ca, cert, key and verify into it")
        if self.key is not None and self.cert is None:
            raise ValueError(f"{self.owner}.key goes with cert=")

    def __bool__(self) -> bool:
        """Whether anything was asked for."""
        return bool(self.context or self.ca or self.cert or not self.verify)

    def build(self) -> ssl.SSLContext:
        """The context. Reads files: call it off the loop. Raises ValueError that names the parameter."""
        if self.context is not None:
            return self.context
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except OSError as exc:
            raise ValueError(f"{self.owner}.ca {self.ca}: {exc.strerror or exc}") from exc
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert is not None:
            try:
                # With a password of ours OpenSSL fails on an encrypted key instead of asking the terminal.
                context.load_cert_chain(self.cert, self.key, password="")
            except OSError as exc:
                raise ValueError(f"{self.owner}.cert {self.cert}: {exc.strerror or exc}") from exc
        return context
