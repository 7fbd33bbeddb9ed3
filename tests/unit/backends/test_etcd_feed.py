"""The shared watch: no change is missed between a reading and a wait, whatever becomes of the stream."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsd import PermissionDeniedError
from asyncsd.backends.etcd._feed import BRIEF, IDLE, KEPT, SILENT, Feed
from asyncsd.backends.etcd._keys import Keys, Span
from asyncsd.backends.etcd._messages import Event, Header, KeyValue, Watched
from asyncsd.testing import FakeClock

KEYS = Keys("services")
NAMES = ("a", "b", "c")


class Store:
    """A store with a history, and the watches on it: a scripted `Streams`."""

    def __init__(self) -> None:
        self.history: list[tuple[int, bytes]] = []
        self.revision = 1
        self.begun: list[int] = []
        self.cut: asyncio.Future[bool] | None = None
        self.refusal: Exception | None = None
        self._take: Callable[[Watched], bool] | None = None
        self._sent = 0

    async def follow(
        self, span: Span, revision: int, take: Callable[[Watched], bool], *, leader: bool
    ) -> bool:
        assert span == KEYS.all
        assert leader
        self.begun.append(revision)
        if self.refusal is not None:
            raise self.refusal
        self.cut = asyncio.get_running_loop().create_future()
        self._take, self._sent = take, revision
        try:
            self.send(Watched(created=True))
            return await self.cut
        finally:
            self._take = None

    def put(self, name: str) -> None:
        self.revision += 1
        self.history.append((self.revision, f"/services/{name}/x".encode()))

    def send(self, line: Watched, *, revision: int | None = None) -> None:
        line.header = Header(self.revision if revision is None else revision)
        if self._take is not None and self.cut is not None and self._take(line) and not self.cut.done():
            self.cut.set_result(False)

    def deliver(self, count: int | None = None) -> None:
        """Send events, each in a line of its own."""
        if self._take is not None:
            for revision, key in [item for item in self.history if item[0] > self._sent][:count]:
                self._sent = revision
                self.send(Watched(events=[Event(KeyValue(key, mod_revision=revision))]))

    def say_nothing(self) -> None:
        self.send(Watched(), revision=0)

    def break_off(self) -> None:
        assert self.cut is not None
        self.cut.set_result(True)


class Waits:
    """Those who wait on a feed."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self.tasks: list[tuple[str, int, asyncio.Task[list[Event] | None]]] = []

    def begin(self, name: str, revision: int) -> asyncio.Task[list[Event] | None]:
        task = asyncio.get_running_loop().create_task(self._feed.changed(KEYS.service(name), revision))
        self.tasks.append((name, revision, task))
        return task

    async def aclose(self) -> None:
        for _, _, task in self.tasks:
            task.cancel()
        await asyncio.gather(*(task for _, _, task in self.tasks), return_exceptions=True)
        await self._feed.aclose()


def parts() -> tuple[Store, FakeClock, Feed, Waits]:
    store, clock = Store(), FakeClock()
    streams: Any = store
    feed = Feed(streams, clock, KEYS, leader=True)
    return store, clock, feed, Waits(feed)


step = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(NAMES)),
    st.tuples(st.just("read"), st.sampled_from(NAMES)),
    st.tuples(st.just("wait"), st.sampled_from(NAMES)),
    st.tuples(st.just("deliver"), st.integers(1, 3)),
    st.tuples(st.just("cut"), st.sampled_from([BRIEF / 2, BRIEF * 2])),
    st.tuples(st.just("silence"), st.sampled_from([1.0, SILENT * 2])),
)


@given(st.lists(step, max_size=40))
async def test_whoever_waits_hears_of_each_change_since_his_reading(steps: list[tuple[str, Any]]) -> None:
    store, clock, feed, waits = parts()
    cursors = dict.fromkeys(NAMES, 1)
    for kind, what in steps:
        match kind:
            case "put":
                store.put(what)
            case "read":
                cursors[what] = store.revision
                feed.seen(store.revision)
            case "wait":
                waits.begin(what, cursors[what])
            case "deliver":
                store.deliver(what)
            case "cut" if store.cut is not None and not store.cut.done():
                await clock.advance(what)
                if not store.cut.done():
                    store.break_off()
            case "silence":
                await clock.advance(what)
                store.say_nothing()
            case _:
                pass
        await clock.settle()
    store.deliver()
    await clock.settle()
    for name, revision, task in waits.tasks:
        key = f"/services/{name}/x".encode()
        news = [changed for changed, where in store.history if changed > revision and where == key]
        assert task.done() or not news
        if task.done() and (told := task.result()) is not None:
            assert [event.kv.mod_revision for event in told] == news[: len(told)] != []
    await waits.aclose()


async def test_who_waits_for_another_service_sleeps_on() -> None:
    store, clock, feed, waits = parts()
    tasks = [waits.begin(name, 1) for name in NAMES]
    whole = asyncio.create_task(feed.changed(KEYS.all, 1))
    one = asyncio.create_task(feed.changed(Span(b"/services/a/x"), 1))
    other = asyncio.create_task(feed.changed(Span(b"/services/a/y"), 1))
    await clock.settle()
    store.put("a")
    store.deliver()
    await clock.settle()
    assert [task.done() for task in [*tasks, whole, one, other]] == [True, False, False, True, True, False]
    assert store.begun == [1]
    other.cancel()
    await waits.aclose()


async def test_who_has_read_what_passed_sleeps() -> None:
    store, clock, _, waits = parts()
    waits.begin("b", 1)
    await clock.settle()
    store.put("a")
    store.deliver()
    late, new = waits.begin("a", 1), waits.begin("a", 2)
    await clock.settle()
    assert (late.done(), new.done()) == (True, False)
    await waits.aclose()


async def test_all_changes_of_a_line_are_told() -> None:
    store, clock, _, waits = parts()
    one, other = waits.begin("a", 1), waits.begin("b", 1)
    await clock.settle()
    keys = (b"/services/a/x", b"/services/b/x", b"/services/a/y")
    store.send(Watched(events=[Event(KeyValue(key, mod_revision=2)) for key in keys]))
    await clock.settle()
    assert [event.kv.key for event in one.result() or ()] == [b"/services/a/x", b"/services/a/y"]
    assert [event.kv.key for event in other.result() or ()] == [b"/services/b/x"]
    await waits.aclose()


async def test_a_lost_server_costs_nobody_a_reading() -> None:
    store, clock, _, waits = parts()
    task = waits.begin("a", 1)
    await clock.settle()
    store.put("b")
    store.deliver()
    await clock.advance(BRIEF * 2)
    store.break_off()
    await clock.settle()
    assert store.begun == [1, 2]
    assert not task.done()
    store.put("a")
    store.deliver()
    await clock.settle()
    assert task.done()
    await waits.aclose()


async def test_a_silent_watch_is_begun_anew_from_what_those_who_wait_have_read() -> None:
    store, clock, feed, waits = parts()
    first = waits.begin("a", 1)
    await clock.settle()
    for _ in range(8):
        store.put("elsewhere")  # And the connection is dead: none of it comes.
    feed.seen(9)
    first.cancel()
    late, later = waits.begin("a", 7), waits.begin("b", 9)
    await clock.advance(SILENT / 2)
    store.say_nothing()
    await clock.advance(SILENT)
    assert store.begun == [1]
    store.say_nothing()
    await clock.settle()
    assert store.begun == [1, 7]
    assert not late.done()
    assert not later.done()
    # What passed before is forgotten.
    old = waits.begin("c", 6)
    await clock.settle()
    assert old.done()
    await waits.aclose()


async def test_a_stream_that_ends_at_once_is_left_to_the_pace_of_those_who_wait() -> None:
    store, clock, _, waits = parts()
    task = waits.begin("a", 1)
    await clock.settle()
    store.break_off()
    await clock.settle()
    assert store.begun == [1]
    assert task.done()
    await waits.aclose()


async def test_a_store_that_lost_its_data_sends_all_to_read() -> None:
    store, clock, feed, waits = parts()
    store.revision = 9
    task = waits.begin("a", 9)
    await clock.settle()
    await clock.advance(BRIEF * 2)
    store.revision = 4
    store.break_off()
    await clock.settle()
    assert task.done()
    # And a cursor of the store before, which nobody has told of since.
    feed.seen(4)
    rest = waits.begin("b", 4)
    await clock.settle()
    late = waits.begin("a", 9)
    await clock.settle()
    assert (rest.done(), late.done()) == (False, True)
    await waits.aclose()


async def test_a_cursor_older_than_what_is_remembered_is_sent_to_read() -> None:
    store, clock, _, waits = parts()
    waits.begin("a", 1)
    await clock.settle()
    for _ in range(KEPT + 2):
        store.put("b")
    store.deliver()
    old, new = waits.begin("c", 2), waits.begin("c", 3)
    await clock.settle()
    assert (old.done(), new.done()) == (True, False)
    await waits.aclose()


async def test_nobody_waiting_ends_it_after_a_while_and_the_next_begins_anew() -> None:
    store, clock, feed, waits = parts()
    task = waits.begin("a", 1)
    await clock.settle()
    task.cancel()
    await clock.advance(IDLE / 2)
    store.say_nothing()
    await clock.settle()
    assert "running" in repr(feed)
    await clock.advance(IDLE)
    store.say_nothing()
    await clock.settle()
    assert "idle" in repr(feed)
    store.put("b")
    waits.begin("a", 2)
    await clock.settle()
    assert store.begun == [1, 2]
    await waits.aclose()


@pytest.mark.parametrize("refusal", [PermissionDeniedError("no"), RuntimeError("a bug")])
async def test_what_ends_it_is_raised_where_somebody_waits(refusal: Exception) -> None:
    store, clock, feed, waits = parts()
    store.refusal = refusal
    tasks = [waits.begin(name, 1) for name in NAMES]
    await clock.settle()
    assert [task.exception() for task in tasks] == [refusal] * 3
    assert "idle" in repr(feed)
    await waits.aclose()
