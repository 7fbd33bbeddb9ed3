"""More watches than an agent is to hold for us: a feed tells of changes, and what becomes of it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from asyncsd import Query, Reply, UnreachableError
from asyncsd.backends.consul import ConsulBackend, _feed, _feeds, _reading, _slots, _sweep
from tests.e2e.support import counted
from tests.support.fake_agent import Asked, FakeAgent
from tests.support.fake_catalog import FakeCatalog
from tests.support.hurried import hurried

FEED = "/v1/health/state/critical"
HELD = dict.fromkeys(
    (FEED, "/v1/health/state/warning", "/v1/catalog/nodes", "/v1/catalog/node-services/n1"), 1
)
MOST = 6
"""max_watches; up to half as many nodes are followed."""


@pytest.fixture
async def agent() -> AsyncIterator[FakeAgent]:
    async with FakeAgent() as agent:
        yield agent


@pytest.fixture
def catalog(agent: FakeAgent) -> FakeCatalog:
    catalog = FakeCatalog(agent)
    catalog.node("n1")
    for number in range(20):
        catalog.put(f"s{number}")
    return catalog


def backend_of(agent: FakeAgent, **options: Any) -> ConsulBackend:
    return ConsulBackend(agent.url, client="direct", max_watches=MOST, **options)


async def eventually(holds: Callable[[], object], within: float = 20.0) -> None:
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 - what is looked at sets no event
            await asyncio.sleep(0.005)


class Watch:
    """Fetches on and on, and keeps the replies."""

    def __init__(self, backend: ConsulBackend, query: Query) -> None:
        self.backend = backend
        self.query = query
        self.replies: list[Reply] = []
        self.task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        cursor = None
        while True:
            self.replies.append(await self.backend.fetch(self.query, cursor))
            cursor = self.replies[-1].cursor

    @property
    def ports(self) -> list[int]:
        return [one.port for one in self.replies[-1].instances] if self.replies else []

    @property
    def statuses(self) -> list[str]:
        return [one.status for one in self.replies[-1].instances]


@asynccontextmanager
async def watched(
    backend: ConsulBackend, count: int = 20, *, live: bool = True, **fields: Any
) -> AsyncIterator[list[Watch]]:
    async with backend:
        watches = [Watch(backend, Query(f"s{number}", **fields)) for number in range(count)]
        try:
            await eventually(lambda: all(watch.replies for watch in watches))
            if live:
                await eventually(lambda: waiting(backend) == count)
            yield watches
        finally:
            for watch in watches:
                watch.task.cancel()
            await asyncio.gather(*(watch.task for watch in watches), return_exceptions=True)


def feeds(backend: ConsulBackend) -> list[_feed.Feed]:
    return list(backend._feeds._feeds.values())


def waiting(backend: ConsulBackend) -> int:
    """How many services are waited for on feeds."""
    return sum(len(feed.marks._waiting) for feed in feeds(backend) if feed.is_live)


async def test_all_wait_on_a_few_queries_and_each_change_reads_its_service_alone(
    agent: FakeAgent, catalog: FakeCatalog
) -> None:
    backend = backend_of(agent)
    async with watched(backend) as watches:
        await eventually(lambda: +catalog.held == HELD)
        agent.asked.clear()
        catalog.put("s7", port=81)
        await eventually(lambda: watches[7].ports == [81])
        catalog.check("k", "critical", "s8")
        await eventually(lambda: watches[8].statuses == ["critical"])
        read = {asked.path for asked in agent.asked if "health/service" in asked.path}
        assert read == {"/v1/health/service/s7", "/v1/health/service/s8"}
        catalog.check("k", "passing", "s8")
        await eventually(lambda: watches[8].statuses == ["passing"])
        catalog.drop("s9")
        await eventually(lambda: not watches[9].ports)
        catalog.put("s9", node="n1")
        await eventually(lambda: watches[9].ports == [80])


async def test_what_concerns_a_node_concerns_all_that_stands_there(
    agent: FakeAgent, catalog: FakeCatalog
) -> None:
    catalog.node("n2")
    catalog.put("s0", node="n2", port=2)
    async with watched(backend_of(agent)) as watches:
        catalog.check("serfHealth", "critical", node="n1")
        await eventually(lambda: all("critical" in watch.statuses for watch in watches))
        catalog.check("serfHealth", "passing", node="n1")
        await eventually(lambda: all("critical" not in watch.statuses for watch in watches))
        agent.asked.clear()
        catalog.node("n2", "10.0.0.2")
        await eventually(lambda: any(one.host == "10.0.0.2" for one in watches[0].replies[-1].instances))
        assert {asked.path for asked in agent.asked if "health/service" in asked.path} == {
            "/v1/health/service/s0"
        }
        catalog.node("n3")
        catalog.put("s1", node="n3", port=3)
        await eventually(lambda: watches[1].ports == [80, 3])
        catalog.put("s1", node="n3", port=4)
        await eventually(lambda: watches[1].ports == [80, 4])
        del catalog.nodes["n3"], catalog.instances["n3", "s1-1"]
        catalog._move()
        await eventually(lambda: watches[1].ports == [80])
        await eventually(lambda: catalog.held["/v1/catalog/node-services/n3"] == 0)


class Late:
    """Holds what is asked at `path` from now on until it is let through: the feed's query is behind then."""

    def __init__(self, agent: FakeAgent, path: str) -> None:
        self.open = asyncio.Event()
        self.held = False
        self._path = path
        self._handle = agent.handle
        agent.handle = self._hold

    async def _hold(self, asked: Asked) -> web.StreamResponse:
        if asked.path == self._path:
            self.held = True
            await self.open.wait()
        return await self._handle(asked)


async def test_a_check_that_was_critical_only_between_two_answers_is_not_left_so(
    agent: FakeAgent, catalog: FakeCatalog
) -> None:
    async with watched(backend_of(agent)) as watches:
        late = Late(agent, FEED)
        catalog.put("s1")
        await eventually(lambda: late.held)
        catalog.check("k", "critical", "s7")
        catalog.put("s7", port=87)
        await eventually(lambda: watches[7].statuses == ["critical"])
        catalog.check("k", "passing", "s7")
        await asyncio.sleep(0.1)
        late.open.set()
        await eventually(lambda: watches[7].statuses == ["passing"])


async def test_an_instance_that_was_there_only_between_two_answers_goes(
    agent: FakeAgent, catalog: FakeCatalog
) -> None:
    async with watched(backend_of(agent)) as watches:
        late = Late(agent, "/v1/catalog/node-services/n1")
        catalog.put("s1")
        await eventually(lambda: late.held)
        catalog.put("s7", port=99, id="another")
        catalog.check("k", "warning", "s7")
        await eventually(lambda: watches[7].ports == [80, 99])
        del catalog.instances["n1", "another"]
        catalog._move()
        late.open.set()
        await eventually(lambda: watches[7].ports == [80])


async def test_more_nodes_than_there_is_room_for_are_swept_after_a_write(
    agent: FakeAgent, catalog: FakeCatalog
) -> None:
    for number in range(2, 12):
        catalog.node(f"n{number}")
        catalog.put("s0", node=f"n{number}", port=number)
    backend = backend_of(agent)
    async with watched(backend) as watches:
        held = (FEED, "/v1/health/state/warning", "/v1/catalog/nodes", "/v1/catalog/services")
        await eventually(lambda: +catalog.held == dict.fromkeys(held, 1))
        catalog.put("s0", node="n9", port=99)
        await eventually(lambda: 99 in watches[0].ports)
        catalog.check("k", "warning", "s3")
        await eventually(lambda: watches[3].statuses == ["warning"])
        catalog.node("n12")
        catalog.put("s4", node="n12", port=12)
        await eventually(lambda: 12 in watches[4].ports)
        for number in range(3, 13):  # So few that each is followed.
            del catalog.nodes[f"n{number}"]
            for key in [key for key in catalog.instances if key[0] == f"n{number}"]:
                del catalog.instances[key]
        catalog._move()
        await eventually(lambda: catalog.held["/v1/catalog/node-services/n2"] == 1)
        await eventually(lambda: catalog.held["/v1/catalog/services"] == 0)
        catalog.put("s5", port=55)
        await eventually(lambda: watches[5].ports == [55])


def many_nodes(catalog: FakeCatalog) -> None:
    for number in range(2, 12):
        catalog.node(f"n{number}")
        catalog.put("s0", node=f"n{number}", port=number)


def swept(agent: FakeAgent) -> tuple[int, int]:
    """How often all nodes were read in one, and how many lists of nodes were."""
    paths = [asked.path for asked in agent.asked]
    return paths.count(_sweep.ALL), sum("node-services" in path for path in paths)


async def test_a_sweep_after_the_first_is_one_answer(agent: FakeAgent, catalog: FakeCatalog) -> None:
    many_nodes(catalog)
    async with watched(backend_of(agent)) as watches:
        assert swept(agent)[1] >= 11
        await asyncio.sleep(0.1)
        agent.asked.clear()
        catalog.put("s0", node="n9", port=99)
        await eventually(lambda: 99 in watches[0].ports)
        catalog.drop("s0", node="n5")
        await eventually(lambda: 5 not in watches[0].ports)
        all_in_one, lists = swept(agent)
        assert 1 <= all_in_one <= 4
        assert not lists
        await asyncio.sleep(1.0)
        agent.asked.clear()
        await asyncio.sleep(0.5)
        assert not agent.asked


@pytest.mark.parametrize("refusal", [404, 403, 400, "null", "<html>"])
async def test_where_there_is_no_such_answer_the_lists_are_read(
    agent: FakeAgent, catalog: FakeCatalog, caplog: pytest.LogCaptureFixture, refusal: int | str
) -> None:
    many_nodes(catalog)

    def refused(asked: Asked) -> web.Response | None:
        if asked.path != _sweep.ALL:
            return None
        if isinstance(refusal, int):
            return web.Response(status=refusal, text="no")
        return web.Response(text=refusal, headers={"X-Consul-Index": "5"})

    catalog.refused = refused
    backend = backend_of(agent)
    async with watched(backend) as watches:
        (feed,) = feeds(backend)
        for port in (99, 98):
            catalog.put("s0", node="n9", port=port)
            await eventually(lambda port=port: port in watches[0].ports)
        assert feeds(backend) == [feed]
        all_in_one, lists = swept(agent)
        assert all_in_one == 1
        assert lists >= 33
    assert not [one for one in caplog.records if one.levelno >= logging.INFO and "asyncsd" in one.name]


@pytest.mark.parametrize(("what", "most", "times"), [("MOST", 29, 0), ("MOST_BYTES", 100, 1)])
async def test_what_is_too_much_for_one_answer_is_read_by_lists(
    agent: FakeAgent,
    catalog: FakeCatalog,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    most: int,
    times: int,
) -> None:
    monkeypatch.setattr(_sweep, what, most)
    many_nodes(catalog)
    async with watched(backend_of(agent)) as watches:
        for port in (99, 98):
            catalog.put("s0", node="n9", port=port)
            await eventually(lambda port=port: port in watches[0].ports)
        all_in_one, lists = swept(agent)
        assert all_in_one == times
        assert lists >= 22


async def test_an_agent_that_fails_in_a_sweep_is_asked_again(agent: FakeAgent, catalog: FakeCatalog) -> None:
    many_nodes(catalog)
    backend = backend_of(agent)
    async with watched(backend) as watches:
        (feed,) = feeds(backend)
        await asyncio.sleep(0.1)
        failures = [web.Response(status=500, text="No cluster leader")]
        catalog.refused = lambda asked: failures.pop() if failures and asked.path == _sweep.ALL else None
        for port in (99, 98):
            agent.asked.clear()
            catalog.put("s0", node="n9", port=port)
            await eventually(lambda port=port: port in watches[0].ports)
        assert not failures
        assert feeds(backend) == [feed]
        assert swept(agent)[0] >= 1


@pytest.mark.parametrize(
    ("moves", "starts", "turns"), [(True, 50, False), (True, 2, True), (False, 50, True)]
)
async def test_a_feed_is_waited_for_while_it_has_answers(
    agent: FakeAgent,
    catalog: FakeCatalog,
    monkeypatch: pytest.MonkeyPatch,
    *,
    moves: bool,
    starts: int,
    turns: bool,
) -> None:
    monkeypatch.setattr(_feeds, "START", 0.4)
    monkeypatch.setattr(_feeds, "STARTS", starts)
    for number in range(2, 42):
        catalog.node(f"n{number}")
    answers = agent.handle

    async def slow(asked: Asked) -> web.StreamResponse:
        if "node-services" in asked.path:
            await asyncio.sleep(0.25 if moves else 0.8)
        return await answers(asked)

    agent.handle = slow
    async with watched(backend_of(agent), live=False) as watches:
        await asyncio.sleep(1.2)
        waited = [
            asked
            for asked in agent.asked
            if "/health/service/" in asked.path and "index" in dict(asked.query)
        ]
        assert bool(waited) is turns
        await eventually(lambda: waiting(watches[0].backend) == len(watches), 20.0)


async def test_fewer_watches_have_a_query_each_again(
    agent: FakeAgent, catalog: FakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_feeds, "LOOK", 0.05)
    backend = backend_of(agent)
    async with watched(backend) as watches:
        for watch in watches[4:]:
            watch.task.cancel()
        await eventually(lambda: not feeds(backend))
        await eventually(lambda: +catalog.held == {f"/v1/health/service/s{number}": 1 for number in range(4)})
        catalog.put("s2", port=82)
        await eventually(lambda: watches[2].ports == [82])
    assert not asyncio.all_tasks() - {asyncio.current_task()}


async def test_watches_that_hold_a_query_each_move_when_a_feed_is_there(
    agent: FakeAgent, catalog: FakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_slots, "CYCLE", 60.0)  # A turn would take 45 s.
    backend = backend_of(agent)
    async with watched(backend, MOST, live=False) as watches:
        await eventually(lambda: catalog.held.total() == MOST)
        assert not feeds(backend)
        more = [Watch(backend, Query(f"s{number}")) for number in (10, 11)]
        await eventually(lambda: waiting(backend) == MOST + 2)
        await eventually(lambda: catalog.held.total() == 4)
        catalog.put("s3", port=83)
        await eventually(lambda: watches[3].ports == [83])
        for watch in more:
            watch.task.cancel()


@pytest.mark.parametrize(("count", "fed"), [(18, False), (19, True)])
async def test_it_starts_while_there_is_room_for_what_reads(
    agent: FakeAgent, catalog: FakeCatalog, count: int, *, fed: bool
) -> None:
    async with watched(
        ConsulBackend(agent.url, client="direct", max_watches=20), count, live=False
    ) as watches:
        await eventually(lambda: catalog.held.total() == (4 if fed else count))
        assert bool(feeds(watches[0].backend)) is fed


async def test_what_the_feed_knows_to_hold_is_not_read_again(agent: FakeAgent, catalog: FakeCatalog) -> None:
    catalog.check("k", "warning", "s3")
    async with watched(backend_of(agent)):
        read = [asked.path for asked in agent.asked if "health/service" in asked.path]
        assert len(read) == len(set(read)) + 1  # That of a failing check may be another one by now.


async def test_a_thousand_are_read_a_few_at_a_time(agent: FakeAgent, catalog: FakeCatalog) -> None:
    asyncio.get_running_loop().set_debug(False)  # It makes each of so many tasks ten times as slow.
    for number in range(20, 300):
        catalog.put(f"s{number}")
    async with watched(backend_of(agent), 300) as watches:
        catalog.most_reads = 0
        catalog.check("serfHealth", "critical")
        await eventually(lambda: all(watch.statuses == ["critical"] for watch in watches))
        assert catalog.most_reads <= 16


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_where_the_feed_is_refused_they_take_turns_and_one_line_says_so(
    agent: FakeAgent, catalog: FakeCatalog, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    def refused(asked: Asked) -> web.Response | None:
        return web.Response(status=status, text="no") if "/health/service/" not in asked.path else None

    catalog.refused = refused
    backend = backend_of(agent)
    async with watched(backend, live=False) as watches:
        catalog.put("s15", port=95)
        await eventually(lambda: watches[15].ports == [95])
    ours = [one for one in caplog.records if one.name.startswith("asyncsd")]
    told = [one.getMessage() for one in ours if one.levelno >= logging.WARNING]
    assert len(told) == 1
    assert "take turns" in told[0]
    assert str(status) in told[0]


async def test_a_feed_that_is_cut_begins_anew_and_loses_no_change(
    agent: FakeAgent, catalog: FakeCatalog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    backend = backend_of(agent)
    async with watched(backend) as watches:
        await eventually(lambda: catalog.held.total() == 4)
        before = [len(watch.replies) for watch in watches]
        for request in agent.requests:
            if request.path == FEED and request.transport is not None:
                request.transport.close()
        catalog.put("s4", port=84)
        await eventually(lambda: watches[4].ports == [84])
        await eventually(lambda: waiting(backend) == len(watches))
        await eventually(lambda: "the feed of changes begins anew" in caplog.text)
        assert [len(watch.replies) for watch in watches[5:]] == before[5:]
        assert not any(watch.task.done() for watch in watches)


async def test_data_that_was_lost_while_a_feed_was_cut_is_noticed(
    agent: FakeAgent, catalog: FakeCatalog
) -> None:
    """What comes after may have the same indexes by chance: as of an agent that starts over."""
    backend = backend_of(agent)
    async with watched(backend) as watches:
        await eventually(lambda: catalog.held.total() == 4)
        before = [len(watch.replies) for watch in watches]
        catalog.index -= 10
        for key, (name, _, index) in catalog.instances.items():
            catalog.instances[key] = name, 91, index
        for request in agent.requests:
            if request.path == FEED and request.transport is not None:
                request.transport.close()
        await eventually(lambda: all(watch.ports == [91] for watch in watches))
        assert all(len(watch.replies) > many for watch, many in zip(watches, before, strict=True))


async def test_a_refused_connection_of_a_feed_is_tried_again(agent: FakeAgent, catalog: FakeCatalog) -> None:
    backend = backend_of(agent)
    async with watched(backend) as watches:
        (feed,) = feeds(backend)
        refusals = [web.Response(status=429, text="too many")]

        def refused(asked: Asked) -> web.Response | None:
            return (
                refusals.pop() if refusals and asked.path == FEED and "index" in dict(asked.query) else None
            )

        catalog.refused = refused
        catalog.put("s4", port=84)
        await eventually(lambda: watches[4].ports == [84])
        await eventually(lambda: not refusals)
        catalog.check("k", "critical", "s5")
        await eventually(lambda: watches[5].statuses == ["critical"])
        assert feeds(backend) == [feed]


async def test_a_datacenter_is_named_in_all_that_its_feed_asks(
    agent: FakeAgent, catalog: FakeCatalog
) -> None:
    async with watched(backend_of(agent, datacenter="dc2")):
        assert {dict(asked.query).get("dc") for asked in agent.asked} == {"dc2"}
        assert FEED in {asked.path for asked in agent.asked}


async def test_the_next_agent_has_a_feed_of_its_own(agent: FakeAgent, catalog: FakeCatalog) -> None:
    async with FakeAgent() as other:
        spare = FakeCatalog(other)
        spare.node("n1")
        for number in range(20):
            spare.put(f"s{number}", port=90)
        backend = ConsulBackend([agent.url, other.url], client="direct", max_watches=MOST)
        async with watched(backend) as watches:
            assert not other.asked
            await agent.stop()
            await eventually(lambda: all(watch.ports == [90] for watch in watches))
            await eventually(lambda: waiting(backend) == len(watches))
            spare.put("s3", port=93)
            await eventually(lambda: watches[3].ports == [93])
            await eventually(lambda: spare.held.total() == 4)


async def test_an_agent_that_is_gone_is_asked_once_more_for_all_of_them(
    agent: FakeAgent, catalog: FakeCatalog
) -> None:
    backend = backend_of(agent)
    async with watched(backend) as watches:
        await eventually(lambda: +catalog.held == HELD)
        with counted(agent.port) as attempts:
            await agent.stop()
            outcomes = await asyncio.gather(*(watch.task for watch in watches), return_exceptions=True)
            await asyncio.sleep(0.2)
        assert len(attempts) <= 2
        assert {type(outcome) for outcome in outcomes} == {UnreachableError}
        assert len({id(outcome) for outcome in outcomes}) == len(outcomes)
        assert not feeds(backend)
    await agent.start()


async def test_a_lower_index_has_everything_read_again(agent: FakeAgent, catalog: FakeCatalog) -> None:
    async with watched(backend_of(agent)) as watches:
        await eventually(lambda: catalog.held.total() == 4)
        catalog.lose()
        await eventually(
            lambda: all(watch.replies[-1].index == 1 for watch in watches if watch.replies[-1].index)
        )


async def test_an_agent_that_holds_no_query_is_not_stormed(agent: FakeAgent, catalog: FakeCatalog) -> None:
    async with hurried() as clock, watched(backend_of(agent, clock=clock)):

        async def at_once(asked: Asked) -> web.StreamResponse:
            return web.json_response(catalog._tell(asked.path), headers={"X-Consul-Index": "5"})

        agent.handle = at_once
        catalog._move()
        await clock.sleep(2.0)
        agent.asked.clear()
        await clock.sleep(5.0)
        assert len(agent.asked) <= 4 * 8


async def test_a_service_of_which_the_feed_sees_nothing_takes_turns(
    agent: FakeAgent,
    catalog: FakeCatalog,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_reading, "GRACE", 0.2)
    catalog.blind = True
    async with watched(backend_of(agent), live=False) as watches:
        await eventually(lambda: catalog.held["/v1/health/service/s3"] > 0)
        catalog.put("s3", port=83)
        await eventually(lambda: watches[3].ports == [83])
        told = [one for one in caplog.records if "doesn't see" in one.getMessage()]
        assert [one.levelno for one in told].count(logging.WARNING) == 1


async def test_unchanged_for_their_wait_they_come_back_without_a_request(
    agent: FakeAgent, catalog: FakeCatalog
) -> None:
    async with watched(backend_of(agent, wait=1.0)) as watches:
        await asyncio.sleep(0.7)
        agent.asked.clear()
        await asyncio.sleep(0.4)
        before = [watch.replies[-1] for watch in watches]
        await eventually(lambda: all(len(watch.replies) > 2 for watch in watches))
        assert all(
            watch.replies[-1].instances is reply.instances
            for watch, reply in zip(watches, before, strict=True)
        )
        assert len({asked.path for asked in agent.asked if "health/service" in asked.path}) < 10


async def test_a_server_that_is_behind_hides_no_change_from_a_stale_watch(
    agent: FakeAgent, catalog: FakeCatalog
) -> None:
    async with watched(backend_of(agent), consistency="stale") as watches:
        catalog.put("s6", port=85)
        catalog.put("s7", port=87)
        behind = dict(catalog.instances)

        def late(asked: Asked) -> web.Response | None:
            if "health/service" in asked.path and "stale" in dict(asked.query):
                ahead, catalog.instances = catalog.instances, behind
                told, index = catalog._tell(asked.path), catalog._index(asked.path)
                catalog.instances = ahead
                return web.json_response(told, headers={"X-Consul-Index": str(index)})
            return None

        catalog.refused = late
        catalog.put("s6", port=86)  # The second change: that server knows of the first.
        await eventually(lambda: watches[6].ports == [86])
        catalog.put("s7", port=88)
        await eventually(lambda: watches[7].ports == [88])
        one = Watch(watches[0].backend, Query("s7", consistency="stale", tags=("v1",)))
        await eventually(lambda: one.ports == [88])  # It begins after the feed has told of the change.
        one.task.cancel()


async def test_a_filter_about_checks_keeps_a_query_of_its_own(agent: FakeAgent, catalog: FakeCatalog) -> None:
    backend = backend_of(agent)
    async with watched(backend):
        odd = Watch(backend, Query("s1", filter='Checks.Output contains "x"'))
        even = Watch(backend, Query("s2", filter='Service.Meta.zone == "a"'))
        await eventually(lambda: catalog.held["/v1/health/service/s1"] == 1)
        await eventually(lambda: len(even.replies) > 0)
        assert catalog.held["/v1/health/service/s2"] == 0
        odd.task.cancel()
        even.task.cancel()


async def test_closing_ends_all_at_once_and_leaves_nothing(agent: FakeAgent, catalog: FakeCatalog) -> None:
    backend = backend_of(agent)
    async with watched(backend) as watches:
        async with asyncio.timeout(10):  # The waits themselves take 55 s.
            await backend.aclose()
            await backend.aclose()
            await asyncio.gather(*(watch.task for watch in watches), return_exceptions=True)
    assert not asyncio.all_tasks() - {asyncio.current_task()}
