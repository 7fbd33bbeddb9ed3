"""Services whose checks stay critical go."""

import logging

import aiohttp
import pytest

from asyncsd.agent import Agent
from asyncsd.agent._state._definitions import CheckDefinition
from asyncsd.testing import FakeClock
from tests.unit.agent.checks import running


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def ttl(check_id: str = "beat", *, service_id: str = "web1", after: float = 120.0) -> CheckDefinition:
    return CheckDefinition(
        check_id=check_id, name=check_id, service_id=service_id, ttl=10.0, deregister_after=after
    )


async def test_a_service_goes_when_its_check_was_critical_for_too_long(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "asyncsd.agent")
    async with running(clock) as checks:
        checks.runners.start(ttl())
        await clock.advance(10.0 + 120.0)
        assert checks.removed == []
        await clock.advance(30.0)
        assert checks.removed == ["web1"]
    text = "service web1 is deregistered: its check beat was critical for more than 120 s"
    assert text in caplog.messages


async def test_it_is_the_time_since_it_turned_critical_that_counts(clock: FakeClock) -> None:
    async with running(clock) as checks:
        checks.runners.start(ttl())
        for _ in range(10):  # critical again and again, but never for two minutes
            checks.runners.heard("beat", "critical", "")
            await clock.advance(100.0)
            checks.runners.heard("beat", "passing", "")
        assert checks.removed == []


async def test_a_service_that_says_critical_again_goes_all_the_same(clock: FakeClock) -> None:
    async with running(clock) as checks:
        checks.runners.start(ttl())
        for _ in range(20):
            checks.runners.heard("beat", "critical", "still")
            await clock.advance(8.0)
        assert checks.removed[:1] == ["web1"]


async def test_a_warning_is_no_reason(clock: FakeClock) -> None:
    async with running(clock) as checks:
        checks.runners.start(ttl())
        for _ in range(100):
            checks.runners.heard("beat", "warning", "")
            await clock.advance(8.0)
        assert checks.removed == []


async def test_less_than_the_least_is_raised_to_it(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(clock) as checks:
        checks.runners.start(ttl(after=1.0))
        assert caplog.messages == [
            "check beat: deregister_critical_service_after is raised from 1 s to the least, 60 s"
        ]
        await clock.advance(10.0 + 59.0)
        assert checks.removed == []
        await clock.advance(31.0)
        assert checks.removed == ["web1"]


async def test_two_late_checks_remove_their_service_once(clock: FakeClock) -> None:
    async with running(clock) as checks:
        checks.runners.start(ttl("a"))
        checks.runners.start(ttl("b"))
        checks.runners.start(ttl("c", service_id="web2"))
        await clock.advance(150.0)
        assert checks.removed == ["web1", "web2"]


async def test_a_check_of_the_node_removes_nothing(clock: FakeClock) -> None:
    async with running(clock) as checks:
        checks.runners.start(ttl(service_id=""))
        await clock.advance(3600.0)
        assert checks.removed == []


async def test_a_check_that_is_stopped_or_changed_removes_nothing_any_more(clock: FakeClock) -> None:
    async with running(clock) as checks:
        checks.runners.start(ttl("a"))
        checks.runners.start(ttl("b", service_id="web2"))
        await clock.advance(20.0)
        checks.runners.stop("a")
        checks.runners.start(ttl("b", service_id="web2", after=0))
        await clock.advance(3600.0)
        assert checks.removed == []


async def test_a_check_registered_anew_counts_from_then(clock: FakeClock) -> None:
    async with running(clock) as checks:
        checks.runners.start(ttl())
        await clock.advance(125.0)
        checks.runners.start(ttl())
        await clock.advance(125.0)
        assert checks.removed == []
        await clock.advance(40.0)
        assert checks.removed == ["web1"]


async def test_an_agent_removes_the_whole_service_with_all_of_its_checks(clock: FakeClock) -> None:
    service = {
        "Name": "web",
        "Checks": [
            {"CheckID": "late", "TTL": "10s", "DeregisterCriticalServiceAfter": "5s"},
            {"CheckID": "well", "TTL": "24h", "Status": "passing"},
        ],
    }
    async with Agent(clock=clock) as agent, aiohttp.ClientSession(agent.url) as http:
        async with http.put("/v1/agent/service/register", json=service) as answer:
            assert answer.status == 200
        await clock.advance(60.0)
        async with http.get("/v1/agent/checks") as answer:
            checks = await answer.json()
        assert {id: check["Status"] for id, check in checks.items()} == {
            "late": "critical",
            "well": "passing",
        }
        await clock.advance(60.0)
        for path in ("/v1/agent/services", "/v1/agent/checks"):
            async with http.get(path) as answer:
                assert await answer.json() == {}
        async with http.get("/v1/health/service/web") as answer:
            assert await answer.json() == []
