"""The one error for all that ails the members of a composite."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from asyncsd._errors import (
    BackendError,
    BadRequestError,
    ClosedError,
    DiscoveryError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    UnreachableError,
    UnsupportedError,
)

__all__ = ["Troubles", "silence"]

KINDS = (
    UnreachableError,
    PermissionDeniedError,
    BadRequestError,
    UnsupportedError,
    RateLimitedError,
    ProtocolError,
    ClosedError,
)


class Troubled(Protocol):
    """A member, and why it, or a part of it, can't be heard or isn't believed."""

    @property
    def name(self) -> str: ...
    @property
    def trouble(self) -> DiscoveryError | None: ...


def silence() -> DiscoveryError:
    """The trouble of a member that has said nothing yet."""
    return UnreachableError("no answer yet")


class Troubles:
    """The one error for all that ails the members; the same object while nothing changes about it."""

    __slots__ = ("_causes", "_error")

    def __init__(self) -> None:
        self._causes: list[tuple[str, DiscoveryError]] = []
        self._error: DiscoveryError | None = None

    def of(self, members: Iterable[Troubled]) -> DiscoveryError | None:
        """None where there is no trouble."""
        causes = [(each.name, each.trouble) for each in members if each.trouble is not None]
        if causes != self._causes:  # Errors are equal when they are the same.
            self._causes = causes
            self._error = _combined(causes) if causes else None
        return self._error


def _combined(causes: Sequence[tuple[str, DiscoveryError]]) -> DiscoveryError:
    """One error that names the members; of their kind if they are all of one, else a BackendError."""
    kinds = {next((kind for kind in KINDS if isinstance(error, kind)), BackendError) for _, error in causes}
    kind = kinds.pop() if len(kinds) == 1 else BackendError
    error = kind("; ".join(f"{name}: {error}" for name, error in causes))
    error.__cause__ = causes[0][1]
    return error
