"""What happened, for people: both displays read it."""

import time
from typing import Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["phase", "done", "event", "trouble"]


class Entry(NamedTuple):
    at: float
    """Seconds since the start."""
    kind: Kind
    text: str


class Journal:
    def __init__(self) -> None:
        self._began = time.monotonic()
        self.entries: list[Entry] = []

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def _add(self, kind: Kind, text: str) -> None:
        self.entries.append(Entry(self.now, kind, text))

    def phase(self, text: str) -> None:
        """A phase begins."""
        self._add("phase", text)

    def done(self, text: str) -> None:
        """A phase has held what it claimed."""
        self._add("done", text)

    def event(self, text: str) -> None:
        self._add("event", text)

    def trouble(self, text: str) -> None:
        """Something that shouldn't have happened."""
        self._add("trouble", text)
