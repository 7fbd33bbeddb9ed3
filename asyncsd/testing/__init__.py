"""Tools for testing programs that use asyncsd, and backends made for it."""

from asyncsd.backends.memory import MemoryBackend

from ._clock import FakeClock

__all__ = ["FakeClock", "MemoryBackend"]
