"""A registration that stands: its states, heartbeats, changes, and the end of it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import anyio
import pytest

from asyncsd._checks import HTTPCheck, TTLCheck
from asyncsd._errors import BackendError, BadRequestError, ClosedError, RateLimitedError, UnreachableError
from asyncsd._registrar import Registrar, StateChange
from asyncsd._registration import Registration
from asyncsd._states import States
from asyncsd.backends.memory import MemoryBackend
from asyncsd.testing import FakeClock
from tests.support.registry import ME, World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


async def test_ready_means_that_others_see_it_passing(world: World) -> None:
    registrar = await world.ready()
    [instance] = await world.instances()
    assert (instance.id, instance.host, instance.port, instance.status) == (
        registrar.id,
        "10.0.0.7",
        8080,
        "passing",
    )
    assert registrar.state == "registered"
    assert registrar.error is None
    assert registrar.where == "memory"
    assert registrar.record is not None
    assert registrar.record.id == registrar.id


async def test_before_it_runs_it_is_registering_and_stands_nowhere(world: World) -> None:
    registrar = world.registrar()
    assert (registrar.state, registrar.where, registrar.record) == ("registering", None, None)
    assert registrar.since == world.clock.time()


async def test_the_user_s_own_task_group_runs_it_and_its_cancellation_deregisters() -> None:
    async with MemoryBackend() as backend:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                registrar = Registrar(backend, ME)
                group.start_soon(registrar.run)
                await registrar.ready()
                group.cancel_scope.cancel()
        assert registrar.state == "deregistered"
        assert repr(backend) == "MemoryBackend(0 instances of 0 services)"


async def test_it_heartbeats_at_a_third_of_the_ttl_or_a_little_earlier(world: World) -> None:
    await world.ready()
    await world.clock.advance(120.0)
    times = [call.at for call in world.backend.named("renew")]
    gaps = [after - before for before, after in pairwise(times)]
    assert all(4.5 <= gap <= 5.0 for gap in gaps)
    assert len(set(gaps)) > 10, "a fleet that started together would stay together"
    assert len(world.backend.named("register")) == 1


async def test_without_a_ttl_it_looks_every_ten_seconds_whether_it_stands(world: World) -> None:
    registrar = await world.ready(replace(ME, check=None))
    world.backend.memory.clear()
    await world.clock.advance(10.0)
    assert [instance.id for instance in await world.instances()] == [registrar.id]


async def test_the_shortest_of_several_ttls_counts(world: World) -> None:
    await world.ready(replace(ME, check=None, checks=(TTLCheck(ttl=60.0), TTLCheck(ttl=3.0, id="quick"))))
    await world.clock.advance(3.0)
    assert len(world.backend.named("renew")) >= 4


async def test_its_host_is_asked_of_the_backend_when_it_is_left_out(world: World) -> None:
    registrar = world.registrar(replace(ME, host=None))
    assert registrar.host is None
    world.run(registrar)
    await registrar.ready()
    assert registrar.host == "127.0.0.1"
    assert registrar.id.startswith("greeter-127.0.0.1-8080-")


async def test_an_unreachable_registry_is_asked_for_the_host_again(world: World) -> None:
    world.backend.fail("local_host", error=UnreachableError("refused"))
    registrar = world.start(replace(ME, host=None))
    await world.clock.advance(5.0)
    assert registrar.state == "failing"
    world.backend.heal()
    await world.clock.advance(2.0)
    assert registrar.state == "registered"


async def test_a_state_can_be_awaited_however_short_it_is(world: World) -> None:
    registrar = await world.ready()
    waiting = asyncio.ensure_future(registrar.wait_for("failing", "draining"))
    await asyncio.sleep(0)
    world.backend.memory.clear()
    await world.clock.advance(5.0)
    assert registrar.state == "registered"
    assert await waiting == "failing"


async def test_a_state_that_is_over_before_the_loop_turns_is_not_missed() -> None:
    states = States("greeter", FakeClock(), None)
    waiting = asyncio.ensure_future(states.wait(("failing",)))
    await asyncio.sleep(0)
    states.become("failing", UnreachableError("refused"), id="greeter-1")
    states.become("registered", None, id="greeter-1")
    assert await waiting == "failing"


async def test_cancelling_who_waits_changes_nothing(world: World) -> None:
    registrar = await world.ready()
    waiting = asyncio.ensure_future(registrar.wait_for("deregistered"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await world.clock.advance(10.0)
    assert registrar.state == "registered"


async def test_who_waits_for_what_cannot_come_any_more_is_told(world: World) -> None:
    registrar = await world.ready()
    waiting = asyncio.ensure_future(registrar.wait_for("failing"))
    await asyncio.sleep(0)
    await world.end()
    with pytest.raises(ClosedError, match="has ended"):
        await waiting
    with pytest.raises(ClosedError):
        await registrar.ready()
    with pytest.raises(ClosedError):
        await registrar.update(tags=("late",))
    assert await registrar.wait_for("deregistered") == "deregistered"


async def test_it_runs_once(world: World) -> None:
    registrar = await world.ready()
    with pytest.raises(RuntimeError, match="runs once"):
        await registrar.run()
    await world.clock.advance(10.0)
    assert registrar.state == "registered"


async def test_two_registrars_of_one_registration_stand_side_by_side(world: World) -> None:
    first, second = await world.ready(), await world.ready()
    assert {instance.id for instance in await world.instances()} == {first.id, second.id}
    assert first.id != second.id


async def test_hooks_are_told_of_every_change(world: World) -> None:
    changes: list[StateChange] = []
    registrar = await world.ready(on_change=changes.append)
    world.backend.fail_next("renew", BackendError("busy", status=500))
    await world.clock.advance(10.0)
    await world.end()
    assert [(change.before, change.after) for change in changes] == [
        ("registering", "registered"),
        ("registered", "failing"),
        ("failing", "registered"),
        ("registered", "deregistered"),
    ]
    assert str(changes[1].error) == "busy"
    assert {(change.service, change.id) for change in changes} == {("greeter", registrar.id)}
    assert [change.at for change in changes] == sorted(change.at for change in changes)
    assert registrar.since == changes[-1].at == world.clock.time()


async def test_a_hook_that_raises_is_logged_and_harms_nobody(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[StateChange] = []

    def broken(change: StateChange) -> None:
        raise ZeroDivisionError("my hook")

    registrar = await world.ready(on_change=[broken, told.append])
    assert registrar.state == "registered"
    assert len(told) == 1
    assert "my hook" in caplog.text


async def async_hook(change: StateChange) -> None: ...


@pytest.mark.parametrize("hook", [async_hook, 5, [5], [async_hook]])
def test_a_hook_that_is_async_or_none_at_all_is_refused(hook: Any) -> None:
    with pytest.raises(TypeError, match="on_change= takes a function that isn't async, or several"):
        Registrar(MemoryBackend(), ME, on_change=hook)


@pytest.mark.parametrize("option", ["drain", "linger"])
def test_times_that_are_none_are_refused_by_name(option: str) -> None:
    with pytest.raises(ValueError, match=option):
        Registrar(MemoryBackend(), ME, **{option: -1.0})  # type: ignore[arg-type]


async def test_registering_failing_and_deregistering_are_one_log_line_each(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "asyncsd.registrar")
    registrar = await world.ready(replace(ME, host="fd00::7", tags=("v1", "blue")))
    world.backend.fail("renew", error=UnreachableError("refused"))
    await world.clock.advance(60.0)
    world.backend.heal()
    await world.clock.advance(10.0)
    await world.end()
    levels = [record.levelname for record in caplog.records]
    lines = [record.getMessage() for record in caplog.records]
    assert levels == ["INFO", "WARNING", "INFO", "INFO"]
    me = f"greeter (id {registrar.id}, tags v1,blue) at [fd00::7]:8080"
    assert lines == [
        f"registered {me} on memory",
        f"the registration of {me} is failing: refused",
        f"registered {me} on memory",
        f"deregistered {me}",
    ]


async def test_update_changes_it_in_place(world: World) -> None:
    registrar = await world.ready()
    await registrar.update(tags=("v2",), meta={"zone": "b"}, weight=7, warning_weight=3)
    [instance] = await world.instances()
    assert (instance.id, instance.tags, instance.zone, instance.weight, instance.status) == (
        registrar.id,
        ("v2",),
        "b",
        7,
        "passing",
    )
    assert registrar.record is not None
    assert registrar.record.warning_weight == 3
    first, second = world.backend.named("register")
    assert first.args[1] is None
    assert second.args[1] is not None, "an update tells what it replaces"
    assert not world.backend.named("deregister")


async def test_update_may_be_given_one_value_alone_and_leaves_the_rest(world: World) -> None:
    registrar = await world.ready(replace(ME, tags=("v1",), meta={"a": "1"}))
    await registrar.update(weight=5)
    [instance] = await world.instances()
    assert (instance.tags, instance.meta, instance.weight) == (("v1",), {"a": "1"}, 5)
    await registrar.update(tags=())
    [instance] = await world.instances()
    assert (instance.tags, instance.meta, instance.weight) == ((), {"a": "1"}, 5)


async def test_update_before_it_runs_is_what_it_registers(world: World) -> None:
    registrar = world.registrar()
    await registrar.update(tags=("early",))
    world.run(registrar)
    await registrar.ready()
    [instance] = await world.instances()
    assert instance.tags == ("early",)
    assert len(world.backend.named("register")) == 1


async def test_update_refuses_bad_values_at_once_and_forgets_them(world: World) -> None:
    registrar = await world.ready()
    with pytest.raises(TypeError, match=r"Registration\.tags"):
        await registrar.update(tags="v1")
    with pytest.raises(ValueError, match=r"Registration\.weight"):
        await registrar.update(weight=0)
    await world.clock.advance(10.0)
    assert len(world.backend.named("register")) == 1


async def test_update_raises_what_went_wrong_and_its_values_stay_wanted(world: World) -> None:
    registrar = await world.ready()
    world.backend.fail("register", error=BackendError("no leader", status=500))
    with pytest.raises(BackendError, match="no leader"):
        await registrar.update(tags=("v2",))
    await world.clock.advance(60.0)
    [instance] = await world.instances()
    assert (instance.tags, instance.status) == ((), "passing"), "the old values stand meanwhile"
    assert registrar.state == "registered"
    assert str(registrar.error) == "no leader"
    world.backend.heal()
    await world.clock.advance(5.0)
    [instance] = await world.instances()
    assert instance.tags == ("v2",)
    assert registrar.error is None


async def test_values_that_the_registry_refuses_do_not_end_the_heartbeats(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    registrar = await world.ready()
    world.backend.fail("register", error=BadRequestError("tag too long", status=400))
    with pytest.raises(BadRequestError):
        await registrar.update(tags=("x" * 300,))
    await world.clock.advance(60.0)
    assert registrar.state == "registered"
    assert len([line for line in caplog.messages if "tag too long" in line]) == 1
    world.backend.heal()
    await registrar.update(tags=("short",))
    assert registrar.error is None


async def test_update_while_the_registry_is_away_raises_and_arrives_later(world: World) -> None:
    registrar = await world.ready()
    world.backend.fail("any", error=UnreachableError("refused"))
    with pytest.raises(UnreachableError):
        await registrar.update(tags=("v2",))
    world.backend.heal()
    await world.clock.advance(2.0)
    [instance] = await world.instances()
    assert instance.tags == ("v2",)


async def test_a_cancelled_update_is_still_submitted(world: World) -> None:
    registrar = await world.ready()
    world.backend.slow["register"] = 1.0
    updating = asyncio.ensure_future(registrar.update(tags=("v2",)))
    await world.clock.advance(0.5)
    updating.cancel()
    await world.clock.advance(1.0)
    assert updating.cancelled()
    [instance] = await world.instances()
    assert instance.tags == ("v2",)


async def test_an_update_during_another_is_not_lost(world: World) -> None:
    registrar = await world.ready()
    world.backend.slow["register"] = 1.0
    first = asyncio.ensure_future(registrar.update(tags=("v2",)))
    await world.clock.advance(0.5)
    second = asyncio.ensure_future(registrar.update(weight=9))
    await world.clock.advance(0.7)
    assert first.done()
    assert not second.done()
    await world.clock.advance(1.0)
    await asyncio.gather(first, second)
    [instance] = await world.instances()
    assert (instance.tags, instance.weight) == (("v2",), 9)


async def test_an_update_that_waits_is_told_when_it_leaves(world: World) -> None:
    registrar = await world.ready()
    world.backend.hanging.add("register")
    updating = asyncio.ensure_future(registrar.update(tags=("v2",)))
    await world.clock.advance(0.1)
    world.backend.hanging.clear()
    await world.end()
    with pytest.raises(ClosedError):
        await updating


async def test_an_update_that_waits_out_a_rate_limit_is_told_when_it_leaves(world: World) -> None:
    world.backend.fail_next("register", RateLimitedError("slow down", retry_after=100.0))
    registrar = world.start()
    await world.clock.advance(1.0)
    updating = asyncio.ensure_future(registrar.update(tags=("v2",)))
    await world.clock.advance(1.0)
    assert not updating.done()
    await world.end()
    with pytest.raises(ClosedError):
        async with asyncio.timeout(1):
            await updating


async def test_callables_are_looked_at_on_each_heartbeat_and_changes_submitted(world: World) -> None:
    tags, meta, weight = ["v1"], {"load": "low"}, [1]
    await world.ready(replace(ME, tags=lambda: tags, meta=lambda: meta, weight=lambda: weight[0]))
    await world.clock.advance(20.0)
    assert len(world.backend.named("register")) == 1, "nothing changed"
    tags.append("hot")
    meta["load"] = "high"
    weight[0] = 3
    await world.clock.advance(5.0)
    [instance] = await world.instances()
    assert (instance.tags, instance.meta, instance.weight) == (("v1", "hot"), {"load": "high"}, 3)
    assert len(world.backend.named("register")) == 2


async def test_a_callable_that_raises_leaves_the_last_values_and_is_logged_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    broken = False

    def tags() -> list[str]:
        if broken:
            raise KeyError("config")
        return ["v1"]

    registrar = await world.ready(replace(ME, tags=tags))
    broken = True
    await world.clock.advance(30.0)
    [instance] = await world.instances()
    assert (instance.tags, instance.status, registrar.state) == (("v1",), "passing", "registered")
    assert isinstance(registrar.error, KeyError)
    assert len([line for line in caplog.messages if "config" in line]) == 1
    broken = False
    await world.clock.advance(5.0)
    assert registrar.error is None
    broken = True
    await world.clock.advance(5.0)
    assert len([line for line in caplog.messages if "config" in line]) == 2


async def test_ready_raises_what_a_callable_raises_at_the_start(world: World) -> None:
    registrar = world.start(replace(ME, tags=lambda: "v1"))
    with pytest.raises(TypeError, match=r"Registration\.tags"):
        await registrar.ready()
    assert registrar.state == "failing"


async def test_a_check_that_the_registry_can_not_run_is_told_at_once(world: World) -> None:
    registrar = world.start(replace(ME, check=HTTPCheck("/health")))
    with pytest.raises(BackendError, match="use TTLCheck"):
        await registrar.ready()


async def test_a_backend_that_is_not_open_is_a_bug_and_told_to_all(caplog: pytest.LogCaptureFixture) -> None:
    registrar = Registrar(MemoryBackend(), ME, clock=FakeClock())
    waiting = asyncio.ensure_future(registrar.ready())
    with pytest.raises(ClosedError, match="isn't open"):
        await registrar.run()
    with pytest.raises(ClosedError, match="isn't open"):
        await waiting
    assert registrar.state == "deregistered"


async def test_a_bug_ends_it_deregistered_and_reaches_who_waits(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    registrar = await world.ready()
    waiting = asyncio.ensure_future(registrar.wait_for("failing"))
    world.backend.fail("renew", error=AssertionError("a bug"))
    await world.clock.advance(6.0)
    with pytest.raises(AssertionError, match="a bug"):
        await world.tasks[-1]
    with pytest.raises(AssertionError, match="a bug"):
        await waiting
    assert await world.instances() == ()
    assert "Traceback" in caplog.text


def test_its_repr_says_who_and_how_it_is() -> None:
    registrar = Registrar(MemoryBackend(), Registration(service="greeter", port=80))
    assert repr(registrar) == "<Registrar greeter registering>"


@pytest.mark.parametrize("call", ["local_host", "register", "renew"])
async def test_a_call_that_is_cancelled_by_itself_is_a_bug_and_no_silent_end(
    world: World, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    world.backend.fail(call, error=asyncio.CancelledError())
    registrar = world.registrar(replace(ME, host=None))
    task = asyncio.get_running_loop().create_task(registrar.run())
    with pytest.raises(RuntimeError, match="a call of the backend's was cancelled"):
        await task
    with pytest.raises(RuntimeError, match="a call of the backend's was cancelled"):
        await registrar.ready()
    assert registrar.state == "deregistered"
    assert "ends by a bug" in caplog.text
    assert await world.instances() == ()


def cancelled(*_: object) -> Any:
    raise asyncio.CancelledError


async def test_a_callable_that_raises_a_cancellation_is_a_broken_callable(world: World) -> None:
    registrar = world.start(replace(ME, tags=cancelled))
    with pytest.raises(RuntimeError, match="a callable of the registration was cancelled"):
        await registrar.ready()
    assert registrar.state == "failing"


async def test_a_hook_that_raises_a_cancellation_is_told_of_and_changes_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    registrar = await world.ready(on_change=cancelled)
    assert registrar.state == "registered"
    assert "a hook for the state of greeter failed" in caplog.text
