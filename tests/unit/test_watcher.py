"""The watcher believes a registry just as far as it can, and tells of changes alone."""

import asyncio
import gc
import itertools
import logging
import random
import weakref
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsd import (
    BackendError,
    ClosedError,
    Event,
    Instance,
    Limits,
    PermissionDeniedError,
    Query,
    Reply,
    Trust,
    UnreachableError,
)
from asyncsd._reachability import Reachability
from asyncsd._subscription import Subscription
from asyncsd._watcher import Watcher
from asyncsd.backends.memory import MemoryBackend
from asyncsd.testing import FakeClock
from tests.support.scripted import Line, ScriptedBackend, instance, reply

DEFAULTS = Limits()
REFUSED = UnreachableError("connection refused")
BROKEN = BackendError("500 from the agent", status=500)


class Watch:
    """A watcher that runs on a scripted registry, and what it told."""

    def __init__(self, clock: FakeClock, backend: Any, query: Query | str, limits: Limits) -> None:
        self.clock = clock
        self.backend = backend
        self.watcher = Watcher(backend, query, limits=limits, clock=clock, rng=random.Random(1))
        self.queue = asyncio.Queue[Event](100)

    async def events(self, *lines: Line, seconds: float = 0.0) -> list[Event]:
        """What is told when the registry goes on with `lines` and so many seconds pass."""
        self.backend.say(*lines)
        await self.clock.advance(seconds)
        return [self.queue.get_nowait() for _ in range(self.queue.qsize())]

    async def told(self, *lines: Line, seconds: float = 0.0) -> list[str]:
        """The same in short: the reason, the list, and whether it is stale."""
        return [short(event) for event in await self.events(*lines, seconds=seconds)]


def short(event: Event) -> str:
    ids = "-" if event.snapshot is None else "".join(each.id for each in event.snapshot)
    return f"{event.reason}:{ids}{'?' if event.stale else ''}"


@asynccontextmanager
async def watching(
    *lines: Line, query: Query | str = "users", limits: Limits = DEFAULTS
) -> AsyncGenerator[Watch, None]:
    clock = FakeClock()
    watch = Watch(clock, ScriptedBackend(*lines, clock=clock), query, limits)
    task = asyncio.create_task(watch.watcher.run(watch.queue))
    await clock.settle()
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_the_first_answer_is_told_with_all_its_instances_as_added() -> None:
    async with watching(reply("a", "b", index=7)) as watch:
        (event,) = await watch.events()
        assert short(event) == "changed:ab"
        assert [each.id for each in event.added] == ["a", "b"]
        assert (event.error, event.heard_at, event.age) == (None, 1000.0, 0.0)


async def test_an_empty_first_answer_is_known_to_be_empty() -> None:
    async with watching(reply(index=7)) as watch:
        assert await watch.told() == ["changed:"]


async def test_an_empty_first_answer_without_a_leader_isnt_known_yet() -> None:
    async with watching(reply(index=7, known_leader=False)) as watch:
        assert await watch.told(seconds=1.0) == []
        assert await watch.told(reply("a", index=8), seconds=1.0) == ["changed:a"]
        assert watch.watcher.hub.snapshot is not None


async def test_an_empty_first_answer_without_a_leader_is_believed_after_a_while() -> None:
    async with watching(reply(index=7, known_leader=False)) as watch:
        assert await watch.told(seconds=10.1) == ["changed:"]


async def test_an_answer_that_says_the_same_is_no_event() -> None:
    async with watching(reply("a", "b", index=7)) as watch:
        await watch.told()
        lines = (reply("b", "a", index=8), reply("a", "b", index=9), reply("a", "b", index=9))
        assert await watch.told(*lines, seconds=10.0) == []


async def test_the_same_index_may_bring_another_list() -> None:
    async with watching(reply("a", index=7)) as watch:
        await watch.told()
        assert await watch.told(reply("a", "b", index=7), seconds=1.0) == ["changed:ab"]


async def test_what_joins_leaves_and_changes_is_told_apart() -> None:
    async with watching(reply("a", "b", index=7)) as watch:
        await watch.told()
        changed = instance("b", port=81)
        (event,) = await watch.events(reply(changed, "c", index=8), seconds=1.0)
        assert [each.id for each in event.added] == ["c"]
        assert [each.id for each in event.removed] == ["a"]
        assert [(change.before.port, change.after.port) for change in event.changed] == [(80, 81)]


async def test_an_unchanged_instance_keeps_its_object_and_the_version_grows() -> None:
    async with watching(reply("a", index=7)) as watch:
        (first,) = await watch.events()
        (second,) = await watch.events(reply("a", "b", index=8), seconds=1.0)
        assert first.snapshot is not None
        assert second.snapshot is not None
        assert second.snapshot[0] is first.snapshot[0]
        assert second.snapshot.version > first.snapshot.version


async def test_an_instance_that_is_listed_twice_counts_once() -> None:
    twice = (instance("a"), instance("a"), instance("b"))
    async with watching(reply(*twice, index=7)) as watch:
        assert await watch.told() == ["changed:ab"]
        assert await watch.told(reply(*twice[1:], index=8), seconds=1.0) == []
        assert await watch.told(reply(*twice, index=9), reply(twice[0], index=10), seconds=1.0) == [
            "changed:a"
        ]


LISTS = st.lists(st.sampled_from("abcdef"), max_size=6, unique=True)


@settings(max_examples=50, deadline=None)
@given(lists=st.lists(LISTS, min_size=1, max_size=6), keep=st.booleans())
async def test_whatever_a_registry_says_is_what_is_served(lists: list[list[str]], keep: bool) -> None:
    kept = {id: instance(id) for id in "abcdef"}
    lines = [
        reply(*(kept[id] if keep else instance(id) for id in ids), index=1 + number)
        for number, ids in enumerate(lists)
    ]
    async with watching(query=Query("users", consistency="consistent")) as watch:
        for line in lines:
            await watch.told(line, seconds=2.0)
            snapshot = watch.watcher.hub.snapshot
            assert snapshot is not None
            assert list(snapshot) == sorted(line.instances, key=lambda each: each.id)


async def test_a_critical_instance_is_unfit_and_told_of() -> None:
    async with watching(reply("a", "b", index=7)) as watch:
        await watch.told()
        (event,) = await watch.events(reply("a", instance("b", status="critical"), index=8), seconds=1.0)
        assert short(event) == "changed:a"
        assert event.snapshot is not None
        assert [each.id for each in event.snapshot.unfit] == ["b"]


async def test_all_critical_is_told_at_once_without_another_read() -> None:
    async with watching(reply("a", index=7)) as watch:
        await watch.told()
        assert await watch.told(reply(instance("a", status="critical"), index=8), seconds=0.3) == ["changed:"]
        assert all(query == Query("users") for _, query, _ in watch.backend.calls)


async def test_only_instances_with_the_tags_are_told() -> None:
    lines = reply(instance("a", tags=("v1",)), "b", index=7)
    async with watching(lines, query=Query("users", tags=("v1",))) as watch:
        assert await watch.told() == ["changed:a"]
        lines = reply(instance("a", tags=("v1",)), "b", "c", index=8)
        assert await watch.told(lines, seconds=1.0) == []


# Errors.


@pytest.mark.parametrize("error", [REFUSED, BROKEN], ids=["unreachable", "500"])
async def test_an_outage_is_one_event_with_the_last_good_list(error: BackendError) -> None:
    async with watching(reply("a", index=7)) as watch:
        await watch.told()
        await watch.clock.advance(5.0)
        (event,) = await watch.events(*[error] * 20, seconds=5.0)
        assert short(event) == "error:a?"
        assert (event.error, event.age) == (error, 5.0)
        assert watch.watcher.health().failures > 2


async def test_an_error_that_is_kept_keeps_nothing_of_the_fetch_that_failed() -> None:
    """Its frames hold connections and buffers, and hundreds of them the garbage collector up."""

    class Held:
        pass

    held: weakref.ref[Held] | None = None

    class Failing(ScriptedBackend):
        async def fetch(self, query: Query, cursor: Any) -> Reply:
            nonlocal held
            connection = Held()
            held = weakref.ref(connection)
            errors: list[Exception] = []
            try:
                raise OSError("refused")
            except OSError as exc:
                errors.append(UnreachableError("connection refused"))
                raise errors[0] from exc

    clock = FakeClock()
    queue = asyncio.Queue[Event](100)
    task = asyncio.create_task(Watcher(Failing(clock=clock), "users", clock=clock).run(queue))
    await clock.settle()
    error = (await queue.get()).error
    gc.disable()
    try:
        await clock.settle()
        assert held is not None
        assert held() is None
    finally:
        gc.enable()
        task.cancel()
    assert isinstance(error, UnreachableError)
    assert isinstance(error.__cause__, OSError)


async def test_an_error_whose_causes_go_round_in_a_circle_is_told() -> None:
    class Failing(ScriptedBackend):
        async def fetch(self, query: Query, cursor: Any) -> Reply:
            first, second = OSError("reset"), UnreachableError("refused")
            try:
                raise first
            except OSError:
                try:
                    raise second from first
                except UnreachableError:
                    first.__cause__ = second
                    raise

    clock = FakeClock()
    queue = asyncio.Queue[Event](100)
    task = asyncio.create_task(Watcher(Failing(clock=clock), "users", clock=clock).run(queue))
    await clock.settle()
    assert isinstance((await queue.get()).error, UnreachableError)
    task.cancel()
    await asyncio.wait([task])


async def test_an_error_before_the_first_answer_is_told_too() -> None:
    async with watching(REFUSED) as watch:
        assert await watch.told() == ["error:-?"]
        assert await watch.told(reply("a"), seconds=2.0) == ["recovered:a"]


async def test_an_error_of_another_kind_is_another_event() -> None:
    async with watching(reply("a", index=7)) as watch:
        await watch.told()
        events = await watch.events(REFUSED, PermissionDeniedError("403", status=403), seconds=5.0)
        assert [type(event.error) for event in events] == [UnreachableError, PermissionDeniedError]


async def test_a_recovery_is_told_though_the_list_is_the_same() -> None:
    async with watching(reply("a", index=7)) as watch:
        await watch.told()
        lines = (REFUSED, REFUSED, reply("a", index=7))
        assert await watch.told(*lines, seconds=5.0) == ["error:a?", "recovered:a"]


async def test_a_recovery_may_bring_newcomers() -> None:
    async with watching(reply("a", index=7)) as watch:
        await watch.told()
        assert await watch.told(REFUSED, reply("a", "b", index=9), seconds=5.0) == [
            "error:a?",
            "recovered:ab",
        ]


async def test_the_cursor_is_none_after_an_error_an_index_of_0_and_one_that_goes_back() -> None:
    lines = (
        reply("a", index=7),
        reply("a", index=9),
        REFUSED,
        reply("a", index=9),
        reply("a", index=3),
        reply("a", index=3),
        reply("a", index=0),
        reply("a", index=0),
        reply("a", index=4),
    )
    async with watching(*lines) as watch:
        await watch.told(seconds=60.0)
        assert watch.backend.cursors == [None, 7, 9, None, 9, None, 3, None, None, 4]


async def test_a_failing_watch_logs_its_begin_and_end_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asyncsd")
    async with watching(reply("a", index=7)) as watch:
        await watch.told(*[BROKEN] * 5, reply("a", index=7), seconds=60.0)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "500 from the agent" in caplog.text


# An empty answer, and one that lacks known instances.


async def test_a_list_that_becomes_empty_is_read_once_more_and_then_told() -> None:
    query = Query("users", consistency="stale", max_stale=5.0)
    async with watching(reply("a", index=7), query=query) as watch:
        await watch.told()
        assert await watch.told(reply(index=8), seconds=1.0) == []
        assert await watch.told(reply(index=8), seconds=1.0) == ["changed:"]
        consistent = Query("users", consistency="consistent")
        assert [(call[1], call[2]) for call in watch.backend.calls][2:] == [(consistent, None), (query, 8)]


async def test_the_second_read_may_show_that_the_list_isnt_empty() -> None:
    async with watching(reply("a", index=7)) as watch:
        await watch.told()
        assert await watch.told(reply(index=8), reply("a", index=9), seconds=5.0) == []


async def test_a_second_read_that_fails_is_an_error_and_the_list_serves_on() -> None:
    async with watching(reply("a", index=7)) as watch:
        await watch.told()
        assert await watch.told(reply(index=8), BROKEN, seconds=5.0) == ["error:a?"]
        assert watch.backend.calls[-1][1:] == (Query("users"), None)


async def test_a_watch_that_reads_consistently_anyway_reads_once() -> None:
    async with watching(reply("a", index=7), query=Query("users", consistency="consistent")) as watch:
        await watch.told()
        assert await watch.told(reply(index=8), seconds=1.0) == ["changed:"]


async def test_an_instance_that_leaves_others_behind_is_gone_at_once() -> None:
    async with watching(reply("a", "b", index=7)) as watch:
        await watch.told()
        assert await watch.told(reply("b", index=8), seconds=1.0) == ["changed:b"]


RESETS = {
    "index back": [reply(index=3)],
    "index 0": [reply(index=0)],
    "no index any more": [reply(index=None)],
    "no leader": [reply(index=8, known_leader=False)],
    "after errors": [REFUSED, reply(index=8)],
}


@pytest.mark.parametrize("lines", RESETS.values(), ids=RESETS)
async def test_a_reset_keeps_the_old_list_as_stale_until_the_hold_ends(lines: list[Line]) -> None:
    async with watching(reply("a", "b", index=7)) as watch:
        await watch.told()
        told = await watch.told(*lines, seconds=9.0)
        assert told[-1] == "reset:ab?"
        assert watch.watcher.health().resets == 1
        assert watch.watcher.health().state == "live"
        assert await watch.told(seconds=3.0) == ["changed:"]
        assert watch.watcher.hub.latest is not None
        assert not watch.watcher.hub.latest.stale


@pytest.mark.parametrize("lines", RESETS.values(), ids=RESETS)
async def test_an_answer_that_lacks_some_is_a_reset_too(lines: list[Line]) -> None:
    *before, empty = lines
    lacking = reply("b", index=empty.index, known_leader=empty.known_leader)  # type: ignore[union-attr]
    async with watching(reply("a", "b", index=7)) as watch:
        await watch.told()
        assert (await watch.told(*before, lacking, seconds=5.0))[-1] == "reset:ab?"


async def test_a_registry_that_is_late_to_tell_all_again_is_given_that_long() -> None:
    async with watching(reply("a", "b", index=7)) as watch:
        await watch.told()
        assert await watch.told(REFUSED, reply("b", index=8, hold=30.0), seconds=29.0) == [
            "error:ab?",
            "reset:ab?",
        ]
        assert await watch.told(seconds=5.0) == ["changed:b"]


async def test_in_a_hold_newcomers_join_at_once_and_old_ones_are_let_go_as_they_are_heard() -> None:
    async with watching(reply("a", "b", index=70)) as watch:
        await watch.told()
        assert await watch.told(reply(index=3), seconds=0.5) == ["reset:ab?"]
        assert await watch.told(reply("c", index=4), seconds=0.5) == ["reset:abc?"]
        assert await watch.told(reply("a", "c", index=5), seconds=0.5) == []
        assert await watch.told(reply("a", index=6), seconds=0.5) == ["reset:ab?"]
        assert await watch.told(reply("a", "b", index=7), seconds=0.5) == ["recovered:ab"]
        assert await watch.told(seconds=20.0) == []


async def test_one_that_was_heard_again_in_a_hold_may_leave_in_it() -> None:
    async with watching(reply("a", "b", index=70)) as watch:
        await watch.told()
        assert await watch.told(reply(index=3), reply("a", index=4), seconds=1.0) == ["reset:ab?"]
        assert await watch.told(reply(index=5), seconds=1.0) == ["reset:b?"]


@pytest.mark.parametrize("first", [[reply(index=3)], []], ids=["seen empty", "seen registered again"])
async def test_after_a_loss_of_data_one_serves_on_until_its_checks_have_passed_again(
    first: list[Line],
) -> None:
    sick = instance("a", status="critical")
    async with watching(reply("a", index=70)) as watch:
        await watch.told()
        told = await watch.told(*first, reply(sick, index=4), seconds=5.0)
        assert told == ["reset:a?"], "a check that was made anew starts as critical"
        assert await watch.told(reply("a", index=5), seconds=0.5) == ["recovered:a"]
        assert await watch.told(reply(sick, index=6), seconds=1.0) == ["changed:"]


async def test_what_is_registered_again_after_a_loss_of_data_is_heard_of_at_once() -> None:
    async with watching(reply("a", index=70), *[REFUSED] * 5, reply(index=3), reply("a", index=4)) as watch:
        await watch.told(seconds=20.0)
        before, after = [when for when, _, _ in watch.backend.calls][6:8]
        assert after - before < 0.2, "the pace that was slow in the outage isn't any more"


async def test_after_a_loss_of_data_checks_have_as_long_as_the_hold() -> None:
    sick = instance("a", status="critical")
    async with watching(reply("a", index=70)) as watch:
        await watch.told()
        assert await watch.told(reply(sick, index=4), seconds=9.0) == ["reset:a?"]
        assert await watch.told(seconds=2.0) == ["changed:"]


async def test_a_check_that_failed_during_an_outage_is_believed() -> None:
    async with watching(reply("a", index=70)) as watch:
        await watch.told()
        told = await watch.told(REFUSED, reply(instance("a", status="critical"), index=71), seconds=5.0)
        assert told == ["error:a?", "recovered:"]


async def test_another_reset_in_a_hold_doesnt_make_it_longer() -> None:
    async with watching(reply("a", index=70)) as watch:
        await watch.told()
        assert await watch.told(reply(index=30), seconds=6.0) == ["reset:a?"]
        assert await watch.told(reply(index=3), seconds=3.0) == []
        assert await watch.told(seconds=2.0) == ["changed:"]


async def test_a_reset_of_a_registry_that_then_fails_doesnt_cost_the_list() -> None:
    async with watching(reply("a", index=70)) as watch:
        await watch.told()
        assert await watch.told(reply(index=3), *[REFUSED] * 100, seconds=30.0) == ["reset:a?", "error:a?"]


async def test_without_a_hold_a_reset_is_believed() -> None:
    async with watching(reply("a", index=70), limits=Limits(reset_hold=0.0)) as watch:
        await watch.told()
        assert await watch.told(reply("b", index=3), seconds=1.0) == ["changed:b"]


async def test_the_hold_ends_though_a_fetch_hangs_and_the_fetch_goes_on_from_its_cursor() -> None:
    async with watching(reply("a", index=70)) as watch:
        await watch.told()
        await watch.told(reply(index=3), reply(index=4), seconds=9.0)
        assert watch.backend.hanging == 1
        assert await watch.told(seconds=1.5) == ["changed:"]
        assert watch.backend.cursors[-2:] == [4, 4]


async def test_a_reset_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with watching(reply("a", "b", index=70)) as watch:
        await watch.told(reply(index=3), reply("c", index=4), seconds=20.0)
    (record,) = caplog.records
    assert "2 instances of 'users'" in record.getMessage()


async def test_an_unfit_instance_that_is_gone_after_an_outage_is_no_reset() -> None:
    async with watching(reply("a", instance("b", status="critical"), index=7)) as watch:
        await watch.told()
        assert await watch.told(REFUSED, reply("a", index=8), seconds=5.0) == ["error:a?", "recovered:a"]


# An answer that brings its trust, as a composite's does.

WEST = UnreachableError("west: connection refused")


async def test_an_answer_with_its_trust_is_believed_as_it_stands() -> None:
    lines = reply("a", "b", index=None, trust=Trust())
    async with watching(lines) as watch:
        assert await watch.told() == ["changed:ab"]
        lines = reply(index=None, trust=Trust())
        assert await watch.told(REFUSED, lines, seconds=3.0) == ["error:ab?", "recovered:"]
        assert all(query == Query("users") for _, query, _ in watch.backend.calls)


async def test_a_part_that_cant_be_heard_is_an_error_beside_a_list_that_goes_on() -> None:
    async with watching(reply("a", "b", trust=Trust())) as watch:
        await watch.told()
        (event,) = await watch.events(reply("a", "b", trust=Trust(error=WEST)), seconds=1.0)
        assert (event.reason, event.stale, event.error) == ("error", False, WEST)
        (event,) = await watch.events(reply("a", trust=Trust(error=WEST)), seconds=1.0)
        assert (event.reason, event.stale, event.error) == ("changed", False, WEST)
        assert await watch.events(reply("a", trust=Trust(error=WEST)), seconds=1.0) == []
        (event,) = await watch.events(reply("a", trust=Trust()), seconds=1.0)
        assert (event.reason, event.stale, event.error) == ("recovered", False, None)


async def test_a_whole_that_cant_be_heard_is_stale_and_keeps_its_age() -> None:
    async with watching(reply("a", trust=Trust())) as watch:
        await watch.told()
        await watch.clock.advance(5.0)
        (event,) = await watch.events(reply("a", trust=Trust(stale=True, error=WEST)), seconds=1.0)
        assert (short(event), event.error, event.age) == ("error:a?", WEST, 5.0)
        assert (watch.watcher.health().state, watch.watcher.health().error) == ("failing", WEST)
        assert await watch.told(reply("a", trust=Trust(stale=True)), seconds=1.0) == ["reset:a?"]


async def test_health_shows_the_part_that_cant_be_heard_while_the_watch_is_live() -> None:
    async with watching(reply("a", trust=Trust(error=WEST))) as watch:
        assert (watch.watcher.health().state, watch.watcher.health().error) == ("live", WEST)
        await watch.told(BROKEN, seconds=0.2)
        assert (watch.watcher.health().state, watch.watcher.health().error) == ("failing", BROKEN)


# Life.


async def test_cancelling_a_watch_ends_a_hanging_fetch_and_tells_the_queue() -> None:
    async with watching(reply("a", index=7)) as watch:
        await watch.told(seconds=1.0)
        assert watch.backend.hanging == 1
    assert watch.backend.hanging == 0
    event = watch.queue.get_nowait()
    assert (event.closed, short(event)) == (True, "closed:a")
    assert watch.watcher.health().state == "closed"


async def test_closing_the_backend_ends_the_watch_and_says_so() -> None:
    clock = FakeClock()
    async with MemoryBackend(instance("a"), clock=clock) as backend:
        watcher, queue = Watcher(backend, "users", clock=clock), asyncio.Queue[Event]()
        task = asyncio.create_task(watcher.run(queue))
        await clock.advance(1.0)
    await task
    assert [short(queue.get_nowait()) for _ in range(2)] == ["changed:a", "closed:a"]
    assert watcher.hub.subscribers == 0


async def test_a_backend_that_was_never_opened_is_what_the_closed_event_says() -> None:
    watcher, queue = Watcher(MemoryBackend(), "users"), asyncio.Queue[Event]()
    await watcher.run(queue)
    assert isinstance(queue.get_nowait().error, ClosedError)


async def test_a_bug_is_logged_told_to_everybody_and_raised(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    backend = ScriptedBackend(reply("a"), ZeroDivisionError("a bug"), clock=clock)
    watcher, queue = Watcher(backend, "users", clock=clock), asyncio.Queue[Event]()
    subscription = Subscription(watcher)
    task = asyncio.create_task(watcher.run(queue))
    await clock.advance(1.0)
    with pytest.raises(ZeroDivisionError):
        await task
    assert short(queue.get_nowait()) == "changed:a"
    assert isinstance(queue.get_nowait().error, ZeroDivisionError)
    await subscription.get()
    with pytest.raises(ZeroDivisionError):
        await subscription.get()
    assert caplog.records[0].exc_info is not None
    assert isinstance(watcher.health().error, ZeroDivisionError)


async def test_a_timeout_error_of_a_backend_is_a_bug_too() -> None:
    clock = FakeClock()
    watcher = Watcher(ScriptedBackend(TimeoutError(), clock=clock), "users", clock=clock)
    with pytest.raises(TimeoutError):
        await watcher.run()


async def test_a_watch_is_run_once() -> None:
    async with watching(reply("a")) as watch:
        with pytest.raises(RuntimeError, match="make another Watcher"):
            await watch.watcher.run()
        assert not watch.watcher.hub.closed


# Health.


async def test_health_follows_the_watch() -> None:
    async with watching() as watch:
        health = watch.watcher.health
        assert (health().state, health().age, health().error) == ("starting", None, None)
        await watch.told(reply("a", index=7, skipped=2), seconds=3.0)
        assert (health().state, health().age, health().index, health().skipped) == ("live", 3.0, 7, 2)
        assert health().next_try is None
        await watch.told(BROKEN)
        assert (health().state, health().failures, health().error) == ("failing", 1, BROKEN)
        await watch.told(seconds=30.0)
        assert health().fetches == len(watch.backend.calls)
    assert watch.watcher.health().state == "closed"
    assert watch.watcher.health().next_try is None


@pytest.mark.parametrize("error", [REFUSED, BROKEN], ids=["unreachable", "500"])
async def test_health_says_when_the_next_try_is(error: BackendError) -> None:
    async with watching(error) as watch:
        await watch.told()
        next_try = watch.watcher.health().next_try
        assert next_try is not None
        fetches = len(watch.backend.calls)
        await watch.clock.advance(next_try - 0.001)
        assert len(watch.backend.calls) == fetches
        await watch.clock.advance(0.002)
        assert len(watch.backend.calls) == fetches + 1


async def test_the_repr_says_how_it_goes() -> None:
    async with watching(reply("a", "b")) as watch:
        assert repr(watch.watcher) == "Watcher('users', live, 2 instances, 1 fetches)"


async def test_many_watches_of_a_dead_registry_probe_it_once_and_come_back_together() -> None:
    clock = FakeClock()
    rng = random.Random(1)
    reachability = Reachability(clock=clock, rng=rng)
    backends = [ScriptedBackend(itertools.repeat(REFUSED, 1000), clock=clock) for _ in range(20)]
    watchers = [Watcher(b, "users", clock=clock, rng=rng, reachability=reachability) for b in backends]
    tasks = [asyncio.create_task(watcher.run()) for watcher in watchers]
    await clock.advance(10.0)
    before = [len(backend.calls) for backend in backends]
    await clock.advance(20.0)
    assert sum(len(backend.calls) for backend in backends) - sum(before) <= 30
    for backend in backends:
        backend._lines = iter([reply("a")])
    await clock.advance(1.3)
    assert [watcher.health().state for watcher in watchers] == ["live"] * 20
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


class CountingInstance(Instance):
    """Counts how often it is compared."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        type(self).compared += 1
        return super().__eq__(other)

    __hash__ = Instance.__hash__


async def test_instances_that_kept_their_objects_arent_even_compared() -> None:
    instances = tuple(CountingInstance(f"i{n}", "users", "10.0.0.1", n) for n in range(1, 5001))
    async with watching(reply(*instances, index=7)) as watch:
        await watch.told()
        CountingInstance.compared = 0
        assert await watch.told(*(reply(*instances, index=8 + n) for n in range(3)), seconds=5.0) == []
        assert CountingInstance.compared == 0
