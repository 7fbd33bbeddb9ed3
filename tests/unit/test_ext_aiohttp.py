"""The aiohttp extension: a server registers itself, and a client calls services by their names."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, unused_port

import asyncsd.ext.aiohttp as sd_aiohttp
from asyncsd import (
    Backoff,
    ClosedError,
    Discovery,
    Health,
    Instance,
    Lease,
    PermissionDeniedError,
    Record,
    Registration,
    Retry,
    RoundRobin,
    TTLCheck,
)
from asyncsd.testing import FakeClock, MemoryBackend

ME = Registration(service="greeter", host="127.0.0.1", port=8080, check=TTLCheck(ttl=15.0))


class Server:
    """One instance of a service, and what it was asked."""

    def __init__(self, number: int) -> None:
        self.id = f"s{number}"
        self.port = 0
        self.requests: list[web.Request] = []
        self.asked = asyncio.Event()
        self.release = asyncio.Event()

    @property
    def instance(self) -> Instance:
        return Instance(id=self.id, service="users", host="127.0.0.1", port=self.port)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.asked.set()
        await request.read()
        match request.path:
            case "/hang":
                await self.release.wait()
            case "/stream" | "/broken/stream":
                response = web.StreamResponse(status=200 if request.path == "/stream" else 500)
                await response.prepare(request)
                await response.write(b"first")
                await self.release.wait()
                return response
        return web.Response(text=self.id, status=500 if request.path == "/broken" else 200)


@asynccontextmanager
async def serving(number: int) -> AsyncGenerator[Server, None]:
    server = Server(number)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    async with TestServer(app) as listening:
        server.port = listening.port or 0
        yield server
        server.release.set()


class Registry(MemoryBackend):
    """Tells when something was registered."""

    def __init__(self) -> None:
        super().__init__()
        self.registered = asyncio.Event()

    async def register(self, record: Record, previous: Lease | None = None) -> Lease:
        lease = await super().register(record, previous)
        self.registered.set()
        return lease


@pytest.fixture
async def servers() -> AsyncIterator[list[Server]]:
    async with serving(1) as one, serving(2) as two:
        yield [one, two]


@pytest.fixture
async def sd(servers: list[Server]) -> AsyncIterator[Discovery[MemoryBackend]]:
    async with Discovery(MemoryBackend(*(server.instance for server in servers))) as sd:
        yield sd


@pytest.fixture
async def session(sd: Discovery[Any]) -> AsyncIterator[aiohttp.ClientSession]:
    middleware = sd_aiohttp.balanced(sd, policy=RoundRobin())
    async with aiohttp.ClientSession(middlewares=(middleware,)) as session:
        yield session


async def fetch(session: aiohttp.ClientSession, url: str, **more: Any) -> str:
    async with session.get(url, **more) as response:
        return await response.text()


class TestBalanced:
    async def test_the_host_of_a_url_is_a_services_name(self, session: Any, servers: list[Server]) -> None:
        answers = [await fetch(session, "http://users/path?q=1") for _ in range(4)]
        assert sorted(answers) == ["s1", "s1", "s2", "s2"]
        request = servers[0].requests[0]
        assert request.path_qs == "/path?q=1"
        assert request.headers["Host"] == servers[0].instance.address

    async def test_other_hosts_pass_untouched(self, session: Any, servers: list[Server]) -> None:
        port = servers[0].instance.port
        assert await fetch(session, f"http://127.0.0.1:{port}/") == "s1"
        assert await fetch(session, f"http://localhost:{port}/") == "s1"

    async def test_which_hosts_are_services_can_be_said(self, sd: Discovery[Any]) -> None:
        middleware = sd_aiohttp.balanced(sd, services=lambda host: host == "users", timeout=0.1)
        async with aiohttp.ClientSession(middlewares=(middleware,)) as session:
            assert await fetch(session, "http://users/") in {"s1", "s2"}
        middleware = sd_aiohttp.balanced(sd, services={"users.internal"}, timeout=0.1)
        async with aiohttp.ClientSession(middlewares=(middleware,)) as session:
            with pytest.raises(sd_aiohttp.NoInstancesClientError, match=r"users\.internal"):
                await fetch(session, "http://users.internal/")

    async def test_a_port_in_the_url_is_refused(self, session: Any) -> None:
        with pytest.raises(aiohttp.InvalidURL, match="port"):
            await fetch(session, "http://users:8080/")

    async def test_without_an_instance_it_is_a_client_error(self, sd: Discovery[Any]) -> None:
        middleware = sd_aiohttp.balanced(sd, timeout=0.05)
        async with aiohttp.ClientSession(middlewares=(middleware,)) as session:
            with pytest.raises(aiohttp.ClientError, match="no instance of 'nobody'"):
                await fetch(session, "http://nobody/")

    async def test_a_refused_connection_goes_to_another_instance(
        self, sd: Discovery[Any], session: Any
    ) -> None:
        sd.backend.put(Instance(id="dead", service="users", host="127.0.0.1", port=unused_port()))
        answers = [await fetch(session, "http://users/") for _ in range(6)]
        assert set(answers) == {"s1", "s2"}

    async def test_the_error_is_aiohttps_own_when_all_are_dead(
        self, sd: Discovery[Any], session: Any
    ) -> None:
        sd.backend.clear()
        sd.backend.put(Instance(id="dead", service="users", host="127.0.0.1", port=unused_port()))
        with pytest.raises(aiohttp.ClientConnectorError):
            await fetch(session, "http://users/")

    async def test_what_is_tried_again_can_be_said(self, sd: Discovery[Any]) -> None:
        sd.backend.clear()
        sd.backend.put(Instance(id="dead", service="users", host="127.0.0.1", port=unused_port()))
        middleware = sd_aiohttp.balanced(sd, retry=Retry(attempts=1, on=(OSError,)))
        async with aiohttp.ClientSession(middlewares=(middleware,)) as session:
            with pytest.raises(aiohttp.ClientConnectorError):
                await fetch(session, "http://users/")

    async def test_a_callback_is_told_of_each_failure_and_may_end_it(self, sd: Discovery[Any]) -> None:
        sd.backend.clear()
        sd.backend.put(Instance(id="dead", service="users", host="127.0.0.1", port=unused_port()))
        told: list[int] = []

        async def callback(attempt: int, errors: Sequence[Exception]) -> bool:
            told.append(attempt)
            assert isinstance(errors[-1], aiohttp.ClientConnectorError)
            return attempt < 2

        middleware = sd_aiohttp.balanced(sd, retry=Retry(attempts=9, on=(OSError,), callback=callback))
        async with aiohttp.ClientSession(middlewares=(middleware,)) as session:
            with pytest.raises(aiohttp.ClientConnectorError):
                await fetch(session, "http://users/")
        assert told == [1, 2]

    async def test_the_pause_before_another_attempt_goes_by_the_clock_of_the_discovery(self) -> None:
        dead = Instance(id="dead", service="users", host="127.0.0.1", port=unused_port())
        clock = FakeClock()
        retry = Retry(attempts=2, on=(OSError,), backoff=Backoff(initial=1e4, maximum=1e4))
        async with asyncio.timeout(5), Discovery(MemoryBackend(dead, clock=clock), clock=clock) as sd:
            middleware = sd_aiohttp.balanced(sd, retry=retry)
            async with aiohttp.ClientSession(middlewares=(middleware,)) as session:
                asking = asyncio.create_task(fetch(session, "http://users/"))
                while not asking.done():
                    await asyncio.sleep(0.01)
                    await clock.advance(1e4)
                with pytest.raises(aiohttp.ClientConnectorError):
                    await asking

    async def test_a_predicate_is_asked_for_each_request(self, sd: Discovery[Any]) -> None:
        asked: list[str] = []

        def services(host: str) -> bool:
            asked.append(host)
            return True

        middleware = sd_aiohttp.balanced(sd, services=services)
        async with aiohttp.ClientSession(middlewares=(middleware,)) as session:
            for _ in range(3):
                assert await fetch(session, "http://users/") in {"s1", "s2"}
        assert asked == ["users"] * 3

    async def test_after_its_balancer_was_closed_the_next_one_is_found(
        self, sd: Discovery[Any], session: Any
    ) -> None:
        assert await fetch(session, "http://users/") in {"s1", "s2"}
        before = sd.balancer("users", RoundRobin())
        await before.aclose()
        assert await fetch(session, "http://users/") in {"s1", "s2"}
        assert sd.balancer("users", RoundRobin()) is not before

    async def test_a_closed_discovery_is_said(self, servers: list[Server]) -> None:
        async with Discovery(MemoryBackend(servers[0].instance)) as sd:
            session = aiohttp.ClientSession(middlewares=(sd_aiohttp.balanced(sd),))
            assert await fetch(session, "http://users/") == "s1"
        async with session:
            with pytest.raises(ClosedError):
                await fetch(session, "http://users/")

    async def test_time_limits_are_aiohttps_own(self, sd: Discovery[Any]) -> None:
        with pytest.raises(ValueError, match="ClientTimeout"):
            sd_aiohttp.balanced(sd, retry=Retry(timeout=1.0, on=(OSError,)))
        middleware = sd_aiohttp.balanced(sd)
        async with aiohttp.ClientSession(middlewares=(middleware,)) as session:
            with pytest.raises(TimeoutError):
                await fetch(session, "http://users/hang", timeout=aiohttp.ClientTimeout(total=0.05))

    async def test_a_body_is_sent(self, session: Any, servers: list[Server]) -> None:
        async with session.post("http://users/", json={"a": 1}) as response:
            assert response.status == 200
            answered = await response.text()
        (server,) = (server for server in servers if server.id == answered)
        assert await server.requests[0].json() == {"a": 1}

    async def test_a_500_counts_as_a_failure(self, sd: Discovery[Any]) -> None:
        middleware = sd_aiohttp.balanced(sd)
        async with aiohttp.ClientSession(middlewares=(middleware,)) as session:
            async with session.get("http://users/broken") as response:
                assert response.status == 500
                bad = await response.text()
        loads = {load.instance.id: load for load in sd.balancer("users").statistics().loads}
        assert (loads[bad].latency or 0.0) > 0.5, "a fast failure counts as a slow call"

    async def test_a_balancer_with_a_classify_of_its_own_asks_it_what_counts(
        self, sd: Discovery[Any]
    ) -> None:
        asked: list[Exception] = []
        # It is by the policy of `balanced`, so it is the one that this finds.
        users = sd.balancer("dead", classify=lambda error: bool(asked.append(error)))
        sd.backend.put(Instance(id="dead", service="dead", host="127.0.0.1", port=unused_port()))
        async with aiohttp.ClientSession(middlewares=(sd_aiohttp.balanced(sd, retry=None),)) as session:
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get("http://dead/")
        assert [type(error) for error in asked] == [aiohttp.ClientConnectorError]
        (load,) = users.statistics().loads
        assert (load.latency or 0.0) < 0.5, "what doesn't count is no slow call"

    async def test_the_load_lasts_until_the_response_is_released(
        self, sd: Discovery[Any], session: Any, servers: list[Server]
    ) -> None:
        users = sd.balancer("users", RoundRobin())
        async with session.get("http://users/stream") as response:
            assert await response.content.readexactly(5) == b"first"
            assert users.statistics().in_flight == 1
            for server in servers:
                server.release.set()
            await response.read()
        assert users.statistics().in_flight == 0

    async def test_a_500_that_comes_in_pieces_counts_once_it_is_released(
        self, sd: Discovery[Any], servers: list[Server]
    ) -> None:
        sd.backend.remove("s2")
        users = sd.balancer("users")
        async with aiohttp.ClientSession(middlewares=(sd_aiohttp.balanced(sd),)) as session:
            async with session.get("http://users/broken/stream"):
                (load,) = users.statistics().loads
                assert (load.in_flight, load.latency) == (1, None)
            (load,) = users.statistics().loads
            assert load.in_flight == 0
            assert (load.latency or 0.0) > 0.5, "a fast failure counts as a slow call"

    async def test_a_cancelled_call_gives_its_load_back(
        self, sd: Discovery[Any], session: Any, servers: list[Server]
    ) -> None:
        sd.backend.remove("s2")
        users = sd.balancer("users", RoundRobin())
        task = asyncio.create_task(fetch(session, "http://users/hang"))
        async with asyncio.timeout(5):
            await servers[0].asked.wait()
        assert users.statistics().in_flight == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert users.statistics().in_flight == 0

    async def test_a_scheme_of_the_registration_takes_the_place_of_the_urls(self, sd: Discovery[Any]) -> None:
        sd.backend.put(
            Instance(id="tls", service="secure", host="127.0.0.1", port=unused_port(), scheme="https")
        )
        middleware = sd_aiohttp.balanced(sd)
        async with aiohttp.ClientSession(middlewares=(middleware,)) as session:
            with pytest.raises(aiohttp.ClientConnectorError) as caught:
                await fetch(session, "http://secure/")
            assert caught.value.ssl is True


class TestSetup:
    async def test_an_application_registers_itself_while_it_runs(self) -> None:
        registry = MemoryBackend()
        app = web.Application()
        sd_aiohttp.setup(app, lambda: Discovery(registry), register=ME)
        app.router.add_get("/health", sd_aiohttp.health())
        async with TestClient(TestServer(app)) as client:
            assert app[sd_aiohttp.REGISTRATION].state == "registered"
            assert len(await app[sd_aiohttp.DISCOVERY].instances("greeter")) == 1
            async with client.get("/health") as response:
                assert (response.status, await response.text()) == (200, "passing")
        assert registry.instances("greeter") == ()

    @pytest.mark.parametrize(
        ("said", "status"), [(Health("warning", "slow"), 429), (Health("critical", "no database"), 503)]
    )
    async def test_the_health_route_says_what_health_says(self, said: Health, status: int) -> None:
        app = web.Application()
        sd_aiohttp.setup(app, lambda: Discovery(MemoryBackend()), register=ME, health=lambda: said)
        app.router.add_get("/health", sd_aiohttp.health())
        async with TestClient(TestServer(app)) as client, client.get("/health") as response:
            assert (response.status, await response.text()) == (status, said.note)

    async def test_a_permanent_error_ends_the_start(self) -> None:
        class Refusing(MemoryBackend):
            async def register(self, record: Any, previous: Any = None) -> Any:
                raise PermissionDeniedError("no right to write", status=403)

        app = web.Application()
        sd_aiohttp.setup(app, lambda: Discovery(Refusing()), register=ME)
        runner = web.AppRunner(app)
        with pytest.raises(PermissionDeniedError):
            await runner.setup()
        await runner.cleanup()


class TestServe:
    async def test_it_listens_then_registers_and_on_a_signal_deregisters_then_stops(self) -> None:
        registry = Registry()
        told: list[str] = []
        app = web.Application()
        in_flight, release = asyncio.Event(), asyncio.Event()

        async def slow(_: web.Request) -> web.Response:
            in_flight.set()
            await release.wait()
            told.append("answered")
            return web.Response(text="done")

        async def cleanup(_: web.Application) -> None:
            told.append("stopped")

        def changed(change: Any) -> None:
            told.append(change.after)
            if change.after == "deregistered":
                release.set()

        app.router.add_get("/slow", slow)
        app.on_cleanup.append(cleanup)
        me = Registration(service="greeter", host="127.0.0.1", port=0, check=TTLCheck(ttl=15.0))
        serving = asyncio.create_task(
            sd_aiohttp.serve(
                app, lambda: Discovery(registry), register=me, host="127.0.0.1", on_change=changed
            )
        )
        async with asyncio.timeout(10), aiohttp.ClientSession() as session:
            await registry.registered.wait()
            (instance,) = registry.instances("greeter")
            assert instance.port != 0
            asking = asyncio.create_task(fetch(session, instance.url("/slow")))
            await in_flight.wait()
            os.kill(os.getpid(), signal.SIGTERM)
            assert await asking == "done"
            await serving
        assert told == ["registered", "deregistered", "answered", "stopped"]
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    async def test_a_cancellation_ends_it_in_the_same_order(self) -> None:
        registry = Registry()
        app = web.Application()
        serving = asyncio.create_task(
            sd_aiohttp.serve(app, lambda: Discovery(registry), register=ME, port=0, host="127.0.0.1")
        )
        async with asyncio.timeout(10):
            await registry.registered.wait()
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving
        assert registry.instances("greeter") == ()

    async def test_a_port_that_is_taken_is_an_os_error_and_nothing_is_registered(self) -> None:
        registry = Registry()
        async with TestServer(web.Application()) as taken:
            with pytest.raises(OSError, match="in use"):
                await sd_aiohttp.serve(
                    web.Application(),
                    lambda: Discovery(registry),
                    register=ME,
                    host="127.0.0.1",
                    port=taken.port,
                )
        assert registry.instances("greeter") == ()

    async def test_a_closed_discovery_is_refused(self) -> None:
        sd = Discovery(MemoryBackend())
        async with sd:
            pass
        with pytest.raises((RuntimeError, ClosedError)):
            await sd_aiohttp.serve(web.Application(), lambda: sd, register=ME, host="127.0.0.1", port=0)
