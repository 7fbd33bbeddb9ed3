"""A registry inside the program: for parts of it that find each other, and for tests."""

from ._backend import MemoryBackend
from ._registry import MemoryRegistry

__all__ = ["MemoryBackend", "MemoryRegistry", "from_url"]


def from_url(url: str) -> MemoryBackend:
    """The backend of `memory://`: a new, empty registry."""
    if url != "memory://":
        raise ValueError(
            f"a registry in memory is memory://, without a host or parameters; got {url!r}: to share one, "
            "give a MemoryRegistry to each MemoryBackend"
        )
    return MemoryBackend()
