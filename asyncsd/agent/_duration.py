"""Durations as Go writes them."""

import re

__all__ = ["seconds"]

UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
PART = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)"
DURATION = re.compile(rf"[+-]?(?:0|(?:{PART})+)", re.ASCII)
LONGEST = 2**63 / 1e9
"""Go counts nanoseconds in 64 bits: 292 years."""


def seconds(text: str) -> float:
    """The seconds of a duration: "1m30s", "100ms". ValueError, in Go's words, for anything else."""
    if not DURATION.fullmatch(text):
        raise ValueError(f'time: invalid duration "{text}"')
    total = sum(float(number) * UNITS[unit] for number, unit in re.findall(PART, text))
    if total >= LONGEST:
        raise ValueError(f'time: invalid duration "{text}"')
    return -total if text.startswith("-") else total
