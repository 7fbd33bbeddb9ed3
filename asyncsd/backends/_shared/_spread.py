"""Waits that began together, and mustn't end together."""

__all__ = ["FEW", "Spread"]

FEW = 8
"""So many waits at a time may end together."""
PART = 0.25
"""The part of its seconds that a wait which is one of many may be shorter by."""
GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it, modulo 1, are spread evenly, however many they are (Weyl's sequence)."""


class Spread:
    """Shortens waits, each by another part, so that what is read at their ends isn't read all at once."""

    def __init__(self) -> None:
        self._begun = 0

    def shortened(self, seconds: float) -> float:
        """`seconds` less up to a quarter."""
        self._begun += 1
        return seconds * (1.0 - PART * (self._begun * GOLDEN % 1))
