"""The last list of a query serves over a restart of the program, until the registry answers."""

import asyncio
import logging
import random
import re
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from asyncsd import (
    BackendError,
    Discovery,
    Event,
    Limits,
    Query,
    StoredSnapshot,
    UnreachableError,
    Watcher,
)
from asyncsd.testing import FakeClock, MemoryBackend
from tests.cancellation.steps import cancel_at_every_step
from tests.support.scripted import Line, ScriptedBackend, instance, reply

USERS = Query("users")
DOWN = UnreachableError("connection refused")
BROKEN = BackendError("500 from the agent", status=500)


class MemoryStore:
    """What somebody else's store may look like. `seconds` is how long a call takes."""

    def __init__(self, clock: FakeClock, *ids: str, age: float = 3600.0, index: int | None = 50) -> None:
        self.clock = clock
        self.every = 5.0
        self.kept: dict[Query, StoredSnapshot] = {}
        self.saves: list[tuple[float, StoredSnapshot]] = []
        self.loads = 0
        self.seconds = 0.0
        self.error: Exception | None = None
        if ids:
            self.kept[USERS] = StoredSnapshot(tuple(map(instance, ids)), age, index)

    async def load(self, query: Query) -> StoredSnapshot | None:
        self.loads += 1
        await self._take()
        return self.kept.get(query)

    async def save(self, query: Query, stored: StoredSnapshot) -> None:
        await self._take()
        self.kept[query] = stored
        self.saves.append((self.clock.time() - 1000.0, stored))

    async def _take(self) -> None:
        if self.seconds:
            await self.clock.sleep(self.seconds)
        if self.error is not None:
            raise self.error

    @property
    def saved(self) -> list[str]:
        """When each list was saved, and what was in it."""
        return [f"{when:g} {ids(stored)}" for when, stored in self.saves]


def ids(stored: StoredSnapshot) -> str:
    return "".join(each.id for each in stored.instances)


class World:
    """A watch with a store, on a registry that plays a script."""

    def __init__(
        self, clock: FakeClock, store: MemoryStore, backend: ScriptedBackend, limits: Limits
    ) -> None:
        self.clock = clock
        self.store = store
        self.backend = backend
        self.watcher = Watcher(backend, USERS, limits=limits, clock=clock, rng=random.Random(1), store=store)
        self.queue = asyncio.Queue[Event](100)

    async def events(self, *lines: Line, seconds: float = 0.0) -> list[Event]:
        self.backend.say(*lines)
        await self.clock.advance(seconds)
        return [self.queue.get_nowait() for _ in range(self.queue.qsize())]

    async def told(self, *lines: Line, seconds: float = 0.0) -> list[str]:
        """What is told meanwhile: the reason, the list, and whether it is stale."""
        return [short(event) for event in await self.events(*lines, seconds=seconds)]


def short(event: Event) -> str:
    listed = "-" if event.snapshot is None else "".join(each.id for each in event.snapshot)
    return f"{event.reason}:{listed}{'?' if event.stale else ''}"


@asynccontextmanager
async def watching(
    *lines: Line,
    stored: str = "ab",
    age: float = 3600.0,
    index: int | None = 50,
    limits: Limits | None = None,
) -> AsyncGenerator[World, None]:
    clock = FakeClock()
    store = MemoryStore(clock, *stored, age=age, index=index)
    world = World(clock, store, ScriptedBackend(*lines, clock=clock), limits or Limits())
    task = asyncio.create_task(world.watcher.run(world.queue))
    await clock.settle()
    try:
        yield world
    finally:
        task.cancel()
        await asyncio.wait([task])


class TestServing:
    async def test_a_registry_that_answers_is_believed_and_the_stored_list_not_looked_at(
        self,
    ) -> None:
        async with watching(reply("c", index=51)) as world:
            assert await world.told(seconds=100.0) == ["changed:c"]
            assert world.store.loads == 0

    async def test_the_stored_list_serves_with_its_true_age_once_the_first_fetch_has_failed(self) -> None:
        async with watching(DOWN) as world:
            failed, stored = await world.events()
            assert short(failed) == "error:-?"
            assert short(stored) == "stored:ab?"
            assert stored.error is DOWN
            assert stored.age == 3600.0
            assert [each.id for each in stored.added] == ["a", "b"]

    async def test_it_serves_after_a_second_when_the_first_fetch_hangs(self) -> None:
        async with watching() as world:
            assert await world.told(seconds=0.9) == []
            (stored,) = await world.events(seconds=0.1)
            assert short(stored) == "stored:ab?"
            assert stored.error is None

    async def test_a_slow_answer_within_a_second_spares_it(self) -> None:
        async with watching(0.9, reply("c", index=51)) as world:
            assert await world.told(seconds=2.0) == ["changed:c"]

    async def test_an_answer_that_comes_while_it_is_loaded_wins(self) -> None:
        async with watching(1.1, reply("c", index=51)) as world:
            world.store.seconds = 0.5
            assert await world.told(seconds=5.0) == ["changed:c"]
            assert world.store.loads == 1

    async def test_its_age_grows_on_while_the_registry_is_down(self) -> None:
        async with watching(DOWN, DOWN, BROKEN) as world:
            events = await world.events(seconds=30.0)
            assert [short(event) for event in events] == ["error:-?", "stored:ab?", "error:ab?"]
            assert events[-1].age is not None
            assert 3600.0 < events[-1].age < 3630.0
            assert world.watcher.health().age == 3630.0

    async def test_the_watch_isnt_live_by_a_stored_list(self) -> None:
        async with watching() as world:
            await world.events(seconds=1.0)
            assert world.watcher.health().state == "starting"
            await world.events(reply("a", index=51))
            assert world.watcher.health().state == "live"

    async def test_a_late_reader_gets_it_too(self) -> None:
        async with watching(DOWN) as world:
            late = asyncio.Queue[Event]()
            world.watcher.hub.attach(late)
            assert short(late.get_nowait()) == "stored:ab?"

    async def test_nothing_stored_is_nothing_heard(self) -> None:
        async with watching(DOWN, stored="") as world:
            assert await world.told(seconds=5.0) == ["error:-?"]
            assert world.watcher.hub.snapshot is None

    async def test_an_empty_list_is_nothing_to_serve(self) -> None:
        async with watching(stored="") as world:
            world.store.kept[USERS] = StoredSnapshot(())
            assert await world.told(seconds=5.0) == []

    async def test_what_doesnt_fit_is_restored_as_unfit(self) -> None:
        async with watching() as world:
            critical = instance("x", status="critical")
            world.store.kept[USERS] = StoredSnapshot((instance("a"), critical))
            await world.events(DOWN)
            assert world.watcher.hub.snapshot is not None
            assert world.watcher.hub.snapshot.unfit == (critical,)


class TestTheFirstAnswer:
    async def test_it_replaces_the_stored_list_though_it_follows_an_error(self) -> None:
        async with watching(DOWN, reply("b", "c", index=50)) as world:
            events = await world.events(seconds=2.0)
            assert [short(event) for event in events] == ["error:-?", "stored:ab?", "recovered:bc"]
            assert [each.id for each in events[-1].added] == ["c"]
            assert [each.id for each in events[-1].removed] == ["a"]

    async def test_it_confirms_the_same_list_and_instances_keep_their_object(self) -> None:
        async with watching(DOWN, reply("a", "b", index=50)) as world:
            _, stored, recovered = await world.events(seconds=2.0)
            assert short(recovered) == "recovered:ab"
            assert recovered.snapshot is stored.snapshot
            assert recovered.age == 0.0

    async def test_it_replaces_it_after_a_slow_fetch(self) -> None:
        async with watching(2.0, reply("c", index=50)) as world:
            assert await world.told(seconds=3.0) == ["stored:ab?", "recovered:c"]

    async def test_an_empty_one_right_after_an_error_is_held_and_then_believed(self) -> None:
        async with watching(DOWN, reply(index=60)) as world:
            assert await world.told(seconds=2.0) == ["error:-?", "stored:ab?", "reset:ab?"]
            assert await world.told(seconds=10.0) == ["changed:"]

    async def test_an_empty_one_without_an_error_is_read_once_more_and_believed(self) -> None:
        async with watching(2.0, reply(index=60), reply(index=60)) as world:
            assert await world.told(seconds=5.0) == ["stored:ab?", "recovered:"]
            assert world.backend.calls[-2][1] == Query("users", consistency="consistent")

    async def test_one_with_a_lower_index_than_the_stored_one_tells_of_a_loss_of_data(self) -> None:
        async with watching(DOWN, reply("a", index=7)) as world:
            assert await world.told(seconds=2.0) == ["error:-?", "stored:ab?", "reset:ab?"]
            assert await world.told(reply("a", "b", index=8), seconds=2.0) == ["recovered:ab"]

    async def test_one_that_knows_no_leader_doesnt_take_the_list_away(self) -> None:
        async with watching(DOWN, reply(index=60, known_leader=False)) as world:
            assert await world.told(seconds=2.0) == ["error:-?", "stored:ab?", "reset:ab?"]

    async def test_one_that_knew_nothing_and_no_leader_lets_the_stored_list_serve(self) -> None:
        async with watching(reply(index=60, known_leader=False)) as world:
            assert await world.told(seconds=2.0) == ["stored:ab?"]
            assert await world.told(reply("a", "c", index=61), seconds=2.0) == ["reset:abc?"]
            assert await world.told(seconds=10.0) == ["changed:ac"]

    async def test_a_registry_that_knows_no_leader_for_long_is_believed_after_all(self) -> None:
        async with watching(reply(index=60, known_leader=False)) as world:
            assert await world.told(seconds=11.0) == ["stored:ab?", "changed:"]
            assert world.watcher.health().state == "live"
        assert world.store.kept[USERS].instances == ()

    async def test_a_registry_without_an_index_where_there_was_one_is_doubted(self) -> None:
        async with watching(DOWN, reply("c", index=None)) as world:
            assert await world.told(seconds=2.0) == ["error:-?", "stored:ab?", "reset:abc?"]

    async def test_the_second_one_is_an_answer_like_any(self) -> None:
        lines = (DOWN, reply("a", "b", index=50), DOWN, reply("a", index=50))
        async with watching(*lines) as world:
            assert (await world.told(seconds=5.0))[-3:] == ["recovered:ab", "error:ab?", "reset:ab?"]


class TestSaving:
    async def test_the_first_list_is_saved_at_once(self) -> None:
        async with watching(reply("a", "b", index=7), stored="") as world:
            ((when, stored),) = world.store.saves
            assert (when, ids(stored), stored.age, stored.index) == (0.0, "ab", 0.0, 7)

    async def test_critical_instances_are_kept_as_well(self) -> None:
        async with watching(reply("a", instance("x", status="critical"), index=7), stored="") as world:
            assert world.store.saved == ["0 ax"]

    async def test_a_changing_list_is_saved_every_five_seconds_and_at_the_end(
        self,
    ) -> None:
        async with watching(reply("a", index=7), stored="") as world:
            for number in range(120):
                await world.events(reply("a", instance("b", port=number), index=8 + number), seconds=0.1)
            assert [when for when, _ in world.store.saves] == pytest.approx([0.0, 5.0, 10.0], abs=0.2)
            last = world.watcher.hub.snapshot
        assert last is not None
        assert world.store.kept[USERS].instances == last.instances

    async def test_a_list_that_stays_is_saved_again_each_minute_for_its_age(self) -> None:
        lines = [reply("a", index=7), *[line for _ in range(20) for line in (10.0, reply("a", index=7))]]
        async with watching(*lines, stored="") as world:
            await world.events(seconds=130.0)
            assert world.store.saved == ["0 a", "60 a", "120 a"]
            assert all(stored.age <= 10.0 for _, stored in world.store.saves)

    async def test_the_last_list_is_saved_at_the_end_with_the_age_it_has(self) -> None:
        async with watching(reply("a", index=7), 20.0, reply("a", index=7), stored="") as world:
            await world.events(seconds=30.0)
        (_, first), (_, last) = world.store.saves
        assert first.age == 0.0
        assert last.age == pytest.approx(10.0, abs=0.2)

    async def test_a_list_that_was_saved_is_not_saved_again_at_the_end(self) -> None:
        async with watching(reply("a", index=7), stored="") as world:
            pass
        assert world.store.saved == ["0 a"]

    async def test_an_outage_writes_nothing(self) -> None:
        async with watching(reply("a", index=7), DOWN, stored="") as world:
            await world.events(seconds=300.0)
            assert world.store.saved == ["0 a"]

    async def test_a_stored_list_isnt_saved_as_if_it_had_been_heard(self) -> None:
        async with watching(DOWN) as world:
            await world.events(seconds=300.0)
        assert world.store.saved == []

    async def test_a_list_that_is_doubted_is_not_saved(self) -> None:
        async with watching(reply("a", "b", index=70), reply(index=3), reply(index=3)) as world:
            assert await world.told(seconds=8.0) == ["changed:ab", "reset:ab?"]
            assert world.store.saved == ["0 ab"]
            await world.told(seconds=10.0)
            assert [each.split()[1:] for each in world.store.saved] == [["ab"], []]

    async def test_what_a_doubtful_answer_adds_is_not_saved_before_it_is_believed(self) -> None:
        lines = (reply("a", index=70), reply("a", "b", index=71), reply("c", index=3), reply("c", index=3))
        async with watching(*lines, stored="") as world:
            assert (await world.told(seconds=8.0))[-1] == "reset:abc?"
            assert [each.split()[1] for each in world.store.saved] == ["a"]
            await world.told(seconds=10.0)
            assert [each.split()[1] for each in world.store.saved] == ["a", "c"]

    async def test_an_empty_list_takes_the_place_of_the_one_that_was(self) -> None:
        async with watching(reply("a", index=7), reply(index=8), reply(index=8), stored="") as world:
            await world.events(seconds=10.0)
        assert world.store.kept[USERS].instances == ()


class TestFailing:
    async def test_a_store_that_fails_is_told_of_once_and_harms_nothing(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with watching(reply("a", index=7)) as world:
            world.store.error = OSError("no space left")
            await world.told()
            caplog.clear()
            for number in range(10):
                assert await world.told(reply("a", str(number), index=8 + number), seconds=6.0)
            (told,) = [record for record in caplog.records if record.name == "asyncsd.store"]
            assert "no space left" in told.getMessage()
            world.store.error = None
            await world.events(reply("z", index=20), seconds=6.0)
            assert world.store.saved[-1].endswith("z")

    async def test_a_store_that_cannot_load_leaves_the_watch_as_it_is(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with watching() as world:
            world.store.error = ValueError("no such table")
            assert await world.told(reply("c", index=51), seconds=1.5) == ["changed:c"]

    async def test_a_save_that_hangs_doesnt_stop_the_watch_and_holds_up_its_end_for_two_seconds(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("asyncsd._keeping.CLOSING", 0.05)
        async with watching(reply("a", index=7), stored="") as world:
            world.store.seconds = 1e9
            assert await world.told(reply("b", index=8), seconds=10.0) == ["changed:a", "changed:b"]
        assert "couldn't be saved" in caplog.text

    async def test_a_watch_that_ends_while_its_list_is_loaded_tells_of_no_trouble(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with watching() as world:
            world.store.seconds = 5.0
            await world.events(seconds=2.0)
            await world.backend.aclose()
            assert await world.told(seconds=5.0) == ["closed:-"]
        assert "couldn't be" not in caplog.text

    async def test_a_store_that_cancels_itself_is_told_of(self, caplog: pytest.LogCaptureFixture) -> None:
        async with watching(stored="") as world:

            async def load(query: Query) -> StoredSnapshot | None:
                raise asyncio.CancelledError

            world.store.load = load  # type: ignore[method-assign]
            assert await world.told(reply("c", index=51), seconds=1.5) == ["changed:c"]
            assert world.store.saved != []

    async def test_whatever_moment_it_is_cancelled_at_nothing_is_left_and_the_list_is_saved(self) -> None:
        @asynccontextmanager
        async def world(clock: FakeClock) -> AsyncGenerator[Coroutine[Any, Any, object], None]:
            store = MemoryStore(clock, "a")
            backend = ScriptedBackend(DOWN, reply("b", index=60), reply("b", "c", index=61), clock=clock)
            watcher = Watcher(backend, USERS, clock=clock, rng=random.Random(1), store=store)
            yield watcher.run()
            assert watcher.hub.closed
            assert watcher.hub.subscribers == clock.sleepers == 0
            if (watcher.health().index or 0) >= 60:
                told = "".join(each.id for each in watcher.hub.snapshot or ())
                assert ids(store.kept[USERS]) == told

        assert await cancel_at_every_step(world, limit=60) == 60


class TestDiscovery:
    async def test_a_restarted_program_balances_over_the_stored_list(self) -> None:
        clock = FakeClock()
        store = MemoryStore(clock)
        async with Discovery(MemoryBackend(instance("a"), clock=clock), clock=clock, store=store) as sd:
            async with sd.balancer("users").acquire(timeout=1.0) as found:
                assert found.id == "a"
        async with Discovery(ScriptedBackend(DOWN, clock=clock), clock=clock, store=store) as sd:
            async with sd.balancer("users").acquire(timeout=1.0) as found:
                assert found.id == "a"
            assert sd.balancer("users").statistics().stale

    async def test_each_query_has_a_list_of_its_own(self) -> None:
        clock = FakeClock()
        store = MemoryStore(clock)
        blue = Query("users", tags=("blue",))
        backend = MemoryBackend(instance("a"), instance("b", tags=("blue",)), clock=clock)
        async with Discovery(backend, clock=clock, store=store) as sd:
            async with sd.watch("users") as every, sd.watch(blue) as some:
                await every.get()
                await some.get()
        assert {query: ids(stored) for query, stored in store.kept.items()} == {USERS: "ab", blue: "b"}

    @pytest.mark.parametrize("wrong", ["lists", MemoryStore, 5])
    async def test_what_is_no_store_is_refused_at_once(self, wrong: Any) -> None:
        with pytest.raises(TypeError, match="FileStore"):
            Discovery(MemoryBackend(), store=wrong)

    async def test_from_url_takes_one(self) -> None:
        clock = FakeClock()
        store = MemoryStore(clock)
        async with (
            Discovery.from_url("memory://", store=store, clock=clock) as sd,
            sd.watch("users") as events,
        ):
            await events.get()
        assert USERS in store.kept

    async def test_it_logs_once_that_a_stored_list_serves(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "asyncsd")
        async with watching(DOWN, DOWN, DOWN) as world:
            await world.events(seconds=10.0)
        told = [line for line in caplog.messages if "serve from the store" in line]
        assert told == [
            "2 instances of 'users', heard 3600 s ago, serve from the store until the registry answers"
        ]


@pytest.fixture
def page() -> dict[str, Any]:
    """What the page on stores defines."""
    names: dict[str, Any] = {"__name__": "page"}
    path = Path(__file__).parents[2] / "docs" / "store.md"
    for block in re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL):
        exec(block, names)
    return names


async def test_the_store_on_the_page_keeps_lists(page: dict[str, Any], tmp_path: Path) -> None:
    clock = FakeClock()
    store = page["SQLiteStore"](str(tmp_path / "lists.db"))
    async with Discovery(MemoryBackend(instance("a"), clock=clock), store=store) as sd:
        async with sd.watch("users") as events:
            await events.get()
    store = page["SQLiteStore"](str(tmp_path / "lists.db"))
    async with Discovery(ScriptedBackend(DOWN, clock=clock), store=store) as sd:
        async with sd.watch("users") as events:
            assert short(await events.get()) == "error:-?"
            stored = await events.get()
            assert short(stored) == "stored:a?"
            assert stored.age is not None
            assert 0.0 < stored.age < 30.0
    assert await store.load(Query("users", tags=("v1",))) is None


def test_the_first_lines_of_the_page_make_a_discovery(page: dict[str, Any]) -> None:
    assert "not open" in repr(page["connect"]())
