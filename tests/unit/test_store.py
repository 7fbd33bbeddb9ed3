"""A folder of lists: whole or not there, for its owner alone, and never in the way."""

import asyncio
import errno
import json
import logging
import os
import stat
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsd import Discovery, FileStore, Instance, Query, StoredSnapshot
from asyncsd.backends.consul import ConsulBackend
from asyncsd.testing import MemoryBackend
from tests.support.scripted import instance
from tests.unit.strategies import listings, words

USERS = Query("users")
LIST = StoredSnapshot((instance("a"), instance("b", status="critical")), 0.0, 42)


class Wall:
    """The time of day, moved by hand."""

    def __init__(self) -> None:
        self.seconds = float(int(time.time()))

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def store(tmp_path: Path, wall: Wall) -> FileStore:
    return FileStore(tmp_path / "lists", now=wall)


def files(store: FileStore) -> list[Path]:
    return sorted(store.path.iterdir())


class TestKeeping:
    async def test_what_was_saved_is_loaded_by_another_program(self, store: FileStore, wall: Wall) -> None:
        await store.save(USERS, LIST)
        assert await FileStore(store.path, now=wall).load(USERS) == LIST

    async def test_its_age_goes_on_between_the_two(self, store: FileStore, wall: Wall) -> None:
        await store.save(USERS, StoredSnapshot(LIST.instances, 30.0))
        wall.seconds += 600.0
        loaded = await store.load(USERS)
        assert loaded is not None
        assert loaded.age == pytest.approx(630.0)

    async def test_a_clock_that_was_put_back_makes_no_age_below_zero(
        self, store: FileStore, wall: Wall
    ) -> None:
        await store.save(USERS, LIST)
        wall.seconds -= 3600.0
        assert await store.load(USERS) == LIST

    async def test_a_list_that_is_too_old_is_not_used(self, tmp_path: Path, wall: Wall) -> None:
        store = FileStore(tmp_path, max_age=60.0, now=wall)
        await store.save(USERS, LIST)
        wall.seconds += 59.0
        assert await store.load(USERS) is not None
        wall.seconds += 2.0
        assert await store.load(USERS) is None

    async def test_without_a_greatest_age_any_will_do(self, tmp_path: Path, wall: Wall) -> None:
        store = FileStore(tmp_path, max_age=None, now=wall)
        await store.save(USERS, LIST)
        wall.seconds += 1e8
        assert await store.load(USERS) is not None

    async def test_nothing_saved_is_nothing_loaded(self, store: FileStore) -> None:
        assert await store.load(USERS) is None
        assert not store.path.exists()

    @pytest.mark.parametrize(
        "other",
        [
            Query("users", tags=("v1",)),
            Query("users", status="warning"),
            Query("users", datacenter="dc2"),
            Query("users", node_meta={"rack": "1"}),
            Query("Users"),
            Query("users/"),
        ],
        ids=repr,
    )
    async def test_another_query_has_another_list(self, store: FileStore, other: Query) -> None:
        await store.save(USERS, LIST)
        assert await store.load(other) is None
        await store.save(other, StoredSnapshot(()))
        assert await store.load(USERS) == LIST

    async def test_equal_queries_have_the_same_list(self, store: FileStore) -> None:
        await store.save(Query("users", node_meta={"a": "1", "b": "2"}), LIST)
        assert await store.load(Query("users", node_meta={"b": "2", "a": "1"})) == LIST

    @given(listings, words, st.integers(0, 2**63) | st.none())
    @settings(max_examples=50)
    async def test_every_list_comes_back_as_it_was(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        listed: list[Instance],
        service: str,
        index: int | None,
    ) -> None:
        store = FileStore(tmp_path_factory.mktemp("lists"), now=Wall())
        query = Query(f"x{service}x", tags=("v1",))
        await store.save(query, StoredSnapshot(tuple(listed), 0.0, index))
        assert await store.load(query) == StoredSnapshot(tuple(listed), 0.0, index)

    async def test_a_file_is_json_that_people_can_read(self, store: FileStore, wall: Wall) -> None:
        await store.save(USERS, LIST)
        (path,) = files(store)
        assert path.name.startswith("users-")
        content = json.loads(path.read_text())["content"]
        assert content["query"]["service"] == "users"
        assert datetime.fromisoformat(content["heard_at"]) == datetime.fromtimestamp(wall.seconds, UTC)
        assert [(each["id"], each["host"], each["port"]) for each in content["instances"]] == [
            ("a", "10.0.0.1", 80),
            ("b", "10.0.0.1", 80),
        ]


class TestOwner:
    async def test_folder_and_file_are_for_their_owner_alone(self, store: FileStore) -> None:
        before = os.umask(0)
        try:
            await store.save(USERS, LIST)
        finally:
            os.umask(before)
        (path,) = files(store)
        assert stat.S_IMODE(store.path.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    async def test_nothing_of_how_the_registry_is_reached_is_in_it(self, store: FileStore) -> None:
        backend = ConsulBackend("http://127.0.0.1:1", token="s3cret")
        async with (
            Discovery(backend, store=store),
            Discovery(MemoryBackend(instance("a")), store=store) as sd,
        ):
            async with sd.watch("users") as events:
                await events.get()
        (path,) = files(store)
        assert "s3cret" not in path.read_text()
        assert "127.0.0.1:1" not in path.read_text()

    async def test_a_link_in_the_place_of_a_file_is_neither_read_nor_written_through(
        self, store: FileStore, tmp_path: Path
    ) -> None:
        await store.save(USERS, LIST)
        (path,) = files(store)
        elsewhere = tmp_path / "elsewhere"
        path.rename(elsewhere)
        path.symlink_to(elsewhere)
        assert await store.load(USERS) is None
        path.symlink_to(elsewhere)
        before = elsewhere.read_bytes()
        await store.save(USERS, StoredSnapshot(()))
        assert not path.is_symlink()
        assert elsewhere.read_bytes() == before

    async def test_a_file_that_everybody_may_write_is_not_believed(self, store: FileStore) -> None:
        await store.save(USERS, LIST)
        files(store)[0].chmod(0o666)
        assert await store.load(USERS) is None

    async def test_a_file_of_another_user_is_not_believed(
        self, store: FileStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        await store.save(USERS, LIST)
        monkeypatch.setattr("os.geteuid", lambda: 12345)
        assert await store.load(USERS) is None
        assert "another user" in caplog.text

    async def test_a_pipe_in_its_place_is_not_waited_for(self, store: FileStore) -> None:
        await store.save(USERS, LIST)
        (path,) = files(store)
        path.unlink()
        os.mkfifo(path)
        assert await store.load(USERS) is None

    async def test_a_folder_in_its_place_is_no_list(self, store: FileStore) -> None:
        await store.save(USERS, LIST)
        (path,) = files(store)
        path.unlink()
        path.mkdir()
        assert await store.load(USERS) is None
        await store.save(USERS, LIST)
        assert await store.load(USERS) == LIST


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[FileStore, Path, bytes]:
    store = FileStore(tmp_path_factory.mktemp("lists"), now=Wall())
    asyncio.run(store.save(USERS, LIST))
    (path,) = files(store)
    return store, path, path.read_bytes()


class TestCorrupt:
    async def test_it_is_set_aside_and_told_of(
        self, store: FileStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        await store.save(USERS, LIST)
        (path,) = files(store)
        path.write_bytes(path.read_bytes()[:-40])
        assert await store.load(USERS) is None
        assert [each.name for each in files(store)] == [f"{path.name}.bad"]
        (told,) = [line for line in caplog.messages if "not used" in line]
        assert str(path) in told
        await store.save(USERS, LIST)
        assert await store.load(USERS) == LIST

    @pytest.mark.parametrize(
        "content",
        [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"version":1}', b"[" * 100_000, b"\0" * 500],
        ids=lambda content: repr(content[:20]),
    )
    async def test_whatever_stands_in_it(self, store: FileStore, content: bytes) -> None:
        await store.save(USERS, LIST)
        files(store)[0].write_bytes(content)
        assert await store.load(USERS) is None

    @given(data=st.data())
    @settings(max_examples=300)
    async def test_damaged_bytes_never_become_another_list(
        self, written: tuple[FileStore, Path, bytes], data: st.DataObject
    ) -> None:
        store, path, whole = written
        start = data.draw(st.integers(0, len(whole)))
        end = data.draw(st.integers(start, min(len(whole), start + 20)))
        damaged = whole[:start] + data.draw(st.binary(max_size=20)) + whole[end:]
        path.write_bytes(damaged)
        assert await store.load(USERS) in (None, LIST)

    async def test_the_file_of_another_query_under_its_name_is_not_believed(self, store: FileStore) -> None:
        other = Query("users", tags=("v1",))
        await store.save(USERS, LIST)
        (path,) = files(store)
        await store.save(other, LIST)
        (taken,) = set(files(store)) - {path}
        path.replace(taken)
        assert await store.load(other) is None

    async def test_a_file_of_a_later_format_is_set_aside(self, store: FileStore) -> None:
        await store.save(USERS, LIST)
        (path,) = files(store)
        path.write_text(path.read_text().replace('"version":1', '"version":2'))
        assert await store.load(USERS) is None
        assert path.with_name(f"{path.name}.bad").exists()


class TestTrouble:
    async def fails_once(self, store: FileStore, caplog: pytest.LogCaptureFixture, what: str) -> str:
        for _ in range(3):
            await store.save(USERS, LIST)
        (told,) = [record for record in caplog.records if record.name == "asyncsd.store"]
        assert told.levelno == logging.WARNING
        assert f"can't be {what}" in told.getMessage()
        return told.getMessage()

    async def test_a_full_disk_is_told_of_once_and_the_old_list_stays(
        self, store: FileStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await store.save(USERS, LIST)

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            assert "No space left" in await self.fails_once(store, caplog, "written")
            assert len(files(store)) == 1
            assert await store.load(USERS) == LIST
        caplog.set_level(logging.INFO, "asyncsd.store")
        await store.save(USERS, StoredSnapshot(()))
        assert caplog.messages[-1].endswith("again")
        assert await store.load(USERS) == StoredSnapshot(())

    async def test_a_file_where_the_folder_should_be(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "lists").write_text("mine")
        store = FileStore(tmp_path / "lists")
        await self.fails_once(store, caplog, "written")
        assert (tmp_path / "lists").read_text() == "mine"

    async def test_a_folder_that_may_only_be_read_is_read(
        self, store: FileStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await store.save(USERS, LIST)
        really = os.open

        def read_only(path: Path, flags: int, mode: int = 0o777) -> int:
            if flags & os.O_CREAT:
                raise OSError(errno.EROFS, "Read-only file system", path)
            return really(path, flags, mode)

        monkeypatch.setattr("os.open", read_only)
        assert "Read-only" in await self.fails_once(store, caplog, "written")
        assert await store.load(USERS) == LIST

    async def test_a_file_that_cant_be_set_aside_is_not_used_all_the_same(
        self, store: FileStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await store.save(USERS, LIST)
        (path,) = files(store)
        path.write_bytes(b"{")

        def refuse(*_: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(Path, "replace", refuse)
        assert await store.load(USERS) is None
        assert "can't be set aside: Read-only file system" in caplog.text

    async def test_a_folder_that_was_removed_is_made_again(self, store: FileStore) -> None:
        await store.save(USERS, LIST)
        for path in files(store):
            path.unlink()
        store.path.rmdir()
        await store.save(USERS, LIST)
        await store.save(USERS, LIST)
        assert await store.load(USERS) == LIST


class TestFolder:
    async def test_what_killed_writers_left_and_lists_too_old_are_removed_and_nothing_else(
        self, tmp_path: Path, wall: Wall
    ) -> None:
        name = f"users-{'0' * 16}.json"
        ages = {
            f"{name}.{'a' * 16}.tmp": 120.0,
            f"{name}.{'b' * 16}.tmp": 10.0,
            f"old-{name}": 4000.0,
            f"new-{name}": 100.0,
            f"old-{name}.bad": 4000.0,
            "notes.json": 4000.0,
            "a.tmp": 4000.0,
        }
        for each, age in ages.items():
            (tmp_path / each).write_text("{}")
            os.utime(tmp_path / each, (wall.seconds - age, wall.seconds - age))
        store = FileStore(tmp_path, max_age=3600.0, now=wall)
        await store.save(USERS, LIST)
        left = {path.name for path in files(store)}
        assert left & ages.keys() == {f"{name}.{'b' * 16}.tmp", f"new-{name}", "notes.json", "a.tmp"}

    async def test_many_writers_of_one_folder_leave_whole_files_and_nothing_else(
        self, store: FileStore, wall: Wall
    ) -> None:
        stores = [FileStore(store.path, now=wall) for _ in range(8)]
        lists = [StoredSnapshot(tuple(instance(str(n)) for n in range(size)), 0.0) for size in range(8)]
        saves = (each.save(USERS, lists[(n + k) % 8]) for k in range(10) for n, each in enumerate(stores))
        await asyncio.gather(*saves)
        assert await store.load(USERS) in lists
        assert len(files(store)) == 1

    async def test_a_disk_that_hangs_stops_neither_the_loop_nor_its_other_threads(
        self, store: FileStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        free = threading.Event()

        def hang(_: int) -> None:
            free.wait()

        monkeypatch.setattr("os.fsync", hang)
        try:
            saves = [asyncio.create_task(store.save(Query(f"s{n}"), LIST)) for n in range(100)]
            async with asyncio.timeout(10.0):
                assert await asyncio.gather(*(asyncio.to_thread(lambda: 1) for _ in range(50))) == [1] * 50
            assert not any(save.done() for save in saves)
        finally:
            free.set()
        await asyncio.gather(*saves)
        assert len(files(store)) == 100

    async def test_its_thread_ends_with_it(self, tmp_path: Path) -> None:
        before = set(threading.enumerate())
        store = FileStore(tmp_path)
        await store.save(USERS, LIST)
        (thread,) = [each for each in set(threading.enumerate()) - before if "asyncsd" in each.name]
        del store
        await asyncio.to_thread(thread.join, 10.0)
        assert not thread.is_alive()


@pytest.mark.parametrize("wrong", [{"every": 0.0}, {"every": "5s"}, {"max_age": -1.0}])
def test_a_value_that_cannot_be_is_refused_by_its_name(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises((TypeError, ValueError), match=next(iter(wrong))):
        FileStore(tmp_path, **wrong)


def test_its_repr_is_how_it_is_made() -> None:
    assert repr(FileStore("lists")) == "FileStore('lists')"
