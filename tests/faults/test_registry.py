"""A watch on a Consul agent that misbehaves, over real sockets and by both clients."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal, TypeAlias

import pytest

from asyncsd import (
    BackendError,
    Backoff,
    Event,
    Limits,
    ProtocolError,
    RateLimitedError,
    UnreachableError,
    Watcher,
)
from asyncsd.backends.consul import ConsulBackend
from tests.faults.registry import ERRORS, HANGING, RESETS, TOLERATED, Mode, Registry, registry
from tests.support.hurried import hurried

Client: TypeAlias = Literal["aio", "direct"]
CLIENTS: tuple[Client, ...] = ("aio", "direct")
SOON = 20.0
"""A deadline for what takes milliseconds."""
FAST = {
    "backoff": Backoff(initial=0.05, maximum=0.1),
    "limits": Limits(least_interval=0.02, most_interval=0.1),
}

by_both_clients = pytest.mark.parametrize("client", CLIENTS)


class Watch:
    def __init__(self, watcher: Watcher, queue: asyncio.Queue[Event]) -> None:
        self.watcher = watcher
        self.queue = queue

    async def event(self) -> Event:
        async with asyncio.timeout(SOON):
            return await self.queue.get()


@asynccontextmanager
async def watching(agent: Registry, client: Client, **options: Any) -> AsyncGenerator[Watch, None]:
    """A watch that has to close at once, whatever the agent does."""
    clock = options.get("clock")
    async with ConsulBackend(
        agent.url, client=client, wait=55.0 if clock is None else 1.0, clock=clock
    ) as backend:
        watch = Watch(Watcher(backend, "users", **options), asyncio.Queue(100))
        task = asyncio.create_task(watch.watcher.run(watch.queue))
        try:
            yield watch
        finally:
            began = time.monotonic()
            task.cancel()
            await asyncio.wait([task])
    assert time.monotonic() - began < SOON, "it should have closed at once"


def ids(event: Event) -> str:
    return "".join(each.id for each in event.snapshot or ())


KINDS = {"429": RateLimitedError, "429 with Retry-After": RateLimitedError, "500": BackendError}
KINDS |= dict.fromkeys(["connection closed", "connection closed in the body", *HANGING], UnreachableError)


async def outage(agent: Registry, watch: Watch, mode: Mode, kind: type[Exception]) -> None:
    """The last good list serves on, one Event says the error, and the watch recovers by itself."""
    first = await watch.event()
    assert (first.reason, ids(first)) == ("changed", "ab")
    agent.misbehave(mode)
    failed = await watch.event()
    assert (failed.reason, failed.stale, ids(failed)) == ("error", True, "ab")
    assert type(failed.error) is kind
    assert agent.url in str(failed.error)
    assert watch.watcher.health().state == "failing"
    agent.set("a", "b", "c")
    agent.misbehave(None)
    recovered = await watch.event()
    assert (recovered.reason, recovered.stale, recovered.error) == ("recovered", False, None)
    assert ids(recovered) == "abc"
    assert [each.id for each in recovered.added] == ["c"]
    assert watch.queue.empty()


@by_both_clients
@pytest.mark.parametrize("fault", ERRORS)
async def test_the_last_good_list_serves_on_through_an_error_and_the_watch_recovers(
    client: Client, fault: str
) -> None:
    async with registry() as agent, watching(agent, client, **FAST) as watch:
        await outage(agent, watch, ERRORS[fault], KINDS.get(fault, ProtocolError))


@by_both_clients
@pytest.mark.parametrize("fault", HANGING)
async def test_the_last_good_list_serves_on_while_the_agent_hangs(client: Client, fault: str) -> None:
    async with registry() as agent, hurried() as clock, watching(agent, client, clock=clock) as watch:
        await outage(agent, watch, HANGING[fault], KINDS[fault])


@by_both_clients
@pytest.mark.parametrize("fault", HANGING)
async def test_a_query_that_hangs_is_closed_at_once(client: Client, fault: str) -> None:
    async with registry() as agent:
        agent.misbehave(HANGING[fault])
        async with watching(agent, client) as watch:
            await agent.asked(1)
        assert watch.queue.get_nowait().closed


@by_both_clients
@pytest.mark.parametrize("fault", TOLERATED)
async def test_what_can_be_tolerated_is_no_event_and_a_change_comes_through(
    client: Client, fault: str
) -> None:
    async with registry() as agent, watching(agent, client, **FAST) as watch:
        assert ids(await watch.event()) == "ab"
        agent.misbehave(TOLERATED[fault])
        await agent.asked(6)
        assert watch.queue.empty()
        assert watch.watcher.health().state == "live"
        assert watch.watcher.health().skipped == (fault == "one bad item")
        agent.instances = ("a", "b", "c")
        event = await watch.event()
        assert (event.reason, event.stale, ids(event)) == ("changed", False, "abc")


@by_both_clients
@pytest.mark.parametrize("fault", RESETS)
async def test_an_agent_that_has_lost_its_data_isnt_believed_for_a_while(client: Client, fault: str) -> None:
    limits = Limits(least_interval=0.02, most_interval=0.1, reset_hold=0.5)
    async with registry() as agent, watching(agent, client, limits=limits) as watch:
        assert ids(await watch.event()) == "ab"
        agent.misbehave(RESETS[fault])
        held = await watch.event()
        assert (held.reason, held.stale, held.error, ids(held)) == ("reset", True, None, "ab")
        empty = await watch.event()
        assert (empty.reason, empty.stale, ids(empty)) == ("changed", False, "")
        assert watch.watcher.health().resets == 1


@by_both_clients
async def test_an_agent_that_restarts_without_data_is_joined_again_as_its_services_register(
    client: Client,
) -> None:
    async with registry() as agent, watching(agent, client, **FAST) as watch:
        assert ids(await watch.event()) == "ab"
        agent.restart()
        while (event := await watch.event()).reason == "error":  # Its connections were cut.
            assert ids(event) == "ab"
        assert (event.reason, event.stale, ids(event)) == ("reset", True, "ab")
        agent.set("c")
        assert ids(await watch.event()) == "abc"
        agent.set("a", "b", "c")
        event = await watch.event()
        assert (event.reason, event.stale, ids(event)) == ("recovered", False, "abc")


@by_both_clients
async def test_a_list_that_becomes_empty_is_believed_after_one_more_read(client: Client) -> None:
    async with registry() as agent, watching(agent, client, **FAST) as watch:
        assert ids(await watch.event()) == "ab"
        before = len(agent.requests)
        agent.set()
        event = await watch.event()
        assert (event.reason, event.stale, ids(event)) == ("changed", False, "")
        assert len(agent.requests) - before <= 2


@by_both_clients
async def test_no_fault_gets_more_than_15_requests_a_second_and_about_one_once_settled(
    client: Client,
) -> None:
    modes = ERRORS | TOLERATED | RESETS
    async with AsyncExitStack() as stack:
        agents: dict[str, Registry] = {}
        for fault, mode in modes.items():
            agents[fault] = await stack.enter_async_context(registry())
            watch = await stack.enter_async_context(watching(agents[fault], client))
            assert ids(await watch.event()) == "ab"
            agents[fault].misbehave(mode)
        await asyncio.sleep(2.2)  # The one thing that takes real time: a rate is counted in it.
        settled = time.monotonic()
        await asyncio.sleep(1.3)
        busiest = {fault: agent.most_in_a_second() for fault, agent in agents.items()}
        late = {
            fault: sum(settled < when < settled + 1.3 for when in agent.requests)
            for fault, agent in agents.items()
        }
    assert {fault: count for fault, count in busiest.items() if count > 15} == {}
    assert {fault: count for fault, count in late.items() if count > 3} == {}
