"""Tools for testing programs that use asyncsd, and backends made for it.

`FakeClock` and `MemoryBackend` need nothing but asyncsd. `BackendConformance` needs pytest and
pytest-asyncio, and imports them when it is first asked for.
"""

from typing import TYPE_CHECKING

from asyncsd.backends.memory import MemoryBackend

from ._clock import FakeClock

if TYPE_CHECKING:
    from ._conformance import BackendConformance

__all__ = ["BackendConformance", "FakeClock", "MemoryBackend"]


def __getattr__(name: str) -> object:
    if name == "BackendConformance":
        from ._conformance import BackendConformance

        return BackendConformance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
