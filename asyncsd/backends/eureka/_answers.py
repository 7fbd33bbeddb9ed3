"""The servers' errors, as asyncsd's."""

import msgspec

from asyncsd._errors import (
    BackendError,
    BadRequestError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
)

__all__ = ["AbsentError", "ForbiddenError", "UnavailableError", "refusal"]

SHOWN = 200
"""How many characters of an answer an error shows."""
CSRF = "Spring Security's CSRF protection is on for /eureka/**, where it has to be off"


class AbsentError(BackendError):
    """404: what was asked for isn't there."""


class ForbiddenError(PermissionDeniedError):
    """403."""


class UnavailableError(BackendError):
    """This server can't serve now, and another may."""


class _Told(msgspec.Struct):
    """What Spring says of an error."""

    error: str = ""
    message: str = ""


def refusal(method: str, status: int, body: bytes, url: str, *, retry_after: float | None) -> BackendError:
    """The error of an answer that isn't 2xx."""
    text = _text(body)
    match status:
        case 400:
            return BadRequestError(text or "the server refuses the values", url=url, status=status)
        case 401:
            told = "Eureka wants a login: user= and password= are missing, or aren't those that it knows"
            # It answers so too when it refuses a correct login for the sake of that protection.
            told = told if method == "GET" else f"{told}; or {CSRF}"
            return PermissionDeniedError(told, url=url, status=status)
        case 403 if method == "GET" and not body:
            # What a server says that has just started, and waits for its peers' lists.
            return UnavailableError("the server doesn't give its list yet", url=url, status=status)
        case 403:
            told = f"{text or 'Forbidden'}: the user lacks the right, or {CSRF}"
            return ForbiddenError(told, url=url, status=status)
        case 404:
            return AbsentError(f"{text or 'Not Found'}: nothing is there", url=url, status=status)
        case 429:
            return RateLimitedError(text or "too many requests", url=url, retry_after=retry_after)
        case _ if status >= 500:
            return UnavailableError(f"{status}: {text}", url=url, status=status)
        case _:
            return ProtocolError(f"{status}: {text}: is it a Eureka server?", url=url, status=status)


def _text(body: bytes) -> str:
    try:
        told = msgspec.json.decode(body, type=_Told)
        text = told.message or told.error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body.decode(errors="replace")
    return " ".join(text.split())[:SHOWN]
