"""Tools for testing programs that use asyncsd, and backends made for it.

`FakeClock` and `MemoryBackend` need nothing but asyncsd. `AgentThread`, which the pytest fixture
`consul_agent` gives, imports aiohttp when it is first asked for, and `BackendConformance` pytest and
pytest-asyncio.
"""

from typing import TYPE_CHECKING

from asyncsd.backends.memory import MemoryBackend

from ._clock import FakeClock

if TYPE_CHECKING:
    from ._agent_thread import AgentThread
    from ._conformance import BackendConformance

__all__ = ["AgentThread", "BackendConformance", "FakeClock", "MemoryBackend"]


def __getattr__(name: str) -> object:
    if name == "BackendConformance":
        from ._conformance import BackendConformance

        return BackendConformance
    if name == "AgentThread":
        from ._agent_thread import AgentThread

        return AgentThread
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
