"""The hub gives the latest value to every queue, loses nothing, and waits for nobody."""

import asyncio
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsd import ClosedError, Event, Instance, Query, Snapshot, UnreachableError
from asyncsd._hub import MOST_UNREAD, Hub
from asyncsd.testing import FakeClock
from tests.support.scripted import instance

USERS = Query("users")


def snapshot(*ids: str, version: int = 1) -> Snapshot:
    return Snapshot.of(USERS, map(instance, ids), version=version)


def hub(clock: FakeClock | None = None) -> Hub:
    return Hub(USERS, clock=clock or FakeClock())


def ids(instances: Sequence[Instance]) -> str:
    return "".join(each.id for each in instances)


async def test_every_queue_gets_every_event() -> None:
    a, b = asyncio.Queue[Event](8), asyncio.Queue[Event](8)
    h = hub()
    h.attach(a)
    h.attach(b)
    h.publish(snapshot("a"))
    h.publish(snapshot("a", "b"))
    for queue in (a, b):
        assert [ids(queue.get_nowait().added) for _ in range(2)] == ["a", "b"]


async def test_readers_that_keep_up_share_one_event_object() -> None:
    a, b = asyncio.Queue[Event](8), asyncio.Queue[Event](8)
    h = hub()
    h.attach(a)
    h.attach(b)
    for _ in range(2 * MOST_UNREAD):
        h.publish(snapshot("a"))
        assert a.get_nowait() is b.get_nowait() is h.latest


async def test_a_late_subscriber_gets_the_list_at_once_as_if_all_had_joined() -> None:
    h = hub()
    h.publish(snapshot("a"))
    h.publish(snapshot("a", "b"))
    late = asyncio.Queue[Event](8)
    h.attach(late)
    event = late.get_nowait()
    assert (ids(event.snapshot or ()), ids(event.added), event.removed) == ("ab", "ab", ())


async def test_a_late_subscriber_after_an_error_gets_the_last_list_and_the_error() -> None:
    h = hub()
    h.publish(snapshot("a"))
    error = UnreachableError("refused")
    h.publish(h.snapshot, stale=True, error=error, reason="error")
    late = asyncio.Queue[Event](8)
    h.attach(late)
    event = late.get_nowait()
    assert (ids(event.snapshot or ()), event.stale, event.error, event.reason) == ("a", True, error, "error")


async def test_a_late_subscriber_after_a_recovery_has_missed_nothing() -> None:
    h = hub()
    h.publish(None, stale=True, error=UnreachableError("refused"), reason="error")
    h.publish(snapshot("a"), reason="recovered")
    late = asyncio.Queue[Event](8)
    h.attach(late)
    assert late.get_nowait().reason == "changed"


async def test_a_subscriber_before_the_first_answer_waits_for_it() -> None:
    h, queue = hub(), asyncio.Queue[Event](8)
    h.attach(queue)
    assert queue.empty()


async def test_a_queue_serves_one_watch() -> None:
    h, queue = hub(), asyncio.Queue[Event](8)
    h.attach(queue)
    with pytest.raises(ValueError, match="one a watch"):
        h.attach(queue)
    h.detach(queue)
    h.attach(queue)
    assert h.subscribers == 1


async def test_a_full_queue_holds_one_event_that_leads_from_the_oldest_to_the_newest() -> None:
    h, queue = hub(), asyncio.Queue[Event](2)
    h.attach(queue)
    h.publish(snapshot("a"))
    queue.get_nowait()
    for step in ("ab", "abc", "bcd"):
        h.publish(snapshot(*step))
    event = queue.get_nowait()
    assert queue.empty()
    assert (ids(event.added), ids(event.removed), ids(event.snapshot or ())) == ("bcd", "a", "bcd")


async def test_a_slow_reader_doesnt_change_what_a_fast_one_gets() -> None:
    h, slow, fast = hub(), asyncio.Queue[Event](1), asyncio.Queue[Event](1)
    h.attach(slow)
    h.attach(fast)
    told = []
    for step in ("a", "ab", "abc"):
        h.publish(snapshot(*step))
        told.append(ids(fast.get_nowait().added))
    assert told == ["a", "b", "c"]
    assert ids(slow.get_nowait().added) == "abc"


async def test_what_others_put_into_a_full_queue_stays_in_its_order() -> None:
    h, queue = hub(), asyncio.Queue[Event](4)
    mine = [Event(USERS, None, reason="closed") for _ in range(2)]
    h.attach(queue)
    h.publish(snapshot("a"))
    queue.put_nowait(mine[0])
    h.publish(snapshot("b"))
    queue.put_nowait(mine[1])
    h.publish(snapshot("c"))
    got = [queue.get_nowait() for _ in range(queue.qsize())]
    assert got[:2] == mine
    assert [ids(event.added) for event in got[2:]] == ["c"]


async def test_a_queue_full_of_others_items_gets_its_event_once_there_is_room() -> None:
    h, queue = hub(), asyncio.Queue[Event](1)
    h.attach(queue)
    queue.put_nowait(Event(USERS, None))
    h.publish(snapshot("a"))
    assert queue.get_nowait().snapshot is None
    h.publish(snapshot("b"))
    event = queue.get_nowait()
    assert (ids(event.added), ids(event.snapshot or ())) == ("b", "b")


async def test_join_waits_for_just_what_is_left_after_a_merge() -> None:
    h, queue = hub(), asyncio.Queue[Event](2)
    h.attach(queue)
    for step in ("a", "b", "c", "d"):
        h.publish(snapshot(step))
    joined = asyncio.ensure_future(queue.join())
    for _ in range(queue.qsize()):
        await asyncio.sleep(0)
        assert not joined.done()
        queue.get_nowait()
        queue.task_done()
    await asyncio.sleep(0)
    assert joined.done()


async def test_a_reader_of_an_unbounded_queue_that_stopped_costs_bounded_memory() -> None:
    h, queue = hub(), asyncio.Queue[Event]()
    h.attach(queue)
    for number in range(3 * MOST_UNREAD):
        h.publish(snapshot(f"i{number}"))
        assert queue.qsize() <= MOST_UNREAD
    events = [queue.get_nowait() for _ in range(queue.qsize())]
    assert events[-1].snapshot == h.snapshot


async def test_a_task_waiting_in_get_is_given_the_newest() -> None:
    h, queue = hub(), asyncio.Queue[Event](1)
    h.attach(queue)
    reader = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    h.publish(snapshot("a"))
    h.publish(snapshot("a", "b"))
    assert ids((await reader).added) == "ab"


async def test_the_diff_of_an_event_without_a_new_list_is_empty() -> None:
    h, queue = hub(), asyncio.Queue[Event](8)
    h.attach(queue)
    h.publish(snapshot("a"))
    h.publish(h.snapshot, stale=True, error=UnreachableError("refused"), reason="error")
    _, event = queue.get_nowait(), queue.get_nowait()
    assert (event.added, event.removed, event.changed) == ((), (), ())


async def test_age_is_the_time_since_the_last_good_answer_when_the_event_was_made() -> None:
    clock = FakeClock()
    h, queue = hub(clock), asyncio.Queue[Event](8)
    h.attach(queue)
    h.publish(None, stale=True, error=UnreachableError("refused"), reason="error")
    heard = clock.time()
    await clock.advance(3.0)
    h.publish(snapshot("a"), heard_at=heard)
    assert [queue.get_nowait().age for _ in range(2)] == [None, 3.0]


async def test_closing_puts_a_last_event_even_into_a_full_queue() -> None:
    h, queue = hub(), asyncio.Queue[Event](1)
    h.attach(queue)
    h.publish(snapshot("a"))
    h.close()
    event = queue.get_nowait()
    assert (event.closed, event.reason, event.error, ids(event.added)) == (True, "closed", None, "a")
    assert h.subscribers == 0


async def test_closing_again_does_nothing() -> None:
    h, queue = hub(), asyncio.Queue[Event](8)
    h.attach(queue)
    h.close()
    h.close(ValueError("late"))
    assert queue.qsize() == 1
    assert (h.closed, h.error) == (True, None)


async def test_a_queue_that_comes_after_the_closing_learns_of_it() -> None:
    h, queue = hub(), asyncio.Queue[Event](8)
    h.publish(snapshot("a"))
    h.close()
    h.attach(queue)
    event = queue.get_nowait()
    assert event.closed
    assert ids(event.snapshot or ()) == "a"
    assert h.subscribers == 0


async def test_a_queue_that_leaves_gets_nothing_more() -> None:
    h, queue = hub(), asyncio.Queue[Event](8)
    h.attach(queue)
    h.detach(queue)
    h.detach(queue)
    h.publish(snapshot("a"))
    assert queue.empty()


async def test_a_queue_that_leaves_closed_is_told_and_the_others_go_on() -> None:
    h, one, other = hub(), asyncio.Queue[Event](8), asyncio.Queue[Event](8)
    h.attach(one)
    h.attach(other)
    h.detach(one, close=True)
    h.publish(snapshot("a"))
    assert [one.get_nowait().closed, one.qsize()] == [True, 0]
    assert [other.get_nowait().closed, h.closed] == [False, False]


async def test_ready_waits_through_errors_for_the_first_list() -> None:
    h = hub()
    waiter = asyncio.ensure_future(h.ready())
    h.publish(None, stale=True, error=UnreachableError("refused"), reason="error")
    await asyncio.sleep(0)
    assert not waiter.done()
    h.publish(snapshot("a"))
    assert ids(await waiter) == "a"
    assert ids(await h.ready()) == "a"


async def test_ready_counts_an_empty_list_as_heard() -> None:
    h = hub()
    h.publish(snapshot())
    assert len(await h.ready()) == 0


@pytest.mark.parametrize("error", [None, ZeroDivisionError("a bug")])
async def test_ready_raises_why_it_was_closed(error: Exception | None) -> None:
    h = hub()
    waiter = asyncio.ensure_future(h.ready())
    await asyncio.sleep(0)
    h.close(error)
    with pytest.raises(type(error) if error else ClosedError):
        await waiter
    with pytest.raises(type(error) if error else ClosedError):
        h.publish(snapshot("a"))


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Queue.shutdown came with 3.13")
async def test_a_queue_that_was_shut_down_is_let_go() -> None:
    h, queue = hub(), asyncio.Queue[Event](8)
    h.attach(queue)
    queue.shutdown()  # type: ignore[attr-defined]
    h.publish(snapshot("a"))
    assert h.subscribers == 0
    other = asyncio.Queue[Event](8)
    h.attach(other)
    other.shutdown()  # type: ignore[attr-defined]
    h.detach(other, close=True)


LISTS = st.frozensets(st.sampled_from("abcde"))
STEPS = st.lists(st.one_of(LISTS, st.just("read"), st.just("error"), st.just("foreign")), max_size=40)


@settings(deadline=None)
@given(steps=STEPS, size=st.sampled_from([0, 1, 2, 3, 8]), late=st.booleans())
async def test_whatever_is_read_when_the_diffs_lead_to_the_last_list(
    steps: list[frozenset[str] | str], size: int, late: bool
) -> None:
    h, queue = hub(), asyncio.Queue[Event](size)
    if late:
        h.publish(snapshot("x"))
    h.attach(queue)
    foreign = Event(Query("foreign"), None)
    put = got = 0
    known: dict[str, Instance] = {}

    def read() -> None:
        nonlocal got
        event = queue.get_nowait()
        if event is foreign:
            got += 1
            return
        for gone in event.removed:
            del known[gone.id]
        for before, after in event.changed:
            assert known[before.id] == before
            known[after.id] = after
        for new in event.added:
            assert new.id not in known
            known[new.id] = new
        assert event.snapshot is None or sorted(known) == [each.id for each in event.snapshot]

    for number, step in enumerate(steps):
        if step == "read":
            if not queue.empty():
                read()
        elif step == "foreign":
            if not queue.full() and (size == 0 or put - got < size - 1):
                queue.put_nowait(foreign)
                put += 1
        elif step == "error":
            h.publish(h.snapshot, stale=True, error=UnreachableError("refused"), reason="error")
        else:
            # The port changes with each publication, for changed instances.
            h.publish(Snapshot.of(USERS, [instance(id, port=1 + number // 2) for id in step]))
        assert size == 0 or queue.qsize() <= size
    h.close()
    while not queue.empty():
        read()
    assert got == put
    assert sorted(known) == [each.id for each in h.snapshot or ()]
    assert {each.id: each for each in h.snapshot or ()} == known
