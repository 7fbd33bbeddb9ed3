"""With run_checks a registrar runs the checks of its registration itself, and its heartbeats tell of them."""

import asyncio
import importlib.util
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from asyncsd import (
    Check,
    Discovery,
    GRPCCheck,
    Health,
    HTTPCheck,
    Instance,
    Lease,
    Query,
    Registrar,
    Registration,
    Status,
    TCPCheck,
    TTLCheck,
    UnsupportedError,
    http_status,
)
from asyncsd._prober import by_ttl
from asyncsd.testing import FakeClock, MemoryBackend
from tests.cancellation.steps import cancel_at_every_step
from tests.support.checked import grpc_server

ALL = Query("users", status="critical")


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncsd._prober.LEAST_INTERVAL", 0.02)


class Telling(MemoryBackend):
    """Keeps what the heartbeats said."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Health] = []
        self._more = asyncio.Event()

    async def renew(self, lease: Lease, health: Health) -> None:
        self.heard.append(health)
        self._more.set()
        await super().renew(lease, health)

    async def said(self, status: Status, note: str) -> Health:
        """The first heartbeat that says so."""
        async with asyncio.timeout(10.0):
            while True:
                for health in self.heard:
                    if health.status == status and note in health.note:
                        return health
                self._more.clear()
                await self._more.wait()


class App:
    """A process that is asked how it is."""

    def __init__(self) -> None:
        self.status = 200
        self.asked = 0
        self.agents: set[str] = set()
        self.port = 0
        self.route: Callable[[], Any] | None = None
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/health", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        self.agents.add(request.headers["User-Agent"])
        status = self.status if self.route is None else await self.route()
        return web.Response(status=status, text="said")


@pytest.fixture
async def app() -> AsyncIterator[App]:
    app = App()
    await app.start()
    yield app
    await app.stop()


@pytest.fixture
async def backend() -> AsyncIterator[Telling]:
    async with Telling() as backend:
        yield backend


@pytest.fixture
async def sd(backend: Telling) -> AsyncIterator[Discovery[Telling]]:
    async with Discovery(backend) as sd:
        yield sd


def me(app: App, *checks: Check) -> Registration:
    return Registration(service="users", host="127.0.0.1", port=app.port, checks=checks)


async def until(sd: Discovery[Telling], status: Status) -> Instance:
    """Wait until the registry tells of an instance with this status."""
    async with asyncio.timeout(10.0), sd.watch(ALL) as events:
        async for event in events:
            for instance in event.snapshot or ():
                if instance.status == status:
                    return instance
    raise AssertionError("the watch was closed")


def names() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks()}


HTTP = HTTPCheck("/health", interval=0.02)


async def test_without_it_the_registry_refuses_and_the_error_names_both_ways(
    sd: Discovery[Telling], app: App
) -> None:
    with pytest.raises(UnsupportedError, match="use TTLCheck, or run_checks=True"):
        async with sd.register(me(app, HTTP)):
            pass


async def test_the_registry_hears_how_an_http_check_went(sd: Discovery[Telling], app: App) -> None:
    async with sd.register(me(app, HTTP), run_checks=True):
        await until(sd, "passing")
        app.status = 429
        await until(sd, "warning")
        app.status = 500
        await until(sd, "critical")
        app.status = 204
        await until(sd, "passing")
        await app.stop()
        await until(sd, "critical")
    assert app.agents == {"asyncsd health check"}


async def test_and_a_tcp_check(sd: Discovery[Telling], app: App) -> None:
    async with sd.register(me(app, TCPCheck(interval=0.02)), run_checks=True):
        await until(sd, "passing")
        await app.stop()
        await until(sd, "critical")
        await app.start()
        await until(sd, "passing")


@pytest.mark.parametrize(("service", "status"), [("", "passing"), ("up", "passing"), ("down", "critical")])
async def test_and_a_grpc_check(
    sd: Discovery[Telling], backend: Telling, service: str, status: Status
) -> None:
    async with grpc_server() as place:
        mine = Registration(service="users", host="127.0.0.1", check=GRPCCheck(place, service=service))
        async with sd.register(mine, run_checks=True):
            await backend.said(status, "gRPC")


async def test_an_instance_is_critical_until_its_check_was_run(
    sd: Discovery[Telling], backend: Telling, app: App
) -> None:
    async with sd.register(me(app, HTTP), run_checks=True):
        await until(sd, "passing")
    assert backend.heard[0] == Health("critical", "not checked yet")


async def test_one_that_is_still_starting_is_not_asked_at_the_interval_alone(
    sd: Discovery[Telling], app: App
) -> None:
    mine = me(app, HTTPCheck("/health", interval=3600.0))
    await app.stop()
    async with sd.register(mine, run_checks=True):
        await until(sd, "critical")
        await app.start()
        await until(sd, "passing")
        assert app.asked == 1


async def test_failures_count_as_the_check_says(sd: Discovery[Telling], backend: Telling, app: App) -> None:
    check = HTTPCheck("/health", interval=0.02, failures_before_critical=3)
    async with sd.register(me(app, check), run_checks=True):
        await until(sd, "passing")
        asked, app.status = app.asked, 500
        await until(sd, "critical")
        assert app.asked >= asked + 3


async def test_the_worst_of_checks_and_health_is_told_with_all_notes(
    sd: Discovery[Telling], backend: Telling, app: App
) -> None:
    mine = me(app, TTLCheck(ttl=0.15), HTTP, TCPCheck(interval=0.02))
    async with sd.register(mine, run_checks=True, health=lambda: ("warning", "queue is long")):
        told = await backend.said("warning", "200 OK")
    assert [part.partition(" ")[0] for part in told.note.split("; ")] == ["queue", "HTTP", "TCP"]
    assert told.note.endswith("Success")


async def test_a_check_of_the_route_that_tells_the_health_recovers(sd: Discovery[Telling], app: App) -> None:
    well = False

    async with sd.register(me(app, HTTP), run_checks=True, health=lambda: well) as registrar:

        async def route() -> int:
            return http_status(await registrar.check_health())

        app.route = route
        await until(sd, "critical")
        well = True
        await until(sd, "passing")


async def test_nothing_is_asked_once_it_has_left(sd: Discovery[Telling], app: App) -> None:
    async with sd.register(me(app, HTTP), run_checks=True):
        await until(sd, "passing")
        assert "asyncsd:check:users" in names()
    assert "asyncsd:check:users" not in names()


async def test_what_may_be_secret_in_the_url_is_not_told(
    sd: Discovery[Telling], backend: Telling, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "asyncsd")
    url = f"http://me:s3cret@127.0.0.1:{app.port}/health?token=s3cret"
    async with sd.register(me(app, HTTPCheck(url, interval=0.02)), run_checks=True):
        await until(sd, "passing")
        await app.stop()
        await until(sd, "critical")
    assert "s3cret" not in repr(backend.heard)
    assert "s3cret" not in caplog.text


async def test_a_check_that_has_a_bug_is_critical_and_told_of(
    sd: Discovery[Telling],
    backend: Telling,
    app: App,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("asyncsd._probes._tcp.TCPProbe.__call__", broken)
    async with sd.register(me(app, TCPCheck(interval=0.02)), run_checks=True):
        await backend.said("critical", "ZeroDivisionError: oops")
    assert "failed by a bug" in caplog.text


async def test_by_hand_it_is_the_same(backend: Telling, app: App) -> None:
    registrar = Registrar(backend, me(app, HTTP), run_checks=True)
    task = asyncio.create_task(registrar.run())
    await backend.said("passing", "200 OK")
    task.cancel()
    await asyncio.wait([task])
    assert backend.instances("users") == ()


class TestByTTL:
    def test_a_ttl_that_is_there_is_the_registrations(self) -> None:
        ttl = TTLCheck(ttl=30.0, id="mine")
        assert by_ttl((HTTPCheck(), ttl, TCPCheck())) == (ttl,)

    def test_else_one_is_made_of_what_the_checks_say(self) -> None:
        http = HTTPCheck(id="up", name="Up", notes="n", deregister_after=90.0, initial_status="passing")
        tcp = TCPCheck(deregister_after=None, initial_status="warning")
        made = TTLCheck(id="up", name="Up", notes="n", deregister_after=90.0, initial_status="warning")
        assert by_ttl((http, tcp)) == (made,)

    def test_what_has_no_check_gets_none(self) -> None:
        assert by_ttl(()) == ()


def test_a_grpc_check_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_: str) -> None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", nothing)
    mine = Registration(service="users", port=1, check=GRPCCheck())
    with pytest.raises(UnsupportedError, match=r"pip install 'asyncsd\[grpc\]'"):
        Registrar(Telling(), mine, run_checks=True)


def test_run_checks_is_a_flag() -> None:
    wrong: Any = "no"
    with pytest.raises(TypeError, match="run_checks"):
        Registrar(Telling(), Registration(service="users"), run_checks=wrong)


async def test_whatever_moment_it_is_cancelled_at_no_check_runs_on_and_nothing_is_left_registered() -> None:
    @asynccontextmanager
    async def world(clock: FakeClock) -> AsyncGenerator[Coroutine[Any, Any, object], None]:
        async with MemoryBackend(clock=clock) as backend:
            mine = Registration(service="users", host="127.0.0.1", port=1, check=TCPCheck())
            yield Registrar(backend, mine, run_checks=True, clock=clock).run()
            assert "asyncsd:check:users" not in names()
            assert backend.instances("users") == ()

    assert await cancel_at_every_step(world, limit=40) == 40
