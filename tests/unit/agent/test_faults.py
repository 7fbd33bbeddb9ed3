"""What a test's author sets on an agent, and what its clients then see."""

import asyncio

import aiohttp
import pytest

from asyncsd.agent import Agent
from asyncsd.testing import FakeClock

from .waiting import until

LEADER, SERVICES = "/v1/status/leader", "/v1/catalog/services"


async def get(agent: Agent, path: str = LEADER) -> tuple[int, str]:
    async with aiohttp.request("GET", agent.url + path) as answer:
        return answer.status, await answer.text()


async def until_seen(agent: Agent, count: int) -> None:
    await until(lambda: agent.requests >= count)


async def test_a_failure_lasts_until_it_is_healed() -> None:
    async with Agent() as agent:
        agent.fail(503, text="no leader")
        assert await get(agent) == (503, "no leader")
        agent.heal()
        assert (await get(agent))[0] == 200


async def test_a_failure_says_by_itself_where_it_comes_from() -> None:
    async with Agent() as agent:
        agent.fail()
        assert await get(agent) == (500, "the agent was told to fail with 500")


async def test_a_failure_lasts_as_long_as_its_block() -> None:
    async with Agent() as agent:
        with agent.fail(429) as fault:
            assert "429" in repr(fault)
            assert (await get(agent))[0] == 429
        assert (await get(agent))[0] == 200
        fault.heal()


async def test_a_failure_may_concern_only_some_paths() -> None:
    async with Agent() as agent:
        with agent.fail(path="/v1/catalog/"):
            assert (await get(agent, SERVICES))[0] == 500
            assert (await get(agent))[0] == 200


async def test_the_failure_that_was_set_last_is_the_one_that_is_answered() -> None:
    async with Agent() as agent:
        with agent.fail(500):
            with agent.fail(503):
                assert (await get(agent))[0] == 503
            assert (await get(agent))[0] == 500


async def test_a_failure_answers_the_queries_that_wait() -> None:
    async with Agent() as agent:
        waiting = asyncio.create_task(get(agent, SERVICES + "?index=1000&wait=60s"))
        elsewhere = asyncio.create_task(get(agent, "/v1/health/service/web?index=1000&wait=60s"))
        await until_seen(agent, 2)
        with agent.fail(path="/v1/catalog/"):
            async with asyncio.timeout(10):
                assert (await waiting)[0] == 500
        assert not elsewhere.done()
        elsewhere.cancel()


async def test_a_query_that_waits_is_told_though_the_failure_ends_at_once() -> None:
    async with Agent() as agent:
        waiting = asyncio.create_task(get(agent, SERVICES + "?index=1000&wait=60s"))
        await until_seen(agent, 1)
        with agent.fail(502):
            pass
        async with asyncio.timeout(10):
            assert (await waiting)[0] == 502


async def test_delays_add_up_and_come_before_a_failure() -> None:
    clock = FakeClock()
    async with Agent(clock=clock) as agent:
        agent.fail(503)
        agent.delay(2.0)
        agent.delay(1.0, path="/v1/status/")
        late = asyncio.create_task(get(agent))
        await until_seen(agent, 1)
        await clock.advance(2.9)
        assert not late.done()
        await clock.advance(0.2)
        assert (await late)[0] == 503


async def test_healing_ends_a_delay_at_once() -> None:
    clock = FakeClock()
    async with Agent(clock=clock) as agent:
        with agent.delay(60.0):
            late = asyncio.create_task(get(agent))
            await until_seen(agent, 1)
            assert not late.done()
        async with asyncio.timeout(10):
            assert (await late)[0] == 200


async def test_a_hang_holds_requests_until_it_is_healed() -> None:
    async with Agent() as agent:
        with agent.hang(path="/v1/status/"):
            held = asyncio.create_task(get(agent))
            await until_seen(agent, 1)
            assert (await get(agent, SERVICES))[0] == 200
            assert not held.done()
        async with asyncio.timeout(10):
            assert (await held)[0] == 200


async def test_a_hang_holds_the_answers_of_those_who_wait() -> None:
    async with Agent() as agent:
        waiting = asyncio.create_task(get(agent, SERVICES + "?index=1000&wait=60s"))
        await until_seen(agent, 1)
        with agent.hang(path=SERVICES):
            agent.reset_index()
            assert (await get(agent))[0] == 200  # The answer that is held would have come before this.
            assert not waiting.done()
        async with asyncio.timeout(10):
            assert (await waiting)[0] == 200


async def test_a_failure_behind_a_hang_is_answered_when_the_hang_ends() -> None:
    async with Agent() as agent:
        hang = agent.hang()
        agent.fail(500)
        held = asyncio.create_task(get(agent))
        await until_seen(agent, 1)
        hang.heal()
        async with asyncio.timeout(10):
            assert (await held)[0] == 500


async def test_clients_that_go_while_they_are_held_leave_nothing() -> None:
    async with Agent() as agent:
        agent.hang()
        held = [asyncio.create_task(get(agent)) for _ in range(20)]
        await until_seen(agent, 20)
        for task in held:
            task.cancel()
        await asyncio.wait(held)
        await until(lambda: "0 connections" in repr(agent._server))
        agent.heal()
        assert (await get(agent))[0] == 200


async def test_faults_outlast_a_restart_and_spare_the_page() -> None:
    async with Agent() as agent:
        agent.fail(503)
        await agent.restart()
        assert (await get(agent))[0] == 503
        assert (await get(agent, "/ui/"))[0] != 503


@pytest.mark.parametrize("status", [0, 200, 302, 600])
def test_a_failure_is_an_errors_status(status: int) -> None:
    with pytest.raises(ValueError, match=f"status {status}"):
        Agent().fail(status)


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
def test_a_delay_is_a_time(seconds: float) -> None:
    with pytest.raises(ValueError, match="delay"):
        Agent().delay(seconds)
