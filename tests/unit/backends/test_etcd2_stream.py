"""What a real etcd can't be made to do at will: a server in its place that says what the test says."""

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web

from asyncsd import ProtocolError, Query, Reply, UnreachableError
from asyncsd.backends._shared import _http
from asyncsd.backends.etcd2 import Etcd2Backend, _stream
from asyncsd.backends.etcd2._answers import UnavailableError
from asyncsd.backends.etcd2._backend import READS, WAITS
from asyncsd.testing import FakeClock
from tests.support.fake_agent import Asked, FakeAgent


class FakeEtcd(FakeAgent):
    """Folders are empty; `polls` has the long polls that stand, `tell` answers one."""

    def __init__(self) -> None:
        super().__init__()
        self.index = 10
        self.has_leader = True
        self.polls: asyncio.Queue[tuple[Asked, asyncio.Future[bytes]]] = asyncio.Queue()
        self.at_once: list[web.Response | bytes] = []
        self.probes = 0
        self.nodes: list[dict[str, Any]] = []
        self.handle = self._serve

    async def _serve(self, asked: Asked) -> web.StreamResponse:
        request = self.requests[-1]
        headers = {"X-Etcd-Index": str(self.index)}
        if asked.path == "/v2/members/leader":
            self.probes += 1
            body = b"{}" if self.has_leader else b'{"message":"During election"}'
            return web.Response(status=200 if self.has_leader else 503, body=body)
        if ("wait", "true") not in asked.query:
            return web.json_response(
                {"node": {"key": "/services", "dir": True, "nodes": self.nodes}}, headers=headers
            )
        if self.at_once and isinstance(answer := self.at_once.pop(0), web.Response):
            return answer
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        told: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.polls.put_nowait((asked, told))
        await response.write(await told)
        return response

    async def poll(self) -> tuple[str, asyncio.Future[bytes]]:
        """The next long poll: what it waits for, and the future of its answer."""
        async with asyncio.timeout(20):
            asked, told = await self.polls.get()
        return dict(asked.query)["waitIndex"], told

    @property
    def reads(self) -> list[str]:
        """Which reads were exact."""
        return [dict(asked.query)["quorum"] for asked in self.asked if "quorum" in dict(asked.query)]


def event(index: int, key: str) -> bytes:
    return json.dumps({"action": "set", "node": {"key": key, "value": "", "modifiedIndex": index}}).encode()


@pytest.fixture
async def etcd() -> AsyncIterator[FakeEtcd]:
    async with FakeEtcd() as etcd:
        yield etcd


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def backend(etcd: FakeEtcd, clock: FakeClock) -> AsyncIterator[Etcd2Backend]:
    async with Etcd2Backend(etcd.url, clock=clock) as backend:
        yield backend


def fetch(backend: Etcd2Backend, cursor: int | None, **options: Any) -> asyncio.Task[Reply]:
    return asyncio.create_task(backend.fetch(Query("users", **options), cursor))


async def result(task: asyncio.Task[Reply]) -> Reply:
    async with asyncio.timeout(20):
        return await task


async def moved(clock: FakeClock, until: asyncio.Task[Any], step: float, most: float) -> float:
    """Move the clock on by steps until the task is done; how many seconds that took."""
    began = clock.time()
    while not until.done():
        assert clock.time() - began < most, "it isn't done in time"
        await clock.advance(step)
        await asyncio.sleep(0.01)  # The clock is fake, and the network is not.
    return clock.time() - began


async def test_it_goes_on_after_the_change_that_it_heard(etcd: FakeEtcd, backend: Etcd2Backend) -> None:
    waiting = fetch(backend, 10)
    after, told = await etcd.poll()
    assert after == "11"
    told.set_result(event(17, "/services/orders/a"))  # Nobody waits for this one.
    after, told = await etcd.poll()
    assert after == "18"
    assert not waiting.done()
    etcd.index = 20
    told.set_result(event(20, "/services/users/a"))
    assert (await result(waiting)).cursor == 20


async def test_who_comes_later_with_an_older_cursor_misses_nothing(
    etcd: FakeEtcd, backend: Etcd2Backend
) -> None:
    first = fetch(backend, 10)
    _, told = await etcd.poll()
    etcd.index = 20
    told.set_result(event(20, "/services/orders/a"))
    _, told = await etcd.poll()
    orders = asyncio.create_task(backend.fetch(Query("orders"), 15))
    assert (await result(orders)).cursor == 20
    # What was before this long poll isn't known to it.
    assert (await result(asyncio.create_task(backend.fetch(Query("orders"), 9)))).cursor == 20
    users = fetch(backend, 15)
    told.set_result(event(21, "/services/users/a"))
    for task in (first, users):
        await result(task)


async def test_changes_are_remembered_as_long_as_etcd_does_and_no_longer(
    etcd: FakeEtcd, backend: Etcd2Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_stream, "KEPT", 3)
    waiting = fetch(backend, 10)
    for index in range(11, 16):
        _, told = await etcd.poll()
        etcd.index = index
        told.set_result(event(index, f"/services/orders/{index}"))
    await etcd.poll()
    reads = len(etcd.reads)
    await result(fetch(backend, 11))  # 12 is forgotten, and it might have been of users.
    assert len(etcd.reads) == reads + 1
    later = fetch(backend, 12)
    await asyncio.sleep(0)
    assert not later.done()
    for task in (waiting, later):
        task.cancel()


async def test_a_cleared_history_is_read_from_anew_and_listened_to_from_now(
    etcd: FakeEtcd, backend: Etcd2Backend
) -> None:
    body = b'{"errorCode":401,"message":"The event in requested index is outdated and cleared","index":2000}'
    etcd.index = 2000
    etcd.at_once = [web.Response(status=400, body=body, headers={"X-Etcd-Index": "2000"})]
    assert (await result(fetch(backend, 10))).cursor == 2000
    after, _ = await etcd.poll()
    assert after == "2001"


async def test_a_store_that_went_back_is_told_at_once_also_to_who_comes_later(
    etcd: FakeEtcd, backend: Etcd2Backend
) -> None:
    assert (await result(fetch(backend, 500))).index == 10
    assert [(await etcd.poll())[0] for _ in range(2)] == ["501", "11"]
    assert (await result(fetch(backend, 500))).index == 10


async def test_a_reading_behind_the_change_is_made_again_through_the_leader(
    etcd: FakeEtcd, backend: Etcd2Backend
) -> None:
    waiting = fetch(backend, 10)
    _, told = await etcd.poll()
    told.set_result(event(11, "/services/users/a"))  # The list is still at 10.
    await result(waiting)
    assert etcd.reads == ["false", "true"]


async def test_polls_that_end_without_a_word_are_no_busy_loop(
    etcd: FakeEtcd, backend: Etcd2Backend, clock: FakeClock
) -> None:
    waiting = fetch(backend, 10)
    pauses: list[float] = []
    _, told = await etcd.poll()
    for _ in range(8):
        told.set_result(b"")
        polled = asyncio.create_task(etcd.poll())
        pauses.append(round(await moved(clock, polled, 0.1, 60.0), 1))
        _, told = polled.result()
    assert not waiting.done()
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert max(pauses) == pytest.approx(5.0, abs=0.2)
    told.set_result(event(11, "/services/users/a"))
    await result(waiting)


async def test_a_poll_that_begins_again_leaves_out_what_nobody_waits_for(
    etcd: FakeEtcd, backend: Etcd2Backend, clock: FakeClock
) -> None:
    etcd.index = 50
    await result(fetch(backend, None))
    first = fetch(backend, 50)
    _, told = await etcd.poll()
    etcd.index = 5_000  # By the heartbeats of others, say.
    later = fetch(backend, (await result(fetch(backend, None))).cursor)
    first.cancel()
    await asyncio.wait((first,))
    told.set_result(b"")
    polled = asyncio.create_task(etcd.poll())
    await moved(clock, polled, 0.1, 5.0)
    assert polled.result()[0] == "5001"
    assert not later.done()
    later.cancel()


async def test_silence_is_asked_about_and_a_lost_leader_is_an_error_after_an_election(
    etcd: FakeEtcd, backend: Etcd2Backend, clock: FakeClock
) -> None:
    waiting = fetch(backend, 10)
    await etcd.poll()
    assert etcd.probes == 1
    await clock.advance(4.9)
    assert etcd.probes == 1
    etcd.has_leader = False
    took = await moved(clock, waiting, 0.1, 20.0)
    assert 2.9 < took < 10
    with pytest.raises(UnavailableError, match="no leader"):
        waiting.result()


async def test_an_election_wakes_nobody(etcd: FakeEtcd, backend: Etcd2Backend, clock: FakeClock) -> None:
    etcd.has_leader = False
    waiting = fetch(backend, 10)
    while clock.time() < 1_002.0:
        await clock.advance(0.1)
        await asyncio.sleep(0.01)
    assert etcd.probes > 3
    etcd.has_leader = True
    polled = asyncio.create_task(etcd.poll())
    await moved(clock, polled, 0.1, 5.0)
    assert not waiting.done()
    polled.result()[1].set_result(event(11, "/services/users/a"))
    await result(waiting)


async def test_a_stale_read_without_a_leader_is_made_every_few_seconds(
    etcd: FakeEtcd, backend: Etcd2Backend, clock: FakeClock
) -> None:
    etcd.has_leader = False
    waiting = fetch(backend, 10, consistency="stale")
    assert await moved(clock, waiting, 0.5, 20.0) >= 5.0
    assert waiting.result().cursor == 10


async def test_the_end_of_a_wait_is_a_reading_once_in_a_while_alone(
    etcd: FakeEtcd, backend: Etcd2Backend, clock: FakeClock
) -> None:
    etcd.nodes = [{"key": "/services/users/a", "value": "10.0.0.7:80"}]
    reply = await result(fetch(backend, None))
    read: list[int] = []
    for _ in range(2 * WAITS):
        known = len(etcd.reads)
        coming = fetch(backend, 10)
        await moved(clock, coming, 4.0, 60.0)
        assert coming.result() == reply
        read.append(len(etcd.reads) - known)
    assert read == [*[0] * (WAITS - 1), 1] * 2


async def test_the_end_of_a_wait_in_which_nothing_could_be_heard_is_a_reading(
    etcd: FakeEtcd, backend: Etcd2Backend, clock: FakeClock
) -> None:
    etcd.nodes = [{"key": "/services/users/a", "value": "10.0.0.7:80"}]
    await result(fetch(backend, None))
    coming = fetch(backend, 10)
    _, told = await etcd.poll()
    for _ in range(27):
        await clock.advance(2.0)
        await asyncio.sleep(0.01)
    known = len(etcd.reads)
    etcd.has_leader = False
    told.set_result(b"")
    assert await moved(clock, coming, 0.2, 5.0) < 3.0  # Before this is an error.
    assert coming.result().instances
    assert len(etcd.reads) == known + 1


async def test_waits_that_began_together_do_not_end_together(
    etcd: FakeEtcd, backend: Etcd2Backend, clock: FakeClock
) -> None:
    await result(fetch(backend, None))
    waits = [asyncio.create_task(backend.fetch(Query(f"s{number}"), 10)) for number in range(40)]
    await etcd.poll()
    ended: list[int] = []
    for _ in range(14):
        await clock.advance(4.0)
        await asyncio.sleep(0.05)
        ended.append(sum(wait.done() for wait in waits))
    assert ended[9] == 0
    assert ended[-1] == 40
    assert max(after - before for before, after in pairwise(ended)) <= 25


async def test_it_listens_on_for_a_while_and_ends_when_nobody_waits(
    etcd: FakeEtcd, backend: Etcd2Backend, clock: FakeClock
) -> None:
    waiting = fetch(backend, 10)
    _, told = await etcd.poll()
    waiting.cancel()
    await asyncio.wait((waiting,))
    await clock.advance(5.0)
    again = fetch(backend, 10)  # By the same long poll.
    await asyncio.sleep(0.05)
    assert etcd.polls.empty()
    again.cancel()
    await asyncio.wait((again,))
    for _ in range(8):
        await clock.advance(5.0)
        await asyncio.sleep(0.02)
    async with asyncio.timeout(20):
        with pytest.raises(asyncio.CancelledError):  # Its client has hung up.
            await told
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("asyncsd:listen")]


async def test_what_is_no_event_is_an_error_of_all_who_wait(etcd: FakeEtcd, backend: Etcd2Backend) -> None:
    await result(fetch(backend, None))
    tasks = [fetch(backend, 10) for _ in range(2)]
    _, told = await etcd.poll()
    told.set_result(b"<html>a proxy's page</html>")
    for task in tasks:
        with pytest.raises(ProtocolError, match="isn't what etcd's v2 API gives"):
            await result(task)


async def test_an_answer_without_end_is_an_error_and_fills_no_memory(
    etcd: FakeEtcd, backend: Etcd2Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_http, "LARGEST", 1 << 20)
    await result(fetch(backend, None))
    waiting = fetch(backend, 10)
    _, told = await etcd.poll()
    told.set_result(b"7" * (2 << 20))
    with pytest.raises(ProtocolError, match="more than 1 MiB"):
        await result(waiting)

    async def endless(_: Asked) -> web.StreamResponse:
        return web.Response(body=b"7" * (2 << 20))

    etcd.handle = endless
    with pytest.raises(ProtocolError, match="more than 1 MiB"):
        await result(fetch(backend, None))


@pytest.mark.parametrize(
    ("status", "body"),
    [(400, b'{"errorCode":401,"index":10}'), (200, event(10, "/services/orders/a"))],
)
async def test_a_server_that_tells_the_same_at_once_for_ever_is_asked_ever_more_rarely(
    etcd: FakeEtcd, backend: Etcd2Backend, clock: FakeClock, status: int, body: bytes
) -> None:
    waiting = fetch(backend, 10)
    _, told = await etcd.poll()
    etcd.at_once = [
        web.Response(status=status, body=body, headers={"X-Etcd-Index": "10"}) for _ in range(1000)
    ]
    told.set_result(event(10, "/services/orders/a"))
    await moved(clock, asyncio.create_task(clock.sleep(8.0)), 0.25, 20.0)
    assert 1000 - len(etcd.at_once) < 12
    waiting.cancel()


@pytest.mark.parametrize(("options", "most"), [({}, 40), ({"user": "app", "password": "secret"}, READS)])
async def test_where_each_request_checks_a_password_few_read_at_a_time(
    etcd: FakeEtcd, clock: FakeClock, options: dict[str, Any], most: int
) -> None:
    go_on = asyncio.Event()

    async def hold(asked: Asked) -> web.StreamResponse:
        await go_on.wait()
        return web.json_response({"node": {"key": "/services", "dir": True}}, headers={"X-Etcd-Index": "10"})

    etcd.handle = hold
    async with Etcd2Backend(etcd.url, clock=clock, **options) as backend:
        waiting = [fetch(backend, None) for _ in range(40)]
        for _ in range(most):
            async with asyncio.timeout(20):
                await etcd.arrived.acquire()
        waiting[-1].cancel()
        await asyncio.sleep(0.05)
        assert len(etcd.asked) == most
        go_on.set()
        async with asyncio.timeout(20):
            told = await asyncio.gather(*waiting, return_exceptions=True)
        assert [reply for reply in told if not isinstance(reply, Reply)] == [told[-1]]


async def test_a_read_whose_turn_never_comes_says_so(etcd: FakeEtcd, clock: FakeClock) -> None:
    etcd.never()
    async with Etcd2Backend(etcd.url, clock=clock, user="app", password="secret", timeout=60.0) as backend:
        waiting = [fetch(backend, None) for _ in range(READS + 1)]
        for _ in range(READS):
            await etcd.arrived.acquire()
        await clock.advance(30.0)
        with pytest.raises(UnreachableError, match="4 reads before this one had no answer in 30 s"):
            await result(waiting[-1])
        assert not any(task.done() for task in waiting[:-1])
    await asyncio.wait(waiting)


async def test_a_server_that_hangs_is_told_so(
    etcd: FakeEtcd, backend: Etcd2Backend, clock: FakeClock
) -> None:
    etcd.never()
    waiting = fetch(backend, None)
    await etcd.arrived.acquire()
    await clock.advance(5.0)
    with pytest.raises(UnreachableError, match="no answer in 5 s"):
        await result(waiting)
