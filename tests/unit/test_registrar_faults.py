"""What happens to a registration when something happens to the registry."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsd._checks import TTLCheck
from asyncsd._config import Backoff
from asyncsd._errors import (
    BackendError,
    BadRequestError,
    NotRegisteredError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    UnreachableError,
    UnsupportedError,
)
from asyncsd._protocols import Lease
from asyncsd._reachability import Reachability
from asyncsd._registration import Record
from tests.support.registry import ME, World

REFUSED = UnreachableError("connection refused")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


@pytest.fixture
async def observed() -> AsyncIterator[World]:
    async with World(observing=True) as world:
        yield world


def most_in_a_second(world: World, *names: str) -> int:
    times = sorted(call.at for call in world.backend.named(*names))
    return max(sum(at <= other < at + 1.0 for other in times) for at in times)


# The start.


async def test_an_agent_absent_at_the_start_is_not_the_end(world: World) -> None:
    world.backend.fail("any", error=REFUSED)
    registrar = world.start()
    await world.clock.advance(600.0)
    assert registrar.state == "failing"
    assert registrar.error is REFUSED
    assert registrar.since == 1_000.0
    world.backend.heal()
    await world.clock.advance(2.0)
    assert registrar.state == "registered"
    assert registrar.error is None


async def test_an_absent_agent_is_asked_about_once_a_second(world: World) -> None:
    world.backend.fail("any", error=REFUSED)
    world.start()
    await world.clock.advance(100.0)
    assert 75 <= len(world.backend.calls) <= 140
    assert most_in_a_second(world, "register") <= 5


async def test_errors_that_are_answers_back_off(world: World) -> None:
    world.backend.fail("register", error=BackendError("no leader", status=500))
    registrar = world.start(backoff=Backoff(initial=1.0, maximum=8.0))
    await world.clock.advance(300.0)
    assert registrar.state == "failing"
    assert 40 <= len(world.backend.named("register")) <= 150
    world.backend.heal()
    await world.clock.advance(8.0)
    assert registrar.state == "registered"


@pytest.mark.parametrize("kind", [BadRequestError, PermissionDeniedError, UnsupportedError])
async def test_ready_raises_a_permanent_error_at_once_and_run_goes_on(
    world: World, kind: type[BackendError]
) -> None:
    world.backend.fail("register", error=kind("no"))
    registrar = world.start()
    with pytest.raises(kind):
        await registrar.ready()
    assert world.clock.time() == 1_000.0
    assert registrar.state == "failing"
    await world.clock.advance(300.0)
    assert 8 <= len(world.backend.named("register")) <= 15, "at the backoff's slow end"
    world.backend.heal()
    await world.clock.advance(30.0)
    assert registrar.state == "registered"


async def test_ready_is_patient_with_what_may_pass(world: World) -> None:
    world.backend.fail_next("register", REFUSED, ProtocolError("<html>"), RateLimitedError("slow down"))
    registrar = world.start()
    await world.clock.advance(10.0)
    await registrar.ready()
    assert registrar.state == "registered"


async def test_new_values_are_tried_at_once_after_a_refusal(world: World) -> None:
    world.backend.fail_next("register", BadRequestError("bad tag"))
    registrar = world.start()
    with pytest.raises(BadRequestError):
        await registrar.ready()
    await registrar.update(tags=("good",))
    assert world.clock.time() == 1_000.0
    await registrar.ready()
    assert registrar.state == "registered"


async def test_retry_after_is_the_least_wait(world: World) -> None:
    world.backend.fail_next("register", RateLimitedError("slow down", retry_after=20.0))
    registrar = world.start()
    await world.clock.advance(19.9)
    assert len(world.backend.named("register")) == 1
    await world.clock.advance(2.0)
    assert registrar.state == "registered"


async def test_retry_after_holds_for_heartbeats_and_updates_too(world: World) -> None:
    registrar = await world.ready()
    world.backend.fail_next("renew", RateLimitedError("slow down", retry_after=9.0))
    await world.clock.advance(5.0)
    limited = world.backend.calls[-1].at
    assert registrar.state == "failing"
    await world.clock.advance(limited + 8.9 - world.clock.time())
    assert world.backend.calls[-1].at == limited
    await world.clock.advance(0.5)
    assert registrar.state == "registered"


async def test_a_registry_that_never_answers_counts_as_unreachable(world: World) -> None:
    world.backend.hanging.add("any")
    registrar = world.start()
    await world.clock.advance(31.0)
    assert isinstance(registrar.error, UnreachableError)
    assert "no answer within 30 s" in str(registrar.error)
    world.backend.heal()
    await world.clock.advance(30.0)
    assert registrar.state == "registered"


# While it stands.


async def test_one_heartbeat_that_fails_costs_nothing(world: World) -> None:
    await world.ready()
    world.backend.fail_next("renew", BackendError("busy", status=500))
    statuses = set()
    for _ in range(200):
        await world.clock.advance(0.1)
        statuses.update(instance.status for instance in await world.instances())
    assert statuses == {"passing"}


async def test_a_renewal_that_hangs_is_given_up_before_the_ttl_is_over(world: World) -> None:
    await world.ready()
    world.backend.hanging.add("renew")
    await world.clock.advance(5.1)
    world.backend.hanging.discard("renew")
    statuses = set()
    for _ in range(150):
        await world.clock.advance(0.1)
        statuses.update(instance.status for instance in await world.instances())
    assert statuses == {"passing"}


async def test_a_heartbeat_that_is_refused_is_logged_once_and_tried_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    registrar = await world.ready()
    world.backend.fail("renew", error=PermissionDeniedError("token expired", status=403))
    await world.clock.advance(60.0)
    assert registrar.state == "failing"
    assert len([line for line in caplog.messages if "token expired" in line]) == 1
    assert 10 <= len(world.backend.named("renew")) <= 20, "at the heartbeat's pace"
    world.backend.heal()
    await world.clock.advance(5.0)
    assert registrar.state == "registered"
    assert len(world.backend.named("register")) == 1


async def test_a_heartbeat_finds_that_it_was_forgotten_and_registers_at_once(world: World) -> None:
    registrar = await world.ready()
    world.backend.memory.clear()
    await world.clock.advance(5.0)
    [instance] = await world.instances()
    assert (instance.id, instance.status) == (registrar.id, "passing")
    lost, again = world.backend.named("renew", "register")[-3:-1]
    assert (lost.name, again.name) == ("renew", "register")
    assert again.at == lost.at
    assert again.args[1] is not None, "a backend is told what was held"


async def test_the_observer_finds_it_within_a_second(observed: World) -> None:
    registrar = await observed.ready()
    await observed.clock.advance(2.0)
    observed.backend.memory.remove(registrar.id)
    await observed.clock.advance(1.0)
    assert [instance.id for instance in await observed.instances()] == [registrar.id]
    assert registrar.state == "registered"


async def test_a_loss_while_the_first_heartbeat_is_on_its_way_is_found(observed: World) -> None:
    observed.backend.slow["renew"] = 2.0
    registrar = observed.start()
    await observed.clock.advance(1.0)
    observed.backend.memory.clear()
    await observed.clock.advance(4.0)
    assert [instance.id for instance in await observed.instances()] == [registrar.id]


async def test_an_observer_is_no_busy_loop_when_answers_come_at_once(observed: World) -> None:
    class Restless(type(observed.backend)):  # type: ignore[misc]
        async def observe(self, lease: Lease, cursor: object) -> object:
            return await self._call("local_host")

    observed.backend.__class__ = Restless
    await observed.ready()
    await observed.clock.advance(60.0)
    assert len(observed.backend.named("local_host")) <= 66


@pytest.mark.parametrize(
    ("error", "most"),
    [
        (REFUSED, 80),
        (BackendError("500", status=500), 60),
        (PermissionDeniedError("403", status=403), 20),
        (RateLimitedError("429", retry_after=10.0), 8),
    ],
)
async def test_an_observer_that_fails_is_paced_and_costs_the_registration_nothing(
    observed: World, error: BackendError, most: int
) -> None:
    registrar = await observed.ready()
    observed.backend.fail("observe", error=error)
    observed.backend.memory.put()
    await registrar.update(tags=("v2",))  # Begins a new observation.
    before = len(observed.backend.named("observe"))
    await observed.clock.advance(60.0)
    assert 1 <= len(observed.backend.named("observe")) - before <= most
    assert registrar.state == "registered"
    observed.backend.heal()
    await observed.clock.advance(10.0)
    observed.backend.memory.remove(registrar.id)
    await observed.clock.advance(1.0)
    assert len(await observed.instances()) == 1


@pytest.mark.parametrize("bug", [AssertionError("a bug"), asyncio.CancelledError()])
async def test_a_bug_of_the_observer_is_not_kept_quiet(observed: World, bug: BaseException) -> None:
    registrar = await observed.ready()
    observed.backend.fail("observe", error=bug)
    await registrar.update(tags=("v2",))
    await observed.clock.advance(6.0)
    with pytest.raises((AssertionError, RuntimeError), match=r"a bug|was cancelled"):
        await observed.tasks[-1]
    assert await observed.instances() == ()


async def test_one_observer_at_a_time(observed: World) -> None:
    registrar = await observed.ready()
    for number in range(20):
        await registrar.update(weight=number + 2)
        observed.backend.memory.remove(registrar.id)
        await observed.clock.advance(40.0)
    await observed.clock.advance(60.0)
    before = len(observed.backend.named("observe"))
    await observed.clock.advance(60.0)
    assert len(observed.backend.named("observe")) - before <= 3


async def test_who_deregisters_it_again_and_again_is_answered_ever_slower(observed: World) -> None:
    registrar = await observed.ready()
    for _ in range(600):
        observed.backend.memory.remove(registrar.id)
        await observed.clock.advance(0.1)
    assert len(observed.backend.named("register")) <= 25
    await observed.clock.advance(30.0)
    assert [instance.id for instance in await observed.instances()] == [registrar.id]


async def test_a_loss_after_a_quiet_time_is_answered_at_once_again(observed: World) -> None:
    registrar = await observed.ready()
    for _ in range(300):
        observed.backend.memory.remove(registrar.id)
        await observed.clock.advance(0.1)
    await observed.clock.advance(90.0)
    observed.backend.memory.remove(registrar.id)
    await observed.clock.advance(0.0)
    assert [instance.id for instance in await observed.instances()] == [registrar.id]


async def test_after_a_success_the_backoff_begins_anew(world: World) -> None:
    busy = BackendError("busy", status=500)
    world.backend.fail("register", error=busy)
    registrar = world.start()
    await world.clock.advance(600.0)
    world.backend.heal()
    await world.clock.advance(30.0)
    assert registrar.state == "registered"
    world.backend.calls.clear()
    world.backend.fail_next("register", busy)
    world.backend.memory.clear()
    await world.clock.advance(30.0)
    failed, again = world.backend.named("register")
    assert again.at - failed.at <= 1.0


# A registry that stays away.


def leases(world: World) -> list[object]:
    return [call.args[1] for call in world.backend.named("register")]


async def test_a_short_blip_does_not_move_it(world: World) -> None:
    await world.ready()
    world.backend.fail("renew", error=REFUSED)
    await world.clock.advance(15.0)
    assert leases(world) == [None]
    world.backend.heal()
    await world.clock.advance(2.0)
    assert leases(world) == [None]


async def test_a_server_that_stays_away_for_a_ttl_is_left(world: World) -> None:
    registrar = await world.ready()
    lease = Lease(registrar.record or Record("", "", "", 0), where="another agent")

    async def move(record: Record, previous: Lease | None = None) -> Lease:
        world.backend.heal()
        assert previous is not None
        assert previous.where == "memory"
        await world.backend.memory.register(record)
        return lease

    world.backend.fail("renew", error=REFUSED)
    world.backend.register = move  # type: ignore[method-assign]
    await world.clock.advance(14.0)
    assert registrar.where == "memory"
    await world.clock.advance(8.0)
    assert registrar.where == "another agent"
    assert registrar.state == "registered"
    await world.clock.advance(20.0)
    assert world.backend.named("renew")[-1].args[0] is lease


async def test_without_a_ttl_or_with_a_short_one_ten_seconds_pass_before_it_is_left(world: World) -> None:
    world.backend.fail_next("renew", None)
    world.backend.fail("renew", error=REFUSED)
    await world.ready(replace(ME, check=None))
    first = world.clock.time()
    await world.clock.advance(60.0)
    failed = next(call.at for call in world.backend.named("renew") if call.at > first)
    again = next(call.at for call in world.backend.named("register") if call.at > first)
    assert 10.0 <= again - failed <= 11.5


async def test_a_registry_that_others_reach_is_not_hammered_by_who_cannot(world: World) -> None:
    reachability = Reachability(clock=world.clock, rng=world.rng)
    await world.ready(reachability=reachability)
    world.backend.fail("any", error=REFUSED)
    world.backend.calls.clear()
    for _ in range(1_500):
        reachability.up()
        await world.clock.advance(0.02)
    assert len(world.backend.calls) <= 35


async def test_many_registrars_share_one_probe_and_come_back_together(world: World) -> None:
    reachability = Reachability(clock=world.clock, rng=world.rng)
    registrars = [await world.ready(reachability=reachability) for _ in range(20)]
    world.backend.fail("any", error=REFUSED)
    await world.clock.advance(30.0)
    world.backend.calls.clear()
    await world.clock.advance(60.0)
    assert len(world.backend.calls) <= 90
    world.backend.memory.clear()
    world.backend.heal()
    await world.clock.advance(1.5)
    assert {registrar.state for registrar in registrars} == {"registered"}
    assert len(await world.instances()) == 20


async def test_many_observers_share_one_probe_too(observed: World) -> None:
    reachability = Reachability(clock=observed.clock, rng=observed.rng)
    patient = replace(ME, check=TTLCheck(ttl=3_600.0))
    registrars = [await observed.ready(patient, reachability=reachability) for _ in range(20)]
    observed.backend.fail("observe", error=REFUSED)
    for registrar in registrars:
        await registrar.update(weight=2)  # Begins a new observation.
    await observed.clock.advance(30.0)
    observed.backend.calls.clear()
    await observed.clock.advance(60.0)
    assert 30 <= len(observed.backend.named("observe")) <= 90


async def test_an_update_costs_one_submission_and_one_heartbeat(observed: World) -> None:
    registrar = await observed.ready()
    await observed.clock.advance(1.0)
    observed.backend.calls.clear()
    await registrar.update(weight=2)
    await observed.clock.advance(1.0)
    written = [call.name for call in observed.backend.calls if call.name != "observe"]
    assert written == ["register", "renew"]


# Whatever the order.

FAULTS = st.sampled_from(
    [
        None,
        REFUSED,
        NotRegisteredError("unknown"),
        BackendError("500", status=500),
        ProtocolError("<html>"),
        RateLimitedError("429", retry_after=3.0),
        PermissionDeniedError("403", status=403),
        BadRequestError("400", status=400),
        "forget",
        "hang",
        "lose the answers",
    ]
)


@settings(max_examples=60, deadline=None)
@given(
    faults=st.lists(st.tuples(FAULTS, st.sampled_from([0.1, 1.0, 7.0, 20.0])), max_size=8),
    observing=st.booleans(),
    seed=st.integers(0, 5),
)
async def test_any_sequence_of_failures_ends_registered_once_and_at_a_bounded_rate(
    faults: list[tuple[Exception | str | None, float]], observing: bool, seed: int
) -> None:
    async with World(observing=observing, seed=seed) as world:
        registrar = world.start()
        for number, (fault, seconds) in enumerate(faults):
            world.backend.heal()
            match fault:
                case "forget":
                    world.backend.memory.clear()
                case "hang":
                    world.backend.hanging.add("any")
                case "lose the answers":
                    world.backend.fail("any", error=REFUSED)
                    world.backend.answer_lost.add("register")
                case Exception():
                    world.backend.fail("any", error=fault)
                case _:
                    registrar.registration = replace(registrar.registration, weight=number + 1)
            await world.clock.advance(seconds)
            assert len(await world.instances()) <= 1
        world.backend.heal()
        await world.clock.advance(60.0)
        assert registrar.state == "registered"
        [instance] = await world.instances()
        assert (instance.id, instance.status) == (registrar.id, "passing")
        assert instance.weight == registrar.registration.weight
        assert most_in_a_second(world, "register", "renew", "local_host", "observe") <= 15
        await world.end()
        assert await world.instances() == ()
