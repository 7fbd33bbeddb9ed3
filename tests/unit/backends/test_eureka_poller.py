"""How often servers are asked and for what, on a clock that the test moves."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import msgspec
import pytest

from asyncsd import Discovery, Instance, ProtocolError, Query, UnreachableError
from asyncsd.backends.eureka import EurekaBackend
from asyncsd.backends.eureka._answers import AbsentError, ForbiddenError, UnavailableError
from asyncsd.backends.eureka._catalog import Catalog
from asyncsd.backends.eureka._poller import Poller
from asyncsd.backends.eureka._servers import Server
from asyncsd.testing import FakeClock

INTERVAL = 10.0


class Servers:
    """Servers in memory, in a transport's place: they answer at once with what the test put there."""

    def __init__(self) -> None:
        self.server = Server("a", 8761)
        self.asked: list[str] = []
        self.instances: dict[str, dict[str, Any]] = {}
        self.changes: dict[str, dict[str, Any]] = {}
        self.version = 1
        self.errors: dict[str, Exception] = {}
        self.held: asyncio.Event | None = None
        self.cached: dict[str, dict[str, Any]] = {}
        self.updates = 0

    def put(self, id: str, *, told: bool = True, **values: Any) -> None:
        """Have an instance; a change that isn't `told` is missed by those who ask for changes."""
        self.updates += 1
        self.instances[id] = {
            "lastUpdatedTimestamp": str(self.updates),
            "instanceId": id,
            "hostName": "h",
            "app": "WEB",
            "status": "UP",
            "port": {"$": 80, "@enabled": "true"},
            **values,
        }
        if told:
            self.changes[id] = {**self.instances[id], "actionType": "MODIFIED"}

    def remove(self, id: str, *, told: bool = True) -> None:
        self.updates += 1
        gone = self.instances.pop(id)
        if told:
            self.changes[id] = {**gone, "lastUpdatedTimestamp": str(self.updates), "actionType": "DELETED"}

    def cache(self, *paths: str) -> None:
        """Answer at these paths as now, whatever changes; at none, as things are."""
        self.cached = {path: self._told(path) for path in paths}

    async def ask(self, ask: Any) -> Any:
        return await ask(self.server)

    async def get(self, server: Server, path: str, kind: Any) -> Any:
        self.asked.append(path)
        if self.held is not None:
            await self.held.wait()
        if path in self.errors:
            raise self.errors[path]
        told = self.cached.get(path) or self._told(path)
        return msgspec.json.decode(msgspec.json.encode(told), type=kind, strict=False)

    def _told(self, path: str) -> dict[str, Any]:
        if path.startswith("/apps/WEB/"):
            if (instance := self.instances.get(path.removeprefix("/apps/WEB/"))) is None:
                raise AbsentError("no")
            return {"instance": instance}
        is_delta = path.endswith("delta")
        self.version += is_delta
        statuses = [instance["status"] for instance in self.instances.values()]
        told = {
            "versions__delta": str(self.version) if is_delta else "1",
            "apps__hashcode": "".join(f"{s}_{statuses.count(s)}_" for s in sorted(set(statuses))),
            "application": [
                {"name": "WEB", "instance": list((self.changes if is_delta else self.instances).values())}
            ],
        }
        return {"applications": told}


class Polled:
    """A poller over such servers."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.servers = Servers()
        self.catalog = Catalog(prefer_ip=False)
        self.poller = Poller(cast(Any, self.servers), self.catalog, clock=self.clock, interval=INTERVAL)

    @property
    def instances(self) -> tuple[Instance, ...]:
        return self.catalog.find("web")[0]

    @property
    def ids(self) -> list[str]:
        return [instance.id for instance in self.instances]

    def wait(self, seconds: float = 1000.0) -> "asyncio.Task[tuple[Instance, ...]]":
        """Wait for other instances than those of now."""
        waiting = self.poller.changed(self.instances, lambda: self.instances, seconds)
        return asyncio.create_task(waiting)

    async def changed(self, intervals: int = 1) -> tuple[Instance, ...]:
        """The other instances that so many intervals bring."""
        waiting = self.wait()
        await self.clock.advance(intervals * INTERVAL)
        return await waiting

    def asked(self) -> list[str]:
        """What was asked for since the last time."""
        asked, self.servers.asked = self.servers.asked, []
        return asked


@pytest.fixture
async def polled() -> AsyncIterator[Polled]:
    polled = Polled()
    yield polled
    await polled.poller.aclose()


async def test_the_first_question_is_for_all_and_the_next_for_changes(polled: Polled) -> None:
    polled.servers.put("1")
    await polled.poller.fresh()
    await polled.poller.fresh()
    assert polled.asked() == ["/apps"]
    polled.servers.put("2")
    await polled.clock.advance(1.5)
    await polled.poller.fresh()
    assert polled.asked() == ["/apps/delta"]
    assert polled.ids == ["1", "2"]


async def test_those_who_wait_share_one_question_an_interval(polled: Polled) -> None:
    await polled.poller.fresh()
    waiting = [polled.wait() for _ in range(50)]
    await polled.clock.advance(3 * INTERVAL)
    assert polled.asked() == ["/apps", *["/apps/delta"] * 3]
    polled.servers.put("1")
    await polled.clock.advance(INTERVAL)
    assert {instance.id for wait in waiting for instance in await wait} == {"1"}


async def test_nobody_waits_and_nothing_is_asked(polled: Polled) -> None:
    await polled.poller.fresh()
    waiting = polled.wait(seconds=15.0)
    await polled.clock.advance(15.0)
    assert await waiting == ()
    polled.asked()
    await polled.clock.advance(1000.0)
    assert polled.asked() == []
    assert polled.clock.sleepers == 0


async def test_short_waits_one_after_the_other_poll_no_more_often(
    polled: Polled,
) -> None:
    await polled.poller.fresh()
    for _ in range(20):
        waiting = polled.wait(seconds=1.0)
        await polled.clock.advance(1.0)
        await waiting
    assert polled.asked() == ["/apps", "/apps/delta", "/apps/delta"]


async def test_thousands_are_read_too(polled: Polled) -> None:
    for number in range(2_000):
        polled.servers.put(f"{number:04}")
    await polled.poller.fresh()
    assert len(polled.instances) == 2_000


async def test_changes_that_do_not_lead_to_the_servers_count_bring_the_whole(
    polled: Polled,
) -> None:
    polled.servers.put("1")
    await polled.poller.fresh()
    polled.servers.put("2", told=False)
    assert [instance.id for instance in await polled.changed()] == ["1", "2"]
    assert polled.asked() == ["/apps", "/apps/delta", "/apps"]
    polled.servers.remove("1", told=False)
    assert [instance.id for instance in await polled.changed()] == ["2"]


async def test_what_cached_changes_miss_is_seen_once_it_is_quiet(polled: Polled) -> None:
    """An answer can lack a change that came while it was made, and its count fits (google/guava#1881)."""
    polled.servers.put("1")
    await polled.poller.fresh()
    polled.servers.put("2")
    polled.servers.cache("/apps/delta")
    polled.servers.put("3")
    polled.servers.remove("1")
    polled.servers.put("2", port={"$": 81, "@enabled": "true"})
    assert [instance.id for instance in await polled.changed()] == ["1", "2"]
    polled.asked()
    assert [(instance.id, instance.port) for instance in await polled.changed(4)] == [("2", 81), ("3", 80)]
    assert polled.asked() == [*["/apps/delta"] * 4, "/apps", "/apps/WEB/2"]
    # The changes that lack it are told on, and undo nothing; nor is the whole list asked for at each poll.
    waiting = polled.wait()
    await polled.clock.advance(20 * INTERVAL)
    assert not waiting.done()
    assert polled.asked() == [*["/apps/delta"] * 4, "/apps", *["/apps/delta"] * 16]
    polled.servers.cache()
    polled.servers.remove("2")
    await polled.clock.advance(INTERVAL)
    assert [instance.id for instance in await waiting] == ["3"]


@pytest.mark.parametrize("id", ["0", "2"])
async def test_an_outdated_whole_list_takes_nothing_away(polled: Polled, id: str) -> None:
    polled.servers.put("1")
    await polled.poller.fresh()
    polled.servers.cache("/apps")
    polled.servers.put(id)
    polled.servers.remove("1")
    assert [instance.id for instance in await polled.changed()] == [id]
    waiting = polled.wait()
    await polled.clock.advance(8 * INTERVAL)
    assert "/apps" in polled.asked()
    assert not waiting.done()
    polled.servers.put(id, status="DOWN")
    await polled.clock.advance(INTERVAL)
    assert [instance.status for instance in await waiting] == ["critical"]


async def test_an_instance_that_cannot_be_asked_for_decides_nothing(polled: Polled) -> None:
    polled.servers.put("1")
    await polled.poller.fresh()
    polled.servers.cache("/apps")
    polled.servers.put("2")
    polled.servers.errors["/apps/WEB/2"] = ProtocolError("no")
    for _ in range(2):
        waiting = polled.wait(seconds=5 * INTERVAL)
        await polled.clock.advance(5 * INTERVAL)
        assert [instance.id for instance in await waiting] == ["1", "2"]
    assert "/apps/WEB/2" in polled.asked()


async def test_while_things_change_the_whole_is_not_asked_for(polled: Polled) -> None:
    await polled.poller.fresh()
    polled.asked()
    for number in range(30):
        polled.servers.put(f"{number:02}")
        assert len(await polled.changed()) == number + 1
    assert set(polled.asked()) == {"/apps/delta"}


async def test_an_outdated_change_undoes_no_later_one(polled: Polled) -> None:
    polled.servers.put("1")
    await polled.poller.fresh()
    outdated = polled.servers.changes["1"]
    polled.servers.put("1", port={"$": 81, "@enabled": "true"})
    await polled.clock.advance(INTERVAL)
    await polled.poller.fresh()
    for kind in ("MODIFIED", "DELETED"):
        polled.servers.changes["1"] = {**outdated, "actionType": kind}
        await polled.clock.advance(INTERVAL)
        await polled.poller.fresh()
        assert [instance.port for instance in polled.instances] == [81]


async def test_a_removal_and_a_status_are_taken_from_the_changes(polled: Polled) -> None:
    polled.servers.put("1")
    polled.servers.put("2")
    await polled.poller.fresh()
    polled.servers.put("1", status="DOWN")
    polled.servers.remove("2")
    await polled.clock.advance(INTERVAL)
    await polled.poller.fresh()
    assert [(i.id, i.status) for i in polled.instances] == [("1", "critical")]
    assert polled.asked() == ["/apps", "/apps/delta"]


async def test_after_a_long_rest_the_whole_is_asked_for(polled: Polled) -> None:
    polled.servers.put("1")
    await polled.poller.fresh()
    polled.servers.put("1", told=False, port={"$": 81, "@enabled": "true"})
    await polled.clock.advance(121.0)
    await polled.poller.fresh()
    assert polled.asked() == ["/apps", "/apps"]
    assert polled.instances[0].port == 81


async def test_another_server_is_asked_for_the_whole_and_doubted_once(polled: Polled) -> None:
    await polled.poller.fresh()
    epoch = polled.catalog.epoch
    polled.servers.server = Server("b", 8761)
    for _ in range(2):
        await polled.clock.advance(INTERVAL)
        await polled.poller.fresh()
    assert polled.asked() == ["/apps", "/apps", "/apps/delta"]
    assert polled.catalog.epoch == epoch + 1


@pytest.mark.parametrize("error", [AbsentError, ForbiddenError, UnavailableError])
async def test_a_server_without_changes_is_asked_for_the_whole(
    polled: Polled, error: type[Exception]
) -> None:
    await polled.poller.fresh()
    polled.servers.errors["/apps/delta"] = error("no")
    polled.servers.put("1")
    await polled.clock.advance(INTERVAL)
    await polled.poller.fresh()
    assert polled.ids == ["1"]


async def test_a_server_that_began_anew_begins_an_epoch(polled: Polled) -> None:
    polled.servers.put("1")
    for _ in range(3):
        await polled.poller.fresh()
        await polled.clock.advance(INTERVAL)
    epoch = polled.catalog.epoch
    polled.servers.version, polled.servers.instances, polled.servers.changes = 0, {}, {}
    await polled.poller.fresh()
    assert polled.catalog.epoch > epoch
    assert polled.ids == []


async def test_an_error_is_told_to_all_who_wait_and_asked_once(polled: Polled) -> None:
    await polled.poller.fresh()
    waiting = [polled.wait() for _ in range(20)]
    polled.asked()
    polled.servers.errors["/apps/delta"] = UnreachableError("gone")
    await polled.clock.advance(INTERVAL)
    for wait in waiting:
        with pytest.raises(UnreachableError):
            await wait
    for _ in range(3):
        with pytest.raises(UnreachableError):
            await polled.poller.fresh()
    polled.servers.errors.clear()
    await polled.poller.fresh()
    assert polled.asked() == ["/apps/delta"] * 5


async def test_a_bug_reaches_who_waits(polled: Polled) -> None:
    await polled.poller.fresh()
    waiting = polled.wait()
    polled.servers.errors["/apps/delta"] = ZeroDivisionError()
    await polled.clock.advance(INTERVAL)
    with pytest.raises(ZeroDivisionError):
        await waiting


async def test_no_list_at_the_path_asks_for_the_path(polled: Polled) -> None:
    polled.servers.errors["/apps"] = AbsentError("no", url="http://a/apps", status=404)
    with pytest.raises(UnavailableError, match=r"its path the right one\? \(http://a/apps\)"):
        await polled.poller.fresh()
    polled.servers.errors["/apps"] = ProtocolError("HTML")
    with pytest.raises(ProtocolError):
        await polled.poller.fresh()


async def test_a_question_outlives_who_asked_it_and_serves_the_others(polled: Polled) -> None:
    polled.servers.held = asyncio.Event()
    first, second = (asyncio.create_task(polled.poller.fresh()) for _ in range(2))
    await polled.clock.advance(0.1)
    first.cancel()
    await asyncio.wait((first,))
    polled.servers.held.set()
    await second
    assert polled.asked() == ["/apps"]


async def test_the_whole_on_demand_is_asked_for_after_what_is_under_way(polled: Polled) -> None:
    polled.servers.held = asyncio.Event()
    first = asyncio.create_task(polled.poller.fresh())
    await polled.clock.advance(0.1)
    whole = asyncio.create_task(polled.poller.fresh(whole=True))
    await polled.clock.advance(0.1)
    polled.servers.held.set()
    await asyncio.gather(first, whole)
    assert polled.asked() == ["/apps", "/apps"]
    await polled.clock.advance(INTERVAL)
    await polled.poller.fresh()
    assert polled.asked() == ["/apps/delta"]


async def test_an_empty_server_that_takes_over_does_not_empty_a_watch(polled: Polled) -> None:
    polled.servers.put("1")
    servers = cast(Any, polled.servers)
    backend = EurekaBackend(clock=polled.clock)
    backend._poller._transport = servers
    async with backend, Discovery(backend, clock=polled.clock) as sd, sd.watch("web") as events:
        await polled.clock.advance(0.1)
        assert [instance.id for instance in (await events.get()).snapshot or ()] == ["1"]
        servers.server, servers.instances, servers.changes = Server("b", 8761), {}, {}
        await polled.clock.advance(2 * INTERVAL)
        event = await events.get()
        assert event.stale
        assert event.reason == "reset"
        assert [instance.id for instance in event.snapshot or ()] == ["1"]
        # Heartbeats and caches have their time, with the servers' usual settings.
        await polled.clock.advance(50.0)
        assert sd.health().watches[Query("web")].state == "live"
        servers.put("1")
        await polled.clock.advance(2 * INTERVAL)
        assert (await events.get()).reason == "recovered"


async def test_instances_keep_their_objects_and_malformed_ones_are_counted(polled: Polled) -> None:
    polled.servers.put("1", leaseInfo={"lastRenewalTimestamp": 1}, lastUpdatedTimestamp="1")
    polled.servers.put("bad", port="x")
    await polled.poller.fresh()
    [before], skipped = polled.catalog.find("web")
    assert skipped == 1
    polled.servers.put("1", leaseInfo={"lastRenewalTimestamp": 2}, lastUpdatedTimestamp="1")
    polled.servers.put("3")
    await polled.clock.advance(INTERVAL)
    await polled.poller.fresh()
    assert polled.asked() == ["/apps", "/apps/delta"]
    assert polled.catalog.find("web")[0][0] is before
