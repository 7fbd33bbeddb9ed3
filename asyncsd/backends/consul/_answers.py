"""An agent's answer, and which of our errors its status stands for."""

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from asyncsd._errors import (
    BackendError,
    BadRequestError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
)

__all__ = [
    "Answer",
    "checked",
    "is_filtered",
    "is_unknown",
    "known_leader",
    "last_contact",
    "parse_index",
    "shape_error",
]

SHOWN = 200
"""How many characters of an error's text are shown."""


class Answer(NamedTuple):
    """What an agent answered, of whatever status; `headers` as HTTP libraries give them.

    `url` is the request's without secrets, for errors.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str | None = None

    def text(self) -> str:
        """The body as an error may show it: one line, cut."""
        text = " ".join(self.body[: 4 * SHOWN].decode(errors="replace").split())
        return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def checked(answer: Answer) -> Answer:
    """`answer` if it is a 2xx, or a 404, which only the asker can read; else the error it stands for."""
    status = answer.status
    if 200 <= status < 300 or status == 404:
        return answer
    text = f"{status}: {answer.text() or 'no text'}"
    if 300 <= status < 400:
        text += f": it points to {_header(answer, 'Location') or 'nowhere'}"
    match status:
        case 400:
            raise BadRequestError(text, url=answer.url, status=status)
        case 401 | 403:
            raise PermissionDeniedError(text, url=answer.url, status=status)
        case 429:
            raise RateLimitedError(text, url=answer.url, status=status, retry_after=_retry_after(answer))
        case 500 if b"boolean expression" in answer.body:
            # A filter that doesn't parse is a 500 to Consul, but trying again won't help.
            raise BadRequestError(text, url=answer.url, status=status)
        case _:
            raise BackendError(text, url=answer.url, status=status)


def is_unknown(answer: Answer) -> bool:
    """Whether it says that there is no such check or service: a 404, before Consul 1.11 a 500."""
    return answer.status == 404 or (
        answer.status == 500
        and answer.body.lower().startswith((b"unknown check", b"unknown service", b"checkid"))
    )


def parse_index(answer: Answer) -> int | None:
    """X-Consul-Index, None where it is missing, not a number or below 1: those are no place to wait from."""
    text = _header(answer, "X-Consul-Index")
    index = int(text) if text.isascii() and text.isdecimal() and len(text) <= 20 else 0
    return index or None


def known_leader(answer: Answer) -> bool:
    """Whether the registry itself trusts the answer."""
    # The streaming backend, which answers blocking health queries since Consul 1.10, always says "false".
    if _header(answer, "X-Consul-Query-Backend") == "streaming":
        return True
    return _header(answer, "X-Consul-KnownLeader") != "false"


def is_filtered(answer: Answer) -> bool:
    """Whether the agent left out what the token may not read (since Consul 1.11)."""
    return _header(answer, "X-Consul-Results-Filtered-By-ACLs") == "true"


def last_contact(answer: Answer) -> float:
    """How long ago, in seconds, the server that answered heard of the leader."""
    text = _header(answer, "X-Consul-LastContact")
    return int(text) / 1000 if text.isascii() and text.isdecimal() else 0.0


def shape_error(answer: Answer, wanted: str, cause: Exception | None = None) -> ProtocolError:
    """What to raise for a body that isn't `wanted`."""
    start = answer.body[:SHOWN].lstrip()
    if start.startswith(b"<"):
        found = "it is HTML, from another server or a proxy"
    elif not start:
        found = "it is empty"
    else:
        found = f"it is {answer.text()!r}" if cause is None else f"{cause}"
    return ProtocolError(f"the answer should be {wanted}: {found}", url=answer.url, status=answer.status)


def _header(answer: Answer, name: str) -> str:
    """A header by its documented name, or as Go writes that: X-Consul-Knownleader."""
    return answer.headers.get(name) or answer.headers.get(name.title()) or ""


def _retry_after(answer: Answer) -> float | None:
    """Seconds, from either form of the header (RFC 9110, 10.2.3); a date counts from the answer's own."""
    value = _header(answer, "Retry-After").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            until, now = (parsedate_to_datetime(text) for text in (value, _header(answer, "Date")))
            seconds = (until - now).total_seconds()
        except (TypeError, ValueError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
