"""A user's name and password, which may stand in a file, and how HTTP is told of them."""

import asyncio
import base64
from pathlib import Path

from asyncsd._errors import BackendError

from ._tls import File

__all__ = ["BasicLogin", "Credentials"]


class Credentials:
    """Whom a registry is asked by. `owner` is the backend whose parameters these are, for errors.

    `scheme` is the way of telling both that has a colon between them, so that the name can't have one.
    Raises ValueError for what doesn't go together.
    """

    def __init__(
        self,
        owner: str,
        user: str | None,
        password: str | None,
        file: File | None,
        *,
        scheme: str | None = None,
    ) -> None:
        if user is None and (password is not None or file is not None):
            raise ValueError(f"{owner}.password and password_file go with user=")
        if user is not None and (password is None) is (file is None):
            raise ValueError(f"{owner}.user goes with one of password= and password_file=")
        for name, value in (("user", user), ("password", password)):
            if value is not None and (not isinstance(value, str) or not value):
                raise ValueError(f"{owner}.{name} is a string that isn't empty")
        if user is not None and scheme is not None and ":" in user:
            # Not shown: it may be "user:password" whole.
            raise ValueError(f"{owner}.user is a name without ':', which ends it in {scheme}")
        self.user = user
        self._password = password
        self._file = None if file is None else Path(file)

    def __bool__(self) -> bool:
        """Whether there is a user."""
        return self.user is not None

    @property
    def in_file(self) -> bool:
        """Whether the password may change, since a file holds it."""
        return self._file is not None

    @property
    def shown(self) -> dict[str, object]:
        """The parameters for the backend's repr, by their names."""
        return {
            **({"user": self.user} if self.user is not None else {}),
            **({"password": "***"} if self._password is not None else {}),
            **({"password_file": str(self._file)} if self._file is not None else {}),
        }

    async def password(self) -> str:
        """The password; a file is read anew, off the loop. Raises BackendError for one that can't be used."""
        return self._password or "" if self._file is None else await asyncio.to_thread(self.read)

    def read(self) -> str:
        """`password` for a thread: it blocks where there is a file."""
        if self._file is None:
            return self._password or ""
        try:
            password = self._file.read_text().strip()
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "it holds no text"
            raise BackendError(f"the password file {self._file} can't be used: {reason}") from exc
        if not password:
            raise BackendError(f"the password file {self._file} can't be used: it is empty")
        return password


class BasicLogin:
    """HTTP's basic authentication. A password file is read again when what it held was refused."""

    def __init__(self, owner: str, user: str | None, password: str | None, file: File | None) -> None:
        self.credentials = Credentials(owner, user, password, file, scheme="HTTP's basic authentication")
        self._header: str | None = None

    async def header(self) -> str | None:
        """The Authorization of a request; None without a user."""
        if self.credentials and self._header is None:
            told = f"{self.credentials.user}:{await self.credentials.password()}"
            self._header = f"Basic {base64.b64encode(told.encode()).decode()}"
        return self._header

    async def renewed(self, refused: str | None) -> str | None:
        """Another header than the refused one, where the password file holds one by now."""
        if not self.credentials.in_file:
            return None
        if self._header == refused:
            self._header = None
        header = await self.header()
        return header if header != refused else None
