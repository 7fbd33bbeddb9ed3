"""A registrar cancelled at every step of the loop leaves nothing registered and nothing running."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from asyncsd._errors import BackendError, UnreachableError
from asyncsd._models import Query
from asyncsd._registrar import Registrar
from asyncsd.testing import FakeClock
from tests.cancellation.steps import Scenario, cancel_at_every_step, step
from tests.support.registry import ME, FaultyBackend, ObservingFaultyBackend


def scenario(
    prepare: Callable[[FaultyBackend], None] = lambda backend: None,
    host: str | None = "10.0.0.7",
    **options: Any,
) -> Callable[[FakeClock], AbstractAsyncContextManager[Any]]:
    @asynccontextmanager
    async def registering(clock: FakeClock) -> AsyncIterator[Any]:
        async with ObservingFaultyBackend(clock) as backend:
            prepare(backend)
            registrar = Registrar(backend, replace(ME, host=host), clock=clock, **options)
            yield registrar.run()
            left = await backend.fetch(Query("greeter"), None)
            assert left.instances == (), f"left registered: {left.instances}"
            assert registrar.state == "deregistered" or not backend.calls

    return registering


def slow(backend: FaultyBackend) -> None:
    """Each call takes some steps of the loop, at both of its ends."""
    backend.slow = dict.fromkeys(("local_host", "register", "renew", "drain", "deregister"), 0.01)


def forgetful(backend: FaultyBackend) -> None:
    slow(backend)

    def forget(name: str) -> None:
        if name == "renew" and len(backend.named("renew")) % 2 == 0:
            backend.memory.clear()

    backend.before = forget


def flaky(backend: FaultyBackend) -> None:
    slow(backend)
    backend.fail_next("register", UnreachableError("refused"), BackendError("500", status=500))
    backend.fail_next("renew", UnreachableError("refused"), None, BackendError("500", status=500))
    backend.fail_next("deregister", UnreachableError("refused"))


def answers_lost(backend: FaultyBackend) -> None:
    slow(backend)
    backend.answer_lost.add("register")
    backend.fail("register", error=UnreachableError("cut"))


@pytest.mark.parametrize(
    "registering",
    [
        pytest.param(scenario(), id="in peace"),
        pytest.param(scenario(slow, host=None), id="slow, host unknown"),
        pytest.param(scenario(slow, drain=3.0), id="slow, with a drain"),
        pytest.param(scenario(forgetful), id="forgotten again and again"),
        pytest.param(scenario(flaky, drain=1.0), id="a flaky registry"),
        pytest.param(scenario(answers_lost), id="answers lost"),
    ],
)
async def test_nothing_stays_registered(registering: Scenario) -> None:
    await cancel_at_every_step(registering, limit=45)


async def test_nothing_stays_registered_when_an_update_is_on_its_way() -> None:
    @asynccontextmanager
    async def updating(clock: FakeClock) -> AsyncIterator[Any]:
        async with ObservingFaultyBackend(clock) as backend:
            slow(backend)
            registrar = Registrar(backend, ME, clock=clock)

            async def work() -> None:
                update = asyncio.ensure_future(_updates(registrar))
                try:
                    await registrar.run()
                finally:
                    update.cancel()

            yield work()
            assert (await backend.fetch(Query("greeter"), None)).instances == ()

    await cancel_at_every_step(updating, limit=45)


async def _updates(registrar: Registrar) -> None:
    await registrar.ready()
    for number in range(100):
        await registrar.update(weight=number + 2)


async def test_a_health_callable_that_is_on_its_way_holds_nothing_up() -> None:
    @asynccontextmanager
    async def asking(clock: FakeClock) -> AsyncIterator[Any]:
        async with ObservingFaultyBackend(clock) as backend:

            async def health() -> bool:
                await clock.sleep(1.0)
                return True

            registrar = Registrar(backend, ME, clock=clock, health=health)
            yield registrar.run()
            assert (await backend.fetch(Query("greeter"), None)).instances == ()

    await cancel_at_every_step(asking, limit=40)


@pytest.mark.parametrize("drain", [0.0, 3.0])
async def test_when_the_loop_ends_at_any_step_of_leaving_it_is_deregistered_or_told(drain: float) -> None:
    """The loop's end cancels the leaving itself; only the call that deregisters can be cut off by it."""
    told = 0
    for steps in range(60):
        clock = FakeClock()
        async with ObservingFaultyBackend(clock) as backend:
            slow(backend)
            registrar = Registrar(backend, ME, clock=clock, drain=drain)
            task = asyncio.get_running_loop().create_task(registrar.run(), name="asyncsd:registrar:greeter")
            for _ in range(steps // 2):
                await step(clock)
            task.cancel()
            for _ in range(1 + steps):
                await step(clock)
            for running in asyncio.all_tasks():
                if running.get_name().startswith("asyncsd:"):
                    running.cancel()
            while not task.done():
                await step(clock)
            assert task.cancelled()
            if (await backend.fetch(Query("greeter"), None)).instances:
                assert "cut off" in str(registrar.error), f"at step {steps}"
                assert backend.calls[-1].name == "deregister"
                told += 1
    assert told < 10
