"""The instances of a service are replaced one after the other while they are called."""

import asyncio
from contextlib import AsyncExitStack

import aiohttp
import pytest

from asyncsd import Discovery, PeakEWMA, Policy, Registration, Retry, RoundRobin, TTLCheck
from asyncsd.backends.consul import ConsulBackend
from tests.e2e.support import calling, eventually, fresh, greeter, watching
from tests.support.consul import AgentProcess, ClientKind

pytestmark = pytest.mark.server("consul")

INSTANCES = 3


async def enter_instance(stack: AsyncExitStack, sd: Discovery[ConsulBackend], *, drain: float) -> int:
    """A server that is registered while the stack stands; it deregisters before it ends."""
    server = await stack.enter_async_context(greeter())
    assert server.port is not None
    me = Registration(service="users", host="127.0.0.1", port=server.port, check=TTLCheck())
    await stack.enter_async_context(sd.register(me, required=True, drain=drain))
    return server.port


@pytest.mark.parametrize("policy", [RoundRobin(), PeakEWMA()], ids=repr)
async def test_instances_that_drain_before_they_end_cost_no_call(
    agent: AgentProcess, client: ClientKind, policy: Policy
) -> None:
    async with Discovery(ConsulBackend(agent.url, client=client)) as sd, watching(sd, "users") as seen:
        stacks = [AsyncExitStack() for _ in range(INSTANCES)]
        first = {await enter_instance(stack, sd, drain=1.5) for stack in stacks}
        await seen.until(fresh(INSTANCES))
        async with calling(sd.balancer("users", policy), workers=4) as calls:
            for stack in list(stacks):
                stacks.append(AsyncExitStack())
                new = await enter_instance(stacks[-1], sd, drain=1.5)
                await eventually(lambda: calls.answered[new] >= 1)  # noqa: B023 - awaited in this round
                await stack.aclose()
            second = set(calls.answered) - first
            calls.answered.clear()
            await eventually(lambda: calls.answered.total() >= 60)
            assert set(calls.answered) <= second
            if policy == RoundRobin():  # PeakEWMA may find one of them the fastest for so long.
                assert set(calls.answered) == second
            assert len(second) == INSTANCES
            counts = seen.counts
            assert set(counts[counts.index(INSTANCES) :]) == {INSTANCES, INSTANCES + 1}
        await asyncio.gather(*(stack.aclose() for stack in stacks))
        assert not calls.failed


@pytest.mark.parametrize("policy", [RoundRobin(), PeakEWMA()], ids=repr)
async def test_instances_that_die_without_a_word_cost_a_retry_and_no_call(
    agent: AgentProcess, client: ClientKind, policy: Policy
) -> None:
    retried: list[Exception] = []
    retry = Retry(
        attempts=3,
        on=(aiohttp.ClientError,),
        callback=lambda _, errors: retried.append(errors[-1]) is None,
    )
    async with Discovery(ConsulBackend(agent.url, client=client)) as sd, watching(sd, "users") as seen:
        async with AsyncExitStack() as registered:
            dead = await registered.enter_async_context(greeter())
            alive = [await enter_instance(registered, sd, drain=0.0) for _ in range(INSTANCES)]
            me = Registration(service="users", host="127.0.0.1", port=dead.port or 0, check=TTLCheck())
            await registered.enter_async_context(sd.register(me))
            await seen.until(fresh(INSTANCES + 1))
            async with calling(sd.balancer("users", policy), workers=4, retry=retry) as calls:
                await eventually(lambda: calls.answered[me.port] >= 1)
                await dead.close()  # It stays registered, and its heartbeats go on.
                calls.answered.clear()
                await eventually(lambda: retried)
                await eventually(lambda: calls.answered.total() >= 200)
            assert not calls.failed
            assert set(calls.answered) <= set(alive)
            if policy == PeakEWMA():
                assert len(retried) < calls.answered.total() / 10, "it avoids what fails"
