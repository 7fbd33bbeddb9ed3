"""A user's name and password, which may stand in a file."""

import asyncio
from pathlib import Path

from asyncsd._errors import BackendError

from ._tls import File

__all__ = ["Credentials"]


class Credentials:
    """Whom a registry is asked by. `owner` is the backend whose parameters these are, for errors.

    Raises ValueError for what doesn't go together.
    """

    def __init__(self, owner: str, user: str | None, password: str | None, file: File | None) -> None:
        if user is None and (password is not None or file is not None):
            raise ValueError(f"{owner}.password and password_file go with user=")
        if user is not None and (password is None) is (file is None):
            raise ValueError(f"{owner}.user goes with one of password= and password_file=")
        for name, value in (("user", user), ("password", password)):
            if value is not None and (not isinstance(value, str) or not value):
                raise ValueError(f"{owner}.{name} is a string that isn't empty")
        self.user = user
        self._password = password
        self._file = None if file is None else Path(file)

    def __bool__(self) -> bool:
        """Whether there is a user."""
        return self.user is not None

    async def password(self) -> str:
        """The password; a file is read anew, off the loop. Raises BackendError for one that can't be used."""
        if self._file is not None:
            return await asyncio.to_thread(_read, self._file)
        return self._password or ""


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it holds no text"
        raise BackendError(f"the password file {path} can't be used: {reason}") from exc
