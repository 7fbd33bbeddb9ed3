"""One life of an agent: what it says of itself stays true."""

import random

import pytest

from asyncsd.agent._config import AgentConfig
from asyncsd.agent._registry import Registry
from asyncsd.agent._state._structs import Service
from asyncsd.testing import FakeClock


@pytest.mark.parametrize("removed", [{}, {"service_id": "consul"}, {"check_id": "serfHealth"}])
async def test_the_agents_own_entry_comes_back_at_the_next_sync(removed: dict[str, str]) -> None:
    clock = FakeClock()
    registry = Registry(AgentConfig(), port=8500, clock=clock, rng=random.Random(1))
    try:
        registry.local.add_service(Service(id="web", service="web"))
        before = registry.catalog.node("asyncsd").value
        registry.catalog.deregister("asyncsd", **removed)
        await clock.advance(AgentConfig().sync_interval)
        found = registry.catalog.node("asyncsd").value
        assert before is not None
        assert found is not None
        assert [service.id for service in found[1]] == [service.id for service in before[1]]
        checks = registry.catalog.checks_of_node("asyncsd").value
        assert [(check.check_id, check.status) for check in checks] == [("serfHealth", "passing")]
        index = registry.catalog.index
        await clock.advance(AgentConfig().sync_interval)
        assert registry.catalog.index == index  # nothing to mend, nothing written
    finally:
        await registry.aclose()
