"""A user of etcd's, and the token that stands for it."""

import asyncio
from collections.abc import Awaitable, Callable

from asyncsd.backends._shared._credentials import Credentials
from asyncsd.backends._shared._tls import File

__all__ = ["Login"]


class Login:
    """Logs in when a token is wanted, once for all who want one.

    A password file is read at each login, off the loop, so that a changed one is found.
    """

    def __init__(self, user: str | None, password: str | None, file: File | None) -> None:
        self.credentials = Credentials("EtcdBackend", user, password, file)
        self._token: str | None = None
        self._known = False
        self._lock = asyncio.Lock()

    def __bool__(self) -> bool:
        """Whether there is a user to log in."""
        return bool(self.credentials)

    async def token(self, ask: Callable[[dict[str, str]], Awaitable[str | None]]) -> str | None:
        """The token; `ask` exchanges name and password for one, None where the server wants no login."""
        if not self.credentials:
            return None
        async with self._lock:
            if not self._known:
                password = await self.credentials.password()
                self._token = await ask({"name": self.credentials.user or "", "password": password})
                self._known = True
            return self._token

    def forget(self, token: str | None) -> None:
        """`token` was refused; a newer one stays."""
        if token == self._token:
            self._known = False

    def reset(self) -> None:
        """Whatever the token is, it was refused."""
        self._known = False
