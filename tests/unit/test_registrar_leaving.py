"""How a registration ends: drained, deregistered, in bounded time, whatever the registry does."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from asyncsd._checks import Health
from asyncsd._errors import (
    BackendError,
    NotRegisteredError,
    PermissionDeniedError,
    UnreachableError,
    UnsupportedError,
)
from asyncsd._registrar import Registrar
from asyncsd.backends.memory import MemoryBackend
from tests.support.registry import ME, World

REFUSED = UnreachableError("connection refused")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


async def test_leaving_deregisters_at_once_and_raises_the_cancellation(world: World) -> None:
    registrar = await world.ready()
    assert await world.end() == 0.0
    assert world.tasks[-1].cancelled()
    assert registrar.state == "deregistered"
    assert registrar.error is None
    assert await world.instances() == ()


async def test_a_drain_is_seen_by_others_before_it_goes(world: World) -> None:
    registrar = await world.ready(drain=20.0)
    world.tasks[-1].cancel()
    await world.clock.advance(0.0)
    assert registrar.state == "draining"
    for _ in range(19):
        [instance] = await world.instances()
        assert instance.status == "critical"
        await world.clock.advance(1.0)
    assert not world.tasks[-1].done()
    await world.clock.advance(1.0)
    assert world.tasks[-1].cancelled()
    assert await world.instances() == ()
    assert world.backend.named("drain", "deregister")[0].name == "drain"


async def test_heartbeats_go_on_while_it_drains_and_say_so(world: World) -> None:
    await world.ready(drain=60.0)
    world.backend.calls.clear()
    await world.end()
    told = world.backend.named("renew")
    assert len(told) >= 12
    assert {call.args[1] for call in told} == {Health("critical", "draining")}


async def test_a_registry_without_a_drain_is_told_by_the_heartbeat(world: World) -> None:
    await world.ready(drain=6.0)
    world.backend.fail("drain", error=UnsupportedError("no such thing"))
    world.tasks[-1].cancel()
    await world.clock.advance(1.0)
    [instance] = await world.instances()
    assert instance.status == "critical"
    assert await world.end() == 5.0


@pytest.mark.parametrize("error", [REFUSED, NotRegisteredError("gone"), PermissionDeniedError("403")])
async def test_a_drain_that_nobody_can_see_is_not_waited_for(world: World, error: BackendError) -> None:
    await world.ready(drain=600.0)
    world.backend.fail("drain", error=error)
    assert await world.end() < 1.0
    assert await world.instances() == ()


async def test_nothing_is_drained_that_was_never_registered(world: World) -> None:
    world.backend.fail("register", error=PermissionDeniedError("403"))
    registrar = world.start(drain=600.0)
    await world.clock.advance(1.0)
    assert await world.end() == 0.0
    assert registrar.state == "deregistered"
    assert not world.backend.named("drain", "deregister")


async def test_further_cancellations_neither_cut_the_drain_short_nor_leave_it_registered(
    world: World,
) -> None:
    await world.ready(drain=5.0)
    for _ in range(4):
        world.tasks[-1].cancel()
        await world.clock.advance(1.0)
    assert not world.tasks[-1].done()
    await world.clock.advance(1.0)
    assert world.tasks[-1].cancelled()
    assert await world.instances() == ()


def cancel_all() -> None:
    """What `asyncio.run` does at its end, and so at a second Ctrl-C: it cancels whatever there is."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


async def test_the_end_of_the_loop_skips_the_drain_and_deregisters_at_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    registrar = await world.ready(drain=60.0)
    world.tasks[-1].cancel()
    await world.clock.advance(30.0)
    assert registrar.state == "draining"
    cancel_all()
    await world.clock.advance(0.0)
    assert world.tasks[-1].cancelled()
    assert registrar.error is None
    assert await world.instances() == ()
    assert "could not deregister" not in caplog.text


async def test_a_deregistration_after_a_drain_that_was_cut_short_may_be_tried_again(world: World) -> None:
    registrar = await world.ready(drain=60.0)
    world.backend.fail_next("deregister", REFUSED, REFUSED)
    world.tasks[-1].cancel()
    await world.clock.advance(30.0)
    cancel_all()
    await world.clock.advance(1.0)
    assert world.tasks[-1].cancelled()
    assert registrar.error is None
    assert await world.instances() == ()


async def test_the_end_of_the_loop_waits_for_no_registration_that_hangs(world: World) -> None:
    world.backend.hanging.add("register")
    world.start()
    await world.clock.advance(1.0)
    world.tasks[-1].cancel()
    await world.clock.advance(0.1)
    assert not world.tasks[-1].done()
    cancel_all()
    await world.clock.advance(0.0)
    assert world.tasks[-1].cancelled()
    assert [call.name for call in world.backend.calls] == ["register", "deregister"]


async def test_a_deregistration_that_is_cut_off_is_told_as_what_it_is(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    registrar = await world.ready()
    world.backend.hanging.add("deregister")
    world.tasks[-1].cancel()
    await world.clock.advance(0.1)
    cancel_all()
    await world.clock.advance(0.0)
    assert world.tasks[-1].cancelled()
    assert registrar.state == "deregistered"
    assert "could not deregister greeter" in caplog.text
    assert "it was cut off before the registry answered" in caplog.text


def test_asyncio_run_leaves_nothing_registered_by_a_registrar_that_nobody_waited_for() -> None:
    backend = MemoryBackend()

    async def main() -> asyncio.Task[None]:
        await backend.__aenter__()
        registrar = Registrar(backend, ME, drain=60.0)
        task = asyncio.get_running_loop().create_task(registrar.run())
        await registrar.ready()
        task.cancel()
        await registrar.wait_for("draining")
        return task

    assert asyncio.run(main()).cancelled()
    assert backend.instances("greeter") == ()


async def test_a_deregistration_that_fails_is_tried_again(world: World) -> None:
    registrar = await world.ready()
    world.backend.fail_next("deregister", REFUSED, BackendError("500", status=500))
    assert await world.end() < 1.0
    assert registrar.error is None
    assert await world.instances() == ()


@pytest.mark.parametrize("linger", [0.5, 5.0])
async def test_an_unreachable_registry_holds_the_exit_no_longer_than_linger(
    world: World, linger: float, caplog: pytest.LogCaptureFixture
) -> None:
    registrar = await world.ready(linger=linger)
    world.backend.fail("any", error=REFUSED)
    assert await world.end() <= linger
    assert registrar.state == "deregistered"
    assert registrar.error is REFUSED
    assert "could not deregister greeter" in caplog.text
    assert len(world.backend.named("deregister")) <= 12


async def test_a_registry_that_hangs_holds_the_exit_no_longer_than_linger(world: World) -> None:
    registrar = await world.ready(linger=4.0, drain=30.0)
    world.backend.hanging.add("any")
    assert await world.end() <= 4.1
    assert isinstance(registrar.error, UnreachableError)


async def test_a_registration_that_hangs_holds_the_exit_no_longer_than_linger(world: World) -> None:
    world.backend.hanging.add("any")
    world.start(linger=4.0)
    await world.clock.advance(1.0)
    assert await world.end() <= 4.1


async def test_what_was_being_registered_when_it_was_cancelled_is_deregistered(world: World) -> None:
    world.backend.slow["register"] = 1.0
    registrar = world.start()
    await world.clock.advance(0.5)
    assert await world.end() == 0.5
    assert [call.name for call in world.backend.calls] == ["register", "deregister"]
    assert await world.instances() == ()
    assert registrar.state == "deregistered"


async def test_what_the_registry_may_have_taken_without_an_answer_is_deregistered(world: World) -> None:
    world.backend.fail("register", error=REFUSED)
    world.backend.answer_lost.add("register")
    registrar = world.start()
    await world.clock.advance(0.1)
    assert len(await world.instances()) == 1
    assert registrar.record is None
    await world.end()
    assert await world.instances() == ()


async def test_a_refused_deregistration_is_not_tried_again(world: World) -> None:
    await world.ready()
    world.backend.fail("deregister", error=PermissionDeniedError("403"))
    assert await world.end() == 0.0
    assert len(world.backend.named("deregister")) == 1


async def test_a_bug_in_the_deregistration_is_raised(world: World) -> None:
    registrar = await world.ready()
    world.backend.fail("deregister", error=AssertionError("a bug"))
    task = world.tasks.pop()
    task.cancel()
    await world.clock.advance(1.0)
    with pytest.raises(AssertionError, match="a bug"):
        await task
    assert registrar.state == "deregistered"


async def test_a_deregistration_that_is_cancelled_by_itself_is_raised_as_a_bug(world: World) -> None:
    registrar = await world.ready()
    world.backend.fail("deregister", error=asyncio.CancelledError())
    task = world.tasks.pop()
    task.cancel()
    await world.clock.advance(1.0)
    assert registrar.state == "deregistered"
    assert "a call of the backend's was cancelled" in str(registrar.error)
    with pytest.raises(RuntimeError, match="a call of the backend's was cancelled"):
        await task


async def test_a_task_that_is_cancelled_before_it_began_registers_nothing(world: World) -> None:
    task = world.run(world.registrar())
    task.cancel()
    await world.clock.advance(1.0)
    assert task.cancelled()
    assert not world.backend.calls


async def test_a_cancelled_registrar_does_not_keep_its_loop_busy(world: World) -> None:
    await world.ready(replace(ME, check=None), drain=1.0)
    world.tasks[-1].cancel()
    await asyncio.sleep(0)
    turns = 0
    for _ in range(20):
        await asyncio.sleep(0)
        turns += bool(asyncio.get_running_loop()._ready)  # type: ignore[attr-defined]
    assert turns < 20


async def test_after_a_drain_there_is_time_to_try_the_deregistration_again(world: World) -> None:
    registrar = await world.ready(drain=20.0)
    world.backend.fail_next("deregister", REFUSED, REFUSED)
    assert 20.0 <= await world.end() < 21.0
    assert registrar.error is None
    assert await world.instances() == ()


async def test_what_was_never_answered_to_does_not_hold_the_exit(world: World) -> None:
    world.backend.fail("any", error=REFUSED)
    registrar = world.start()
    await world.clock.advance(5.0)
    assert await world.end() == 0.0
    assert registrar.state == "deregistered"
    assert len(world.backend.named("deregister")) == 1


async def test_what_the_registry_forgot_is_not_drained(world: World) -> None:
    changes: list[str] = []
    await world.ready(drain=600.0, on_change=lambda change: changes.append(change.after))
    world.backend.memory.clear()
    world.backend.fail("register", error=REFUSED)
    await world.clock.advance(6.0)
    assert await world.end() < 1.0
    assert not world.backend.named("drain")
    assert changes == ["registered", "failing", "deregistered"]
