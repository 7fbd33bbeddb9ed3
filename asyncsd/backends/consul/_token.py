"""The ACL token: a string, a file that may change, or a callable."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from os import PathLike
from pathlib import Path
from typing import Protocol, TypeAlias

from asyncsd._errors import BackendError
from asyncsd._protocols import Clock

__all__ = ["Token", "TokenSource", "token_source"]

log = logging.getLogger("asyncsd.consul")

Token: TypeAlias = str | Callable[[], str | Awaitable[str]] | None

LOOK = 1.0
"""How often at most, in seconds, a token file is looked at."""


class TokenSource(Protocol):
    """Where the token of each request comes from."""

    async def get(self) -> str | None: ...

    async def another(self, refused: str | None) -> str | None:
        """The token that has taken the place of the `refused` one; None where there is no other."""
        ...


def token_source(token: Token, file: str | PathLike[str] | None, clock: Clock) -> TokenSource:
    """The source that `token` or `file` stands for; refuses both together, and what is no token."""
    if file is not None:
        if token is not None:
            raise ValueError("ConsulBackend takes token= or token_file=, not both")
        return FileToken(Path(file), clock)
    if callable(token):
        return CalledToken(token)
    if token is not None and not isinstance(token, str):
        raise TypeError("ConsulBackend.token is a string, or a callable that gives one")
    return FixedToken(None if token is None else _checked(token))


def _checked(token: object) -> str:
    if not isinstance(token, str):
        raise ValueError(f"ConsulBackend.token is a string, and not {type(token).__name__}")
    if not token or not token.isascii() or not token.isprintable() or token != token.strip():
        raise ValueError("ConsulBackend.token is printable ASCII without spaces around it, and not empty")
    return token


class FixedToken:
    """The same one always, or none."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    async def get(self) -> str | None:
        return self._token

    async def another(self, refused: str | None) -> str | None:
        return None


class CalledToken:
    """What a callable of the user's gives, sync or async, asked before each request."""

    def __init__(self, call: Callable[[], str | Awaitable[str]]) -> None:
        self._call = call

    async def get(self) -> str | None:
        try:
            token = self._call()
            if inspect.isawaitable(token):
                token = await token
        except Exception as exc:
            # Its text may hold the secret; the traceback is there for who may see it.
            raise BackendError(f"the token callable failed: {type(exc).__name__}") from exc
        try:
            return _checked(token)
        except ValueError as exc:
            raise BackendError(f"what the token callable gave is no token: {exc}") from None

    async def another(self, refused: str | None) -> str | None:
        token = await self.get()
        return None if token == refused else token


class FileToken:
    """What a file holds, read again when it changes, off the loop."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._token: str | None = None
        self._seen: tuple[int, int] | None = None
        self._looks: int = 0
        self._look_at: float = float("-inf")
        self._failing = False
        self._lock = asyncio.Lock()

    async def get(self) -> str | None:
        if self._token is None or self._clock.time() >= self._look_at:
            await self._look()
        return self._token

    async def another(self, refused: str | None) -> str | None:
        if self._token == refused:
            await self._look()
        return None if self._token == refused else self._token

    async def _look(self) -> None:
        """Look at the file; one look serves all who wait for it."""
        looks = self._looks
        async with self._lock:
            if self._looks != looks:
                return
            try:
                self._seen, self._token = await asyncio.to_thread(self._read, self._seen, self._token)
            except (OSError, ValueError) as exc:
                if self._token is None:
                    raise BackendError(f"the token file {self._path} can't be used: {_reason(exc)}") from exc
                if not self._failing:
                    log.warning("token file %s: %s; the token read before stays", self._path, _reason(exc))
                self._failing = True
            else:
                self._failing = False
            self._looks += 1
            self._look_at = self._clock.time() + LOOK

    def _read(
        self, seen: tuple[int, int] | None, token: str | None
    ) -> tuple[tuple[int, int] | None, str | None]:
        stat = self._path.stat()
        now = (stat.st_mtime_ns, stat.st_ino)
        return (seen, token) if now == seen else (now, _checked(self._path.read_text("ascii").strip()))


def _reason(exc: Exception) -> str:
    return exc.strerror or type(exc).__name__ if isinstance(exc, OSError) else "it holds no token"
