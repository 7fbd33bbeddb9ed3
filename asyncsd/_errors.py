"""The errors of asyncsd.

    DiscoveryError
    ├── BackendError                 the registry answered with an error (`url`, `status`)
    │   ├── UnreachableError         no answer: refused, cut, timed out
    │   ├── RateLimitedError         429; `retry_after` seconds when the registry says so
    │   ├── ProtocolError            an answer of another shape: HTML, truncated JSON
    │   ├── NotRegisteredError       the registry doesn't know this registration (any more)
    │   ├── PermissionDeniedError    401, 403                             permanent
    │   ├── BadRequestError          400: the registry refuses the values  permanent
    │   └── UnsupportedError         this registry can't do that           permanent
    ├── NoInstances                  nothing to pick from; the text says why
    ├── RetriesExhausted             every attempt of a call failed; `errors`, in order
    └── ClosedError                  used after it was closed

A bad value given to a constructor is a plain ValueError or TypeError that names the field.
"""

from collections.abc import Sequence
from typing import ClassVar

__all__ = [
    "BackendError",
    "BadRequestError",
    "ClosedError",
    "DiscoveryError",
    "NoInstances",
    "NotRegisteredError",
    "PermissionDeniedError",
    "ProtocolError",
    "RateLimitedError",
    "RetriesExhausted",
    "UnreachableError",
    "UnsupportedError",
]


class DiscoveryError(Exception):
    """The root of every error that asyncsd raises for what happens at run time."""

    permanent: ClassVar[bool] = False
    """Whether trying the same again can't help."""


class BackendError(DiscoveryError):
    """The registry answered with an error.

    `url` is the request's, without secrets; `status` the HTTP status, where there was one.
    """

    def __init__(self, message: str, *, url: str | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.url = url
        self.status = status

    def __str__(self) -> str:
        message = super().__str__()
        return message if self.url is None else f"{message} ({self.url})"


class UnreachableError(BackendError):
    """The registry did not answer: connection refused, cut, or past its deadline."""


class RateLimitedError(BackendError):
    """The registry asks for fewer requests; `retry_after` is in seconds, None where it doesn't say."""

    def __init__(
        self,
        message: str,
        *,
        url: str | None = None,
        status: int | None = 429,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, url=url, status=status)
        self.retry_after = retry_after


class ProtocolError(BackendError):
    """The answer isn't what this registry's protocol says: another shape, HTML, cut short."""


class NotRegisteredError(BackendError):
    """The registry doesn't know this registration; it has to be made again."""


class PermissionDeniedError(BackendError):
    """The token or the user lacks the right to do this."""

    permanent = True


class BadRequestError(BackendError):
    """The registry refuses the values of this request."""

    permanent = True


class UnsupportedError(BackendError):
    """This registry has no means for what was asked; the text names what would do."""

    permanent = True


class NoInstances(DiscoveryError):
    """There is no instance to pick; the text says why (never heard, empty, all critical, registry down)."""

    def __init__(self, service: str, reason: str) -> None:
        super().__init__(f"no instance of {service!r}: {reason}")
        self.service = service
        self.reason = reason

    def __reduce__(self) -> tuple[type["NoInstances"], tuple[str, str]]:
        return (type(self), (self.service, self.reason))


class RetriesExhausted(DiscoveryError):
    """Every attempt of a call failed; `errors` holds what each of them raised, in order."""

    def __init__(self, service: str, errors: Sequence[Exception]) -> None:
        attempts = "1 attempt" if len(errors) == 1 else f"{len(errors)} attempts"
        told = "; ".join(f"{number}. {error!r}" for number, error in enumerate(errors, 1))
        super().__init__(f"{attempts} to call {service!r} failed: {told}")
        self.service = service
        self.errors: tuple[Exception, ...] = tuple(errors)

    def __reduce__(self) -> tuple[type["RetriesExhausted"], tuple[str, tuple[Exception, ...]]]:
        return (type(self), (self.service, self.errors))


class ClosedError(DiscoveryError):
    """The object was closed, or never opened."""
