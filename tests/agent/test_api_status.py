"""/v1/status on both servers."""

import pytest

from tests.agent.parity import Both

pytestmark = pytest.mark.server("consul")


@pytest.mark.parametrize("path", ["/v1/status/leader", "/v1/status/peers"])
async def test_this_agent_leads(both: Both, path: str) -> None:
    await both.get(path)
