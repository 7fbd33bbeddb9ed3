"""Calls of a client, which may be the user's own."""

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

import aiohttp

from asyncsd._errors import BackendError, UnreachableError
from asyncsd.backends._shared._lifetime import Lifetime

__all__ = ["Calls"]

P = ParamSpec("P")
T = TypeVar("T")


class Calls(Lifetime):
    """Whether the backend is open, and its calls in flight."""

    async def ask(self, ask: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """`await ask(…)`, which ends with ClosedError when the backend is closed meanwhile."""
        async with self.call():
            try:
                return await ask(*args, **kwargs)
            except BackendError:
                raise
            except (OSError, aiohttp.ClientError) as exc:
                # A client of the user's own let it through. asyncio's TimeoutError is an OSError.
                raise UnreachableError(f"{type(exc).__name__}: {exc}") from exc
