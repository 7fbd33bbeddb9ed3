"""Who one is towards the servers: the digest scheme's user and password."""

from dataclasses import dataclass, field
from pathlib import Path

from asyncsd._values import as_text
from asyncsd.backends._shared._tls import File

__all__ = ["Credentials"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user with a password, or with a file that holds it; neither is a user who has none."""

    user: str | None
    password: str | None = field(repr=False)
    password_file: File | None

    def __post_init__(self) -> None:
        as_text("ZooKeeperBackend.user", self.user, none=True)
        as_text("ZooKeeperBackend.password", self.password, none=True)
        if self.user is None:
            if self.password is not None or self.password_file is not None:
                raise ValueError("ZooKeeperBackend.password and password_file go with user=")
            return
        if (self.password is None) is (self.password_file is None):
            raise ValueError("ZooKeeperBackend.user goes with one of password= and password_file=")
        if not self.user or ":" in self.user:
            # Not shown: it may be "user:password" whole.
            raise ValueError(
                "ZooKeeperBackend.user is a name without ':', which ends it in the digest scheme"
            )
        if self.password is not None and not self.password:
            raise ValueError("ZooKeeperBackend.password is empty")

    def read(self) -> str | None:
        """ "user:password", None where there is no user. Reads a file: call it off the loop."""
        if self.user is None:
            return None
        if self.password_file is None:
            return f"{self.user}:{self.password}"
        name = f"ZooKeeperBackend.password_file {self.password_file}"
        try:
            password = Path(self.password_file).read_text().strip()
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "isn't text"
            raise ValueError(f"{name}: {reason}") from None
        if not password:
            raise ValueError(f"{name}: is empty")
        return f"{self.user}:{password}"
