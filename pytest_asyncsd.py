"""The pytest plugin: the fixture `consul_agent`.

It stands beside asyncsd and not in it, since pytest imports it at its start, whether a test asks for the
fixture or not: so that costs nothing.
"""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncsd.testing import AgentThread

__all__ = ["consul_agent"]


@pytest.fixture
def consul_agent() -> "Iterator[AgentThread]":
    """A registry that speaks Consul's HTTP API at `consul_agent.url`, new and empty for each test.

    It runs in a thread of its own, so it serves tests of every kind, with a loop or without, and one that is
    blocked. It fails, hangs and forgets on demand: see `asyncsd.testing.AgentThread`.
    """
    from asyncsd.testing import AgentThread

    with AgentThread() as agent:
        yield agent
