"""A user of etcd's, and the token that stands for it."""

from collections.abc import Awaitable, Callable

from asyncsd.backends._shared._credentials import Credentials
from asyncsd.backends._shared._endpoints import Endpoint
from asyncsd.backends._shared._single_flight import SingleFlight
from asyncsd.backends._shared._tls import File

__all__ = ["Login"]


class Login:
    """Logs in when a token is wanted, once for all who want one; and so it fails.

    A password file is read at each login, off the loop, so that a changed one is found.
    """

    def __init__(self, user: str | None, password: str | None, file: File | None) -> None:
        self.credentials = Credentials("EtcdBackend", user, password, file)
        self._token: str | None = None
        self._known = False
        self._logins: dict[Endpoint, SingleFlight[str | None]] = {}

    def __bool__(self) -> bool:
        """Whether there is a user to log in."""
        return bool(self.credentials)

    async def token(
        self, endpoint: Endpoint, ask: Callable[[dict[str, str]], Awaitable[str | None]]
    ) -> str | None:
        """The token; `ask` exchanges name and password at a server, None where that wants no login."""

        async def log_in() -> str | None:
            password = await self.credentials.password()
            self._token = await ask({"name": self.credentials.user or "", "password": password})
            self._known = True
            return self._token

        if self._known or not self.credentials:
            return self._token
        return await self._logins.setdefault(endpoint, SingleFlight()).do(log_in)

    def forget(self, token: str | None) -> None:
        """`token` was refused; a newer one stays."""
        if token == self._token:
            self._known = False

    def reset(self) -> None:
        """Whatever the token is, it was refused."""
        self._known = False
