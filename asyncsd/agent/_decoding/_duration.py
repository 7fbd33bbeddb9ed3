"""Durations as Go writes them."""

import re

__all__ = ["seconds", "written"]

UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
PART = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)"
DURATION = re.compile(rf"[+-]?(?:0|(?:{PART})+)", re.ASCII)
LONGEST = 2**63 / 1e9
"""Go counts nanoseconds in 64 bits: 292 years."""


def seconds(text: str) -> float:
    """The seconds of a duration: "1m30s", "100ms". ValueError, in Go's words, for anything else."""
    if not DURATION.fullmatch(text):
        raise ValueError(_why_not(text))
    total = sum(float(number) * UNITS[unit] for number, unit in re.findall(PART, text))
    if total >= LONGEST:
        raise ValueError(f'time: invalid duration "{text}"')
    return -total if text.startswith("-") else total


def written(seconds: float) -> str:
    """A duration as Go writes it: "1h30m0s", "1.5s", "100ms", "0s"."""
    nanoseconds = round(seconds * 1e9)
    sign, nanoseconds = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if not nanoseconds:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 10**3), ("ms", 10**6)):
        if nanoseconds < size * 1000:
            return f"{sign}{_decimal(nanoseconds, size)}{unit}"
    minutes, rest = divmod(nanoseconds, 60 * 10**9)
    text = f"{_decimal(rest, 10**9)}s"
    if minutes:
        hours, minutes = divmod(minutes, 60)
        text = f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}"
    return sign + text


def _decimal(count: int, size: int) -> str:
    whole, rest = divmod(count, size)
    return f"{whole}.{str(rest + size)[1:].rstrip('0')}" if rest else str(whole)


def _why_not(text: str) -> str:
    """What is wrong with a duration: Go looks at one number with its unit after the other."""
    rest = text.lstrip("+-") if text[:1] in ("+", "-") else text
    while rest:
        number = re.match(r"\d+(?:\.\d*)?|\.\d+", rest, re.ASCII)
        if number is None:
            break
        rest = rest[number.end() :]
        unit = re.match(r"[^0-9.]+", rest)
        if unit is None:
            return f'time: missing unit in duration "{text}"'
        if unit[0] not in UNITS:
            return f'time: unknown unit "{unit[0]}" in duration "{text}"'
        rest = rest[unit.end() :]
    return f'time: invalid duration "{text}"'
