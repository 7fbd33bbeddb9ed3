"""A user of etcd's, and the token that stands for it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from asyncsd._errors import BackendError
from asyncsd.backends._shared._tls import File

__all__ = ["Login"]


class Login:
    """Logs in when a token is wanted, once for all who want one.

    A password file is read at each login, off the loop, so that a changed one is found.
    """

    def __init__(self, user: str | None, password: str | None, file: File | None) -> None:
        if user is None and (password is not None or file is not None):
            raise ValueError("EtcdBackend.password and password_file go with user=")
        if user is not None and (password is None) is (file is None):
            raise ValueError("EtcdBackend.user goes with one of password= and password_file=")
        for name, value in (("user", user), ("password", password)):
            if value is not None and (not isinstance(value, str) or not value):
                raise ValueError(f"EtcdBackend.{name} is a string that isn't empty")
        self._user = user
        self._password = password
        self._file = None if file is None else Path(file)
        self._token: str | None = None
        self._known = False
        self._lock = asyncio.Lock()

    def __bool__(self) -> bool:
        """Whether there is a user to log in."""
        return self._user is not None

    async def token(self, ask: Callable[[dict[str, str]], Awaitable[str | None]]) -> str | None:
        """The token; `ask` exchanges name and password for one, None where the server wants no login."""
        if self._user is None:
            return None
        async with self._lock:
            if not self._known:
                password = self._password
                if self._file is not None:
                    password = await asyncio.to_thread(_read, self._file)
                self._token = await ask({"name": self._user, "password": password or ""})
                self._known = True
            return self._token

    def forget(self, token: str | None) -> None:
        """`token` was refused; a newer one stays."""
        if token == self._token:
            self._known = False

    def reset(self) -> None:
        """Whatever the token is, it was refused."""
        self._known = False


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it holds no text"
        raise BackendError(f"the password file {path} can't be used: {reason}") from exc
