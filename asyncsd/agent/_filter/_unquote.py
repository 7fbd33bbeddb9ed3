"""Quoted text as Go writes it."""

import re

__all__ = ["unquote"]

SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}
ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\\"])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|)", re.DOTALL
)


def unquote(text: str) -> str:
    """What stands between the quotes, with its escapes resolved. ValueError for an escape that isn't one."""
    inside = text[1:-1]
    if text[0] == "`":
        return inside.replace("\r", "")
    if "\n" in inside:
        raise ValueError("a newline between quotes")
    return ESCAPE.sub(_resolved, inside) if "\\" in inside else inside


def _resolved(found: re.Match[str]) -> str:
    simple, byte, short, long, octal = found.groups()
    if simple:
        return SIMPLE[simple]
    digits = byte or short or long
    code = int(digits, 16) if digits else int(octal, 8) if octal else -1
    if code < 0 or code > 0x10FFFF or 0xD800 <= code < 0xE000 or (octal and code > 0xFF):
        raise ValueError(f"no such escape: {found[0]}")
    return chr(code)
