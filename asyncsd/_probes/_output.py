"""What a check says: its result, cut to size, in Consul's words."""

import re
from typing import NamedTuple

from asyncsd._models import Status

__all__ = ["ProbeError", "Result", "Tail", "cut", "quoted", "text_of", "valid"]

SURROGATE = re.compile("[\ud800-\udfff]")


class Result(NamedTuple):
    """How a check went."""

    status: Status
    output: str


class ProbeError(Exception):
    """Why a check fails; its text is what Consul, or the Go library that it uses, says of it."""


class Tail:
    """Keeps the last `size` bytes of what is written to it, as Consul does of an answer's body."""

    __slots__ = ("_kept", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept = b""

    def write(self, data: bytes) -> None:
        self._kept = (self._kept + data)[-self._size :]

    def __str__(self) -> str:
        return text_of(self._kept)


def text_of(data: bytes) -> str:
    """As UTF-8, with a replacement character for each byte that isn't, as Go writes it."""
    return valid(data.decode("utf-8", "surrogateescape"))


def valid(text: str) -> str:
    """With a replacement character for each surrogate: what libraries made of bytes that are no text."""
    return text if text.isascii() else SURROGATE.sub("\ufffd", text)


def cut(output: str, size: int) -> str:
    """The first `size` bytes of what a client said, and how many there were (`CheckTTL.SetStatus`)."""
    # No character takes less than a byte: most outputs needn't be encoded to be counted.
    if len(output) <= size // 4:
        return output
    data = output.encode("utf-8", "surrogatepass")
    if len(data) <= size:
        return output
    return f"{text_of(data[:size])} ... (captured {size} of {len(data)} bytes)"


def quoted(text: str) -> str:
    """In double quotes, as Go's %q."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in escaped) + '"'
