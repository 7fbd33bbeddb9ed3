"""A user of etcd's, and the token that stands for it."""

import asyncio
from collections.abc import Awaitable, Callable
from copy import copy

from asyncsd._errors import BackendError
from asyncsd.backends._shared._credentials import Credentials
from asyncsd.backends._shared._endpoints import Endpoint
from asyncsd.backends._shared._tls import File

__all__ = ["Login"]


class Login:
    """Logs in when a token is wanted, once for all who want one; and so it fails.

    A password file is read at each login, off the loop, so that a changed one is found.
    """

    def __init__(self, user: str | None, password: str | None, file: File | None) -> None:
        self._credentials = Credentials("EtcdBackend", user, password, file)
        self._token: str | None = None
        self._known = False
        self._lock = asyncio.Lock()
        self._failures = 0
        # For each server the number of its last failure, and the failure.
        self._failed: dict[Endpoint, tuple[int, BackendError]] = {}

    def __bool__(self) -> bool:
        """Whether there is a user to log in."""
        return bool(self._credentials)

    async def token(
        self, endpoint: Endpoint, ask: Callable[[dict[str, str]], Awaitable[str | None]]
    ) -> str | None:
        """The token; `ask` exchanges name and password at a server, None where that wants no login.

        Where a login at the same server fails while this one waits for it, its error is this one's too: of
        many who ask a frozen server, none waits longer than the first.
        """
        if not self._credentials:
            return None
        before = self._failures
        async with self._lock:
            if not self._known:
                number, error = self._failed.get(endpoint, (0, None))
                if error is not None and number > before:
                    raise copy(error) from error.__cause__
                await self._log_in(endpoint, ask)
            return self._token

    async def _log_in(
        self, endpoint: Endpoint, ask: Callable[[dict[str, str]], Awaitable[str | None]]
    ) -> None:
        try:
            password = await self._credentials.password()
            self._token = await ask({"name": self._credentials.user or "", "password": password})
        except BackendError as exc:
            self._failures += 1
            self._failed[endpoint] = (self._failures, exc)
            raise
        self._known = True
        self._failed.clear()

    def forget(self, token: str | None) -> None:
        """`token` was refused; a newer one stays."""
        if token == self._token:
            self._known = False

    def reset(self) -> None:
        """Whatever the token is, it was refused."""
        self._known = False
