"""Programs that are killed, and registries that are down when they start again."""

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from asyncsd import Discovery, Event, FileStore, Limits, Query, RoundRobin
from asyncsd._subscription import Subscription
from asyncsd.backends.consul import ConsulBackend
from asyncsd.testing import FakeClock
from tests.support.consul import AGENTS, AgentProcess

USERS = Query("users")

# Each child finds what the one before it left when it was killed, and writes lists of which every instance
# tells the number.
WRITERS = """
import asyncio, itertools, os, random, signal, sys, time
from asyncsd import FileStore, Instance, Query, StoredSnapshot

def numbered(number):
    ids = range(random.randrange(300, 600))
    return tuple(Instance(id=str(id), service="users", host="10.0.0.1", port=number) for id in ids)

async def write(folder, first):
    store, query = FileStore(folder), Query("users")
    if not first:
        found = await store.load(query)
        assert found is not None and len(found.instances) >= 300, found
        assert len({each.port for each in found.instances}) == 1
    os.write(1, b".")
    for number in itertools.count(1):
        await store.save(query, StoredSnapshot(numbered(number % 60_000)))
        if first:
            return

folder, least, most = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
asyncio.run(write(folder, True))
for kills in range(most):
    if kills >= least and any(name.endswith(".tmp") for name in os.listdir(folder)):
        break
    seen, told = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(told, 1)
        random.seed()
        asyncio.run(write(folder, False))
    os.close(told)
    if os.read(seen, 1) != b".":
        sys.exit("a killed writer left what isn't whole")
    os.close(seen)
    time.sleep(random.uniform(0.0, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def files(folder: Path, suffix: str) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix == suffix]


async def test_a_writer_that_is_killed_at_any_moment_leaves_a_whole_list(tmp_path: Path) -> None:
    least, most = 30, 300  # On a busy machine a writer may not have come to write when it is killed.
    command = (sys.executable, "-W", "ignore", "-c", WRITERS, str(tmp_path), str(least), str(most))
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    stored = await FileStore(tmp_path).load(USERS)
    assert stored is not None
    assert len({each.port for each in stored.instances}) == 1
    left = files(tmp_path, ".tmp")
    assert 0 < len(left) <= most, "none was killed in the middle of a file: the test shows nothing"
    assert not files(tmp_path, ".bad")
    for path in left:
        os.utime(path, (time.time() - 100.0, time.time() - 100.0))
    await FileStore(tmp_path).save(USERS, stored)
    assert not files(tmp_path, ".tmp")


# Watches until it is killed, and tells when its list is in the store.
PROGRAM = """
import asyncio, sys
from asyncsd import Discovery, FileStore
from asyncsd.backends.consul import ConsulBackend

class Telling(FileStore):
    async def save(self, query, stored):
        await super().save(query, stored)
        print(len(stored.instances), flush=True)

async def main(url, folder):
    async with Discovery(ConsulBackend(url), store=Telling(folder, every=0.05)) as sd:
        async with sd.watch("users") as events:
            async for event in events:
                pass

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(params=[pytest.param("consul", marks=pytest.mark.server("consul")), "embedded"])
async def agent(request: pytest.FixtureRequest) -> AsyncIterator[AgentProcess]:
    async with AGENTS[request.param]() as agent:
        yield agent


async def register(agent: AgentProcess, *ids: str) -> None:
    for number, id in enumerate(ids):
        body = {"ID": id, "Name": "users", "Address": "127.0.0.1", "Port": 9000 + number}
        await agent.put("/v1/agent/service/register", body)


async def killed_program(agent: AgentProcess, folder: Path, count: int) -> None:
    """Run a program that watches, and kill it once it has stored so many instances."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, agent.url, str(folder), stdout=PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20.0):
            while int(await process.stdout.readline()) < count:
                pass
    finally:
        process.kill()
        await process.wait()


async def until(events: Subscription, reason: str) -> Event:
    async with asyncio.timeout(20.0):
        async for event in events:
            if event.reason == reason:
                return event
    raise AssertionError(f"the watch was closed before it told {reason!r}")


def ids(event: Event) -> list[str]:
    return [each.id for each in event.snapshot or ()]


async def test_a_program_that_starts_with_its_registry_down_goes_on_where_the_killed_one_was(
    agent: AgentProcess, tmp_path: Path
) -> None:
    await register(agent, "a", "b")
    await killed_program(agent, tmp_path, 2)
    agent.kill()
    limits = Limits(reset_hold=1.0)
    async with Discovery(ConsulBackend(agent.url), limits=limits, store=FileStore(tmp_path)) as sd:
        users = sd.balancer("users", RoundRobin())
        async with users.acquire(timeout=10.0) as first:
            assert first.id in "ab"
        assert {users.pick().port, users.pick().port} == {9000, 9001}
        async with sd.watch("users") as events:
            event = await until(events, "stored")
            assert ids(event) == ["a", "b"]
            assert event.age is not None
            assert 0.0 <= event.age < 60.0
            # It comes back without its data: no reason to believe that nobody is there.
            await agent.start()
            assert ids(await until(events, "reset")) == ["a", "b"]
            await register(agent, "b", "c")
            event = await until(events, "changed")
            while event.stale or ids(event) != ["b", "c"]:
                event = await until(events, "changed")
    loaded = await FileStore(tmp_path).load(USERS)
    assert loaded is not None
    assert [each.id for each in loaded.instances] == ["b", "c"]


async def test_a_registry_that_takes_requests_and_answers_none_is_waited_for_a_second(
    agent: AgentProcess, tmp_path: Path
) -> None:
    await register(agent, "a", "b")
    async with Discovery(ConsulBackend(agent.url), store=FileStore(tmp_path)) as sd:
        async with sd.watch("users") as events:
            await events.get()
    agent.freeze()
    try:
        async with Discovery(ConsulBackend(agent.url), store=FileStore(tmp_path)) as sd:
            async with sd.watch("users") as events:
                began = time.monotonic()
                event = await events.get()
                assert (event.reason, event.error, ids(event)) == ("stored", None, ["a", "b"])
                assert 0.9 < time.monotonic() - began < 8.0
                assert events.health().state == "starting"
                agent.thaw()
                event = await until(events, "recovered")
                assert (event.stale, ids(event)) == (False, ["a", "b"])
    finally:
        agent.thaw()


async def test_a_registry_that_is_well_decides_from_the_first_moment(
    agent: AgentProcess, tmp_path: Path
) -> None:
    await register(agent, "a", "b")
    await killed_program(agent, tmp_path, 2)
    await agent.put("/v1/agent/service/deregister/a")
    # The second for which the registry is waited for doesn't pass, however late the agent answers.
    clock = FakeClock()
    async with Discovery(ConsulBackend(agent.url), store=FileStore(tmp_path), clock=clock) as sd:
        async with sd.watch("users") as events:
            event = await events.get()
            assert (event.reason, event.stale, ids(event)) == ("changed", False, ["b"])
