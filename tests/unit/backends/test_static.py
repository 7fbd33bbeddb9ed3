"""A static list that changes under its readers: real files, and looks that are frequent."""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from asyncsd import (
    ClosedError,
    Discovery,
    Event,
    Instance,
    NoInstances,
    Query,
    Registration,
    Subscription,
    UnreachableError,
    UnsupportedError,
)
from asyncsd.backends.static import StaticBackend
from asyncsd.testing import FakeClock

A, B, C = "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"
ME = Registration(service="users", port=80)


def text(*users: str, **others: list[str]) -> str:
    lists = {"users": list(users), **others}
    return "[services]\n" + "".join(f"{name} = {addresses}\n" for name, addresses in lists.items())


def write(file: Path, content: str | None) -> None:
    """In place; None removes it."""
    if content is None:
        file.unlink()
    else:
        file.write_text(content)


def replace(file: Path, content: str) -> None:
    """As editors and careful programs write."""
    new = file.with_name("new")
    new.write_text(content)
    new.replace(file)


def change_unseen(file: Path, content: str, change: Callable[[Path, str], None]) -> None:
    """To the same size and time."""
    before = file.stat()
    change(file, content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "services.toml"
    path.write_text(text(A, B, orders=[C]))
    return path


class Watched:
    """A watch of users, and what it told."""

    def __init__(self, sd: Discovery[StaticBackend], events: Subscription) -> None:
        self.sd = sd
        self.events = events

    async def next(self) -> str:
        """The next Event in short: its reason, the ports' hosts, and whether it is stale."""
        async with asyncio.timeout(10.0):
            return short(await self.events.get())


def short(event: Event) -> str:
    last = "-" if event.snapshot is None else "".join(each.host[-1] for each in event.snapshot)
    return f"{event.reason}:{last}{'?' if event.stale else ''}"


@asynccontextmanager
async def watching(file: Path) -> AsyncGenerator[Watched, None]:
    async with Discovery(StaticBackend(file=file, interval=0.02)) as sd, sd.watch("users") as events:
        yield Watched(sd, events)


async def test_a_list_in_the_program_is_balanced_over() -> None:
    mine = Instance("mine", "users", "10.0.0.9", 80, tags=("v1",))
    async with Discovery(StaticBackend({"users": [A, {"address": B, "status": "critical"}, mine]})) as sd:
        assert [each.host for each in await sd.instances("users")] == ["10.0.0.1", "10.0.0.9"]
        assert (await sd.instances(Query("users", tags=("v1",))))[0] is mine
        assert await sd.services() == {"users": ("v1",)}
        async with sd.balancer("users").acquire(timeout=5.0) as instance:
            assert instance.port == 80


async def test_what_changes_is_told_and_what_stays_keeps_its_object(file: Path) -> None:
    async with watching(file) as watch:
        assert await watch.next() == "changed:12"
        before = watch.events.snapshot
        replace(file, text(B, C))
        assert await watch.next() == "changed:23"
        assert before is not None
        assert watch.events.snapshot is not None
        assert watch.events.snapshot[0] is before[1]


async def test_another_service_wakes_nobody_and_neither_does_the_same_list(file: Path) -> None:
    async with StaticBackend(file=file, interval=0.02) as backend:
        users = await backend.fetch(Query("users"), None)
        waiting = asyncio.create_task(backend.fetch(Query("users"), users.cursor))
        for content in (text(A, B, orders=[A]), text(A, B, orders=[A]) + "# the same\n", text(A, B)):
            orders = await backend.fetch(Query("orders"), None)
            replace(file, content)
            if "#" not in content:
                async with asyncio.timeout(10.0):
                    await backend.fetch(Query("orders"), orders.cursor)
        assert not waiting.done()
        replace(file, text(A))
        async with asyncio.timeout(10.0):
            assert len((await waiting).instances) == 1


@pytest.mark.parametrize("bad", ["[services]\nusers = [\n", text("10.0.0.1"), "", None], ids=str)
async def test_a_bad_file_leaves_the_old_list_serving_and_is_told(file: Path, bad: str | None) -> None:
    async with watching(file) as watch:
        await watch.next()
        write(file, bad)
        assert await watch.next() == "error:12?"
        health = watch.events.health()
        assert isinstance(health.error, UnreachableError)
        assert str(file) in str(health.error)
        async with watch.sd.balancer("users").acquire(timeout=5.0) as instance:
            assert instance.port == 80
        assert len(await watch.sd.instances("users")) == 2, "who asks once gets it too"
        replace(file, text(A))
        assert await watch.next() == "recovered:1", "what is gone is gone: nothing is held"


async def test_a_watch_that_begins_while_the_file_is_bad_has_the_old_list(file: Path) -> None:
    async with watching(file) as watch:
        await watch.next()
        write(file, "[services\n")
        assert await watch.next() == "error:12?"
        async with watch.sd.watch("orders") as orders, asyncio.timeout(10.0):
            assert short(await orders.get()) == "error:3?"
            replace(file, text(A, orders=[C]))
            assert short(await orders.get()) == "recovered:3"


async def test_what_stays_as_it_was_stays_the_same_object(file: Path) -> None:
    async with StaticBackend(file=file, interval=0.02) as backend:
        before = await backend.fetch(Query("users"), None)
        replace(file, text(C, B, orders=[C]))
        async with asyncio.timeout(10.0):
            after = await backend.fetch(Query("users"), before.cursor)
        assert after.instances[1] is before.instances[1]


async def test_each_error_is_logged_once_and_the_recovery_too(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "asyncsd.static")
    async with StaticBackend(file=file, interval=0.02) as backend:

        async def another(content: str) -> None:
            cursor: Any = (await backend.fetch(Query("users"), None)).cursor
            write(file, content)
            async with asyncio.timeout(10.0):
                await backend.fetch(Query("users"), cursor)

        await another("[services")
        await another(text("10.0.0.1"))
        await another(text(A))
    said = [(record.levelname, record.message.partition(f"{file}")[2]) for record in caplog.records]
    assert [level for level, _ in said] == ["INFO", "WARNING", "WARNING", "INFO"]
    assert said[0][1] == ": 3 instances of 2 services"
    assert said[1][1].startswith(", line 1: it is no TOML: ")
    assert said[2][1].startswith(", line 2: services.users[0] is an address with a port")
    assert said[2][1].endswith("; 3 instances of 2 services that were read before serve on")


async def test_a_file_that_is_missing_at_first_may_come(tmp_path: Path) -> None:
    file = tmp_path / "services.toml"
    async with watching(file) as watch:
        assert await watch.next() == "error:-?"
        with pytest.raises(NoInstances, match="there is no such file: create it, or mend the path"):
            async with watch.sd.balancer("users").acquire(timeout=0.1):
                pass
        with pytest.raises(UnreachableError, match="no such file"):
            await watch.sd.services()
        replace(file, text(A))
        assert await watch.next() == "recovered:1"


async def test_a_link_that_is_turned_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes puts the new files of a ConfigMap in the place of the old ones."""
    for version, users in (("v1", [A]), ("v2", [B])):
        (tmp_path / version).mkdir()
        (tmp_path / version / "services.toml").write_text(text(*users))
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "services.toml").symlink_to("..data/services.toml")
    async with watching(tmp_path / "services.toml") as watch:
        assert await watch.next() == "changed:1"
        (tmp_path / "..new").symlink_to("v2")
        (tmp_path / "..new").replace(tmp_path / "..data")
        assert await watch.next() == "changed:2"


@pytest.mark.parametrize("change", [replace, write])
async def test_the_same_size_and_time_hide_no_change(file: Path, change: Callable[[Path, str], None]) -> None:
    async with watching(file) as watch:
        await watch.next()
        change_unseen(file, text(A, C, orders=[C]), change)
        assert await watch.next() == "changed:13"


async def test_what_is_for_reading_only_says_so(file: Path) -> None:
    async with Discovery(StaticBackend(file=file)) as sd:
        sd_for_anything: Discovery[Any] = sd
        with pytest.raises(UnsupportedError, match="StaticBackend is for reading only"):
            sd_for_anything.register(ME)


async def test_a_query_for_what_a_list_has_not_is_refused(file: Path) -> None:
    users = [{"address": A, "datacenter": "eu"}, {"address": B, "datacenter": "us"}]
    async with StaticBackend({"users": users}) as backend:
        found = await backend.fetch(Query("users", datacenter="us"), None)
        assert [each.host for each in found.instances] == ["10.0.0.2"]
        for query in (Query("users", filter="Node == x"), Query("users", node_meta={"a": "b"})):
            with pytest.raises(UnsupportedError, match="use tags"):
                await backend.fetch(query, None)


# What only a clock of its own, or a file system that hangs, can show.


class Disk:
    """A file as the follower sees it, with reads that can be made to hang."""

    def __init__(self, backend: StaticBackend) -> None:
        self._file: Any = backend._file
        self._free = threading.Event()
        self._free.set()
        self.reads = 0
        backend._follower._file = self  # type: ignore[union-attr, assignment]

    def __str__(self) -> str:
        return str(self._file)

    @property
    def path(self) -> Path:
        return self._file.path  # type: ignore[no-any-return]

    def state(self) -> Any:
        assert self._free.wait(10.0)
        return self._file.state()

    def read(self) -> Any:
        self.reads += 1
        return self._file.read()

    def hang(self) -> None:
        self._free.clear()

    def go_on(self) -> None:
        self._free.set()


async def pass_(clock: FakeClock, seconds: float) -> None:
    """Let time pass, and the threads answer on the way."""
    async with asyncio.timeout(10.0):
        end = clock.time() + seconds
        while clock.time() < end:
            while clock.next_due is None or any(  # noqa: ASYNC110 - a thread tells nobody
                each.name.startswith("asyncsd-static") for each in threading.enumerate()
            ):
                await asyncio.sleep(0.001)
            await clock.advance(0.05)


async def test_a_file_is_read_once_it_stays_as_it_is(file: Path) -> None:
    clock = FakeClock()
    backend = StaticBackend(file=file, clock=clock)
    disk = Disk(backend)
    async with backend:
        before = await backend.fetch(Query("users"), None)
        await pass_(clock, 5.0)
        assert disk.reads == 1
        await pass_(clock, 0.9)
        with file.open("w") as half:
            half.write("[services]\nusers = ['10.0.0.1:80']\n")
            for number in range(8):  # More often than it has to stay as it is.
                half.write(f"more-{number} = []\n")
                half.flush()
                await pass_(clock, 0.05)
                assert (await backend.fetch(Query("users"), None)).instances == before.instances
        await pass_(clock, 0.4)
        assert disk.reads == 2
        assert len((await backend.fetch(Query("users"), None)).instances) == 1


async def test_an_error_that_stays_is_no_news(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    backend = StaticBackend(file=file, clock=clock)
    disk = Disk(backend)
    async with backend:
        write(file, text("10.0.0.1"))
        await pass_(clock, 2.0)
        reply, reads = await backend.fetch(Query("users"), None), disk.reads
        write(file, text("10.0.0.1") + "# still\n")
        await pass_(clock, 2.0)
        assert disk.reads > reads
        assert (await backend.fetch(Query("users"), None)).cursor == reply.cursor
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


async def test_a_file_that_is_away_for_a_moment_is_no_error(file: Path) -> None:
    clock = FakeClock()
    async with StaticBackend(file=file, clock=clock) as backend:
        write(file, None)
        await pass_(clock, 1.05)
        write(file, text(A))
        await pass_(clock, 2.0)
        assert len((await backend.fetch(Query("users"), None)).instances) == 1
        assert backend._errors == 0


async def test_a_file_system_that_hangs_is_told_and_recovers(file: Path) -> None:
    clock = FakeClock()
    backend = StaticBackend(file=file, clock=clock)
    disk = Disk(backend)
    async with backend:
        reply = await backend.fetch(Query("users"), None)
        disk.hang()
        waiting = asyncio.create_task(backend.fetch(Query("users"), reply.cursor))
        await clock.advance(10.0)
        told = await waiting
        assert told.instances == reply.instances
        assert "it couldn't be read within 5 s" in str(told.trust.error)
        disk.go_on()
        async with asyncio.timeout(10.0):
            recovered = asyncio.create_task(backend.fetch(Query("users"), told.cursor))
            await pass_(clock, 2.0)
            assert (await recovered).trust is None


async def test_closing_while_the_file_system_hangs_takes_no_time(file: Path) -> None:
    backend = StaticBackend(file=file, interval=0.01)
    disk = Disk(backend)
    async with asyncio.timeout(5.0):
        async with backend:
            disk.hang()
            reply = await backend.fetch(Query("users"), None)
            waiting = asyncio.create_task(backend.fetch(Query("users"), reply.cursor))
            await asyncio.sleep(0)
        with pytest.raises(ClosedError):
            await waiting
    disk.go_on()


async def test_a_bug_is_logged_and_told_and_the_list_serves_on(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = StaticBackend(file=file, interval=0.02)
    disk = Disk(backend)
    async with backend, asyncio.timeout(10.0):
        before = await backend.fetch(Query("users"), None)
        disk.state = lambda: 1 / 0  # type: ignore[method-assign]
        after = await backend.fetch(Query("users"), before.cursor)
        assert after.instances == before.instances
        assert "it isn't followed any more, for a bug: ZeroDivisionError" in str(after.trust.error)
    assert "Traceback" in caplog.text
    disk = Disk(backend := StaticBackend(file=file))
    disk.read = lambda: 1 / 0  # type: ignore[method-assign]
    async with backend, asyncio.timeout(10.0):
        with pytest.raises(UnreachableError, match="for a bug"):
            await backend.fetch(Query("users"), None)


async def test_opening_that_is_cancelled_leaves_nothing(file: Path) -> None:
    backend = StaticBackend(file=file)
    disk = Disk(backend)
    disk.read = disk.state  # type: ignore[method-assign]
    disk.hang()
    opening = asyncio.create_task(backend.__aenter__())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert not backend.is_open
    disk.go_on()
