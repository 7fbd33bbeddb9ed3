"""The user that servers behind a login want: HTTP's basic authentication."""

import asyncio
import base64
from pathlib import Path

from asyncsd._errors import BackendError
from asyncsd.backends._shared._tls import File

__all__ = ["Login"]


class Login:
    """The header that tells who asks. A password file is read off the loop, and again when it was refused."""

    def __init__(self, user: str | None, password: str | None, file: File | None) -> None:
        if user is None and (password is not None or file is not None):
            raise ValueError("EurekaBackend.password and password_file go with user=")
        if user is not None and (password is None) is (file is None):
            raise ValueError("EurekaBackend.user goes with one of password= and password_file=")
        for name, value in (("user", user), ("password", password)):
            if value is not None and (not isinstance(value, str) or not value):
                raise ValueError(f"EurekaBackend.{name} is a string that isn't empty")
        if user is not None and ":" in user:
            raise ValueError("EurekaBackend.user has no colon: basic authentication has no means for it")
        self._user = user
        self._password = password
        self._file = None if file is None else Path(file)
        self._header: str | None = None

    async def header(self) -> str | None:
        """The Authorization of a request; None without a user."""
        if self._user is not None and self._header is None:
            password = self._password
            if self._file is not None:
                password = await asyncio.to_thread(_read, self._file)
            told = f"{self._user}:{password}".encode()
            self._header = f"Basic {base64.b64encode(told).decode()}"
        return self._header

    async def renewed(self, refused: str | None) -> str | None:
        """Another header than the refused one, where the password file holds one by now."""
        if self._file is None:
            return None
        if self._header == refused:
            self._header = None
        header = await self.header()
        return header if header != refused else None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it holds no text"
        raise BackendError(f"the password file {path} can't be used: {reason}") from exc
