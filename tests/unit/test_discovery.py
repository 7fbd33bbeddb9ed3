"""Discovery shares what several ask for, owns what runs, and leaves nothing behind."""

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import AsyncIterator
from typing import Any, Self

import pytest

from asyncsd import (
    ClosedError,
    Discovery,
    Event,
    Health,
    Instance,
    Lease,
    Limits,
    NoInstances,
    PermissionDeniedError,
    Query,
    Record,
    Registration,
    RoundRobin,
    TTLCheck,
    UnreachableError,
    UnsupportedError,
)
from asyncsd.testing import FakeClock, MemoryBackend

ME = Registration(service="users", host="10.0.0.7", port=8080, check=TTLCheck(ttl=15.0))


def user(number: int, **more: Any) -> Instance:
    return Instance(id=f"users-{number}", service="users", host=f"10.0.0.{number}", port=8080, **more)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def registry(clock: FakeClock) -> MemoryBackend:
    return MemoryBackend(user(1), user(2), clock=clock)


@pytest.fixture
async def sd(registry: MemoryBackend, clock: FakeClock) -> AsyncIterator[Discovery[MemoryBackend]]:
    async with Discovery(registry, clock=clock) as sd:
        yield sd


class Refusing(MemoryBackend):
    """Answers each registration with an error, while there is one."""

    def __init__(self, error: Exception, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self.error: Exception | None = error

    async def register(self, record: Record, previous: Lease | None = None) -> Lease:
        if self.error is not None:
            raise self.error
        return await super().register(record, previous)


class TestOpening:
    async def test_nothing_happens_before_it_is_entered(self, registry: MemoryBackend) -> None:
        sd = Discovery(registry)
        assert not registry.is_open
        assert not sd.is_open
        with pytest.raises(ClosedError, match="async with"):
            await sd.instances("users")

    async def test_a_backend_that_it_opened_is_closed(self, registry: MemoryBackend) -> None:
        async with Discovery(registry) as sd:
            assert sd.is_open
            assert registry.is_open
        assert not registry.is_open

    async def test_an_open_backend_is_borrowed(self, registry: MemoryBackend) -> None:
        async with registry:
            async with Discovery(registry):
                pass
            assert registry.is_open

    async def test_it_is_opened_once(self, registry: MemoryBackend) -> None:
        sd = Discovery(registry)
        async with sd:
            with pytest.raises(RuntimeError, match="once"):
                await sd.__aenter__()
        with pytest.raises(RuntimeError, match="once"):
            await sd.__aenter__()

    async def test_a_backend_that_cannot_be_opened_raises_its_error(self) -> None:
        class Broken(MemoryBackend):
            async def __aenter__(self) -> Self:
                raise FileNotFoundError("ca.pem")

        sd = Discovery(Broken())
        with pytest.raises(FileNotFoundError, match=r"ca\.pem"):
            await sd.__aenter__()
        assert not sd.is_open

    @pytest.mark.parametrize("wrong", ["memory://", MemoryBackend, None, 5])
    async def test_what_is_no_backend_is_refused_at_once(self, wrong: Any) -> None:
        with pytest.raises(TypeError, match=r"Discovery\.from_url takes a URL"):
            Discovery(wrong)

    async def test_from_url_chooses_the_backend(self) -> None:
        async with Discovery.from_url("memory://") as sd:
            assert isinstance(sd.backend, MemoryBackend)

    async def test_from_url_names_the_schemes_there_are(self) -> None:
        with pytest.raises(ValueError, match=r"one of consul://, .*memory://.*; got 'redis'"):
            Discovery.from_url("redis://localhost")

    async def test_closed_while_it_opens_it_leaves_nothing_open(self) -> None:
        opening, go_on = asyncio.Event(), asyncio.Event()

        class Slow(MemoryBackend):
            async def __aenter__(self) -> Self:
                opening.set()
                await go_on.wait()
                return await super().__aenter__()

        backend = Slow()
        sd = Discovery(backend)
        entering = asyncio.create_task(sd.__aenter__())
        await opening.wait()
        await sd.aclose()
        go_on.set()
        with pytest.raises(ClosedError, match="while it opened"):
            await entering
        assert not backend.is_open


class TestClosing:
    async def test_it_can_be_closed_twice_and_by_several_at_once(self, registry: MemoryBackend) -> None:
        async with Discovery(registry) as sd:
            await asyncio.gather(sd.aclose(), sd.aclose())
        assert not registry.is_open

    async def test_one_that_was_never_opened_can_be_closed(self, registry: MemoryBackend) -> None:
        await Discovery(registry).aclose()

    async def test_whoever_waits_learns_of_it(self, sd: Discovery[Any], clock: FakeClock) -> None:
        inbox: asyncio.Queue[Event] = asyncio.Queue(8)
        async with sd.watch("users") as first, sd.watch("users", queue=inbox), sd.watch("none") as third:
            await first.get()
            await third.get()
            iterating = asyncio.create_task(_collect(first))
            getting = asyncio.create_task(third.get())
            acquiring = asyncio.create_task(_acquire(sd.balancer("nobody")))
            await clock.settle()
            await sd.aclose()
            assert await iterating == []
            with pytest.raises(ClosedError):
                await getting
            with pytest.raises(ClosedError):
                await acquiring
            events = [inbox.get_nowait() for _ in range(inbox.qsize())]
            assert [event.closed for event in events] == [False, True]

    async def test_what_is_registered_goes_before_the_backend_closes(
        self, registry: MemoryBackend, clock: FakeClock
    ) -> None:
        async with Discovery(registry, clock=clock) as sd:
            await sd.register(ME).__aenter__()
            assert len(await sd.instances("users")) == 3
        assert registry_ids(registry) == ["users-1", "users-2"]

    async def test_a_balancer_of_a_closed_one_says_so(self, registry: MemoryBackend) -> None:
        async with Discovery(registry) as sd:
            users = sd.balancer("users")
            async with users.acquire():
                pass
        with pytest.raises(ClosedError):
            users.pick()
        with pytest.raises(ClosedError):
            sd.balancer("orders")

    async def test_a_cancelled_body_leaves_nothing_registered(
        self, registry: MemoryBackend, clock: FakeClock
    ) -> None:
        async def serve() -> None:
            async with Discovery(registry, clock=clock) as sd, sd.register(ME):
                await asyncio.Event().wait()

        task = asyncio.create_task(serve())
        await clock.settle()
        assert len(registry_ids(registry)) == 3
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert registry_ids(registry) == ["users-1", "users-2"]

    async def test_a_factory_cannot_close_it(self, sd: Discovery[Any], clock: FakeClock) -> None:
        async def health() -> Health:
            await sd.aclose()
            return Health("passing")

        async with sd.register(ME, health=health):
            (mine,) = [
                i for i in await sd.instances(Query("users", status="critical")) if i.host == "10.0.0.7"
            ]
            assert mine.status == "critical"  # The error is the note of a failed health.
        assert sd.is_open


class TestWatching:
    async def test_however_many_ask_there_is_one_watch(self, sd: Discovery[Any]) -> None:
        async with sd.watch("users") as one, sd.watch(Query("users")) as two:
            users = sd.balancer("users")
            assert (await one.get()).snapshot is (await two.get()).snapshot
            async with users.acquire():
                pass
            (health,) = sd.health().watches.values()
            assert health.state == "live"

    async def test_it_ends_a_linger_after_the_last_one_went(
        self, sd: Discovery[Any], clock: FakeClock
    ) -> None:
        async with sd.watch("users") as events:
            await events.get()
        await clock.advance(4.9)
        assert len(sd.health().watches) == 1
        await clock.advance(0.2)
        assert not sd.health().watches

    async def test_one_that_comes_back_in_time_finds_it_live(
        self, sd: Discovery[Any], clock: FakeClock
    ) -> None:
        async with sd.watch("users") as events:
            await events.get()
        await clock.advance(4.9)
        async with sd.watch("users") as events:
            assert events.snapshot is not None
            await clock.advance(60.0)
            assert len(sd.health().watches) == 1

    async def test_a_queue_of_ones_own_gets_the_events_and_the_end(self, sd: Discovery[Any]) -> None:
        inbox: asyncio.Queue[Event] = asyncio.Queue(8)
        async with sd.watch("users", queue=inbox):
            event = await inbox.get()
            assert [instance.id for instance in event.added] == ["users-1", "users-2"]
        assert (await inbox.get()).closed

    async def test_a_queue_serves_one_watch_at_a_time(self, sd: Discovery[Any]) -> None:
        inbox: asyncio.Queue[Event] = asyncio.Queue(8)
        async with sd.watch("users", queue=inbox):
            with pytest.raises(ValueError, match="another watch already"):
                async with sd.watch("orders", queue=inbox):
                    pass
        async with sd.watch("orders", queue=inbox):
            pass

    async def test_a_watch_may_be_made_before_it_is_open_and_is_refused_once_it_is_closed(
        self, registry: MemoryBackend
    ) -> None:
        async with registry:  # Borrowed, so that it is open all the time.
            sd = Discovery(registry)
            early, late = sd.watch("users"), sd.watch("users")
            with pytest.raises(ClosedError, match="isn't open"):
                async with late:
                    pass
            async with sd, early as events:
                assert len((await events.get()).added) == 2
            with pytest.raises(ClosedError, match="is closed"):
                async with late:
                    pass
            assert not [task for task in asyncio.all_tasks() if "asyncsd" in task.get_name()]

    async def test_instances_gives_the_list_once(self, sd: Discovery[Any], registry: MemoryBackend) -> None:
        registry.put(user(3, status="warning"), user(4, status="critical"))
        assert [instance.id for instance in await sd.instances("users")] == ["users-1", "users-2"]
        everyone = await sd.instances(Query("users", status="critical"))
        assert [instance.status for instance in everyone] == ["passing", "passing", "warning", "critical"]
        assert len(await sd.instances("nobody")) == 0
        assert not sd.health().watches

    async def test_the_names_of_all_services_are_listed_and_watched(
        self, sd: Discovery[Any], registry: MemoryBackend, clock: FakeClock
    ) -> None:
        registry.put(Instance(id="o", service="orders", host="h", port=1, tags=("v1",)))
        assert dict(await sd.services()) == {"users": (), "orders": ("v1",)}
        async with sd.watch_services() as names:
            assert sorted(await names.get()) == ["orders", "users"]
            registry.remove("o")
            await clock.advance(1.0)
            assert sorted(await names.get()) == ["users"]

    async def test_a_reader_of_the_names_learns_that_the_block_was_left(
        self, sd: Discovery[Any], clock: FakeClock
    ) -> None:
        async with sd.watch_services() as names:
            await names.get()
            reading = asyncio.create_task(names.get())
            await clock.settle()
        with pytest.raises(ClosedError):
            await reading

    async def test_a_registry_without_a_catalogue_says_so(self) -> None:
        async with Discovery(_ReadOnly()) as sd:
            with pytest.raises(UnsupportedError, match="_ReadOnly can't list"):
                await sd.services()

    async def test_a_call_from_another_thread_is_refused(self, sd: Discovery[Any]) -> None:
        raised: list[BaseException] = []

        def elsewhere() -> None:
            try:
                sd.balancer("users")
            except RuntimeError as exc:
                raised.append(exc)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert "another event loop" in str(raised[0])


class TestBalancing:
    async def test_the_same_is_asked_for_and_the_same_is_given(self, sd: Discovery[Any]) -> None:
        assert sd.balancer("users", RoundRobin()) is sd.balancer(Query("users"), RoundRobin())
        assert sd.balancer("users") is sd.balancer("users")
        assert sd.balancer("users") is not sd.balancer("users", RoundRobin())
        assert sd.balancer("users") is not sd.balancer(Query("users", tags=("v1",)))

    async def test_made_before_it_is_open_it_works_once_it_is(self, registry: MemoryBackend) -> None:
        sd = Discovery(registry)
        users = sd.balancer("users")
        with pytest.raises(NoInstances, match="nothing"):
            users.pick()
        async with sd:
            async with users.acquire() as instance:
                assert instance.service == "users"

    async def test_an_idle_one_lets_its_watch_go_and_takes_it_again(
        self, registry: MemoryBackend, clock: FakeClock
    ) -> None:
        async with Discovery(registry, clock=clock, limits=Limits(idle=300.0)) as sd:
            users = sd.balancer("users", RoundRobin())
            async with users.acquire():
                pass
            await clock.advance(200.0)
            users.pick()
            await clock.advance(250.0)
            assert sd.health().watches, "it was used within its idle time"
            await clock.advance(400.0)
            assert not sd.health().watches
            registry.put(user(3))
            users.pick()  # From the last list, at once; the watch is on its way.
            await clock.settle()
            assert {users.pick().id for _ in range(3)} == {"users-1", "users-2", "users-3"}

    async def test_one_that_nobody_holds_is_gone_after_its_idle_time(
        self, registry: MemoryBackend, clock: FakeClock
    ) -> None:
        async with Discovery(registry, clock=clock, limits=Limits(idle=300.0)) as sd:
            gone = weakref.ref(sd.balancer("users", factory=lambda instance: instance.id))
            await clock.advance(1000.0)
            gc.collect()
            assert gone() is None

    async def test_endpoints_of_ones_own_are_made_and_closed(
        self, registry: MemoryBackend, clock: FakeClock
    ) -> None:
        closed: list[str] = []

        async def connect(instance: Instance) -> str:
            return instance.host

        async with Discovery(registry, clock=clock) as sd:
            channels = sd.balancer("users", RoundRobin(), factory=connect, close=closed.append)
            async with channels.acquire() as channel:
                assert channel in {"10.0.0.1", "10.0.0.2"}
            registry.remove("users-1")
            await clock.advance(1.0)
            assert closed == ["10.0.0.1"]
        assert closed == ["10.0.0.1", "10.0.0.2"]


class TestRegistering:
    async def test_it_is_registered_inside_the_block_alone(self, sd: Discovery[Any]) -> None:
        async with sd.register(ME) as registration:
            assert registration.state == "registered"
            assert registration.id.startswith("users-10.0.0.7-8080-")
            assert registration.id in [instance.id for instance in await sd.instances("users")]
            assert sd.health().registrations == (registration,)
        assert registration.state == "deregistered"
        assert len(await sd.instances("users")) == 2
        assert sd.health().registrations == ()

    async def test_a_permanent_error_is_raised_at_once(self, clock: FakeClock) -> None:
        refusal = PermissionDeniedError("no right to write", status=403)
        async with Discovery(Refusing(refusal, clock), clock=clock) as sd:
            with pytest.raises(PermissionDeniedError):
                async with sd.register(ME):
                    pass

    async def test_an_absent_registry_is_not_the_end(
        self, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        backend = Refusing(UnreachableError("connection refused"), clock)
        entered = asyncio.Event()

        async def serve() -> None:
            async with Discovery(backend, clock=clock) as sd, sd.register(ME, timeout=5.0) as registration:
                assert registration.state == "failing"
                assert registration.error is backend.error
                entered.set()
                await registration.wait_for("registered")

        with caplog.at_level(logging.WARNING, logger="asyncsd"):
            serving = asyncio.create_task(serve())
            await clock.advance(4.9)
            assert not entered.is_set()
            await clock.advance(0.2)
            assert entered.is_set()
            backend.error = None
            await clock.advance(2.0)
            await serving

    async def test_an_absent_registry_is_raised_when_it_is_required(self, clock: FakeClock) -> None:
        refusal = UnreachableError("connection refused")
        async with Discovery(Refusing(refusal, clock), clock=clock) as sd:
            entering = asyncio.create_task(sd.register(ME, required=True, timeout=5.0).__aenter__())
            await clock.advance(5.1)
            await clock.advance(10.0)
            with pytest.raises(UnreachableError, match="connection refused"):
                await entering

    async def test_a_backend_for_reading_only_is_refused(self) -> None:
        async with Discovery(_ReadOnly()) as sd:
            with pytest.raises(UnsupportedError, match="_ReadOnly is for reading only"):
                sd.register(ME)  # type: ignore[misc]

    async def test_one_is_entered_once(self, sd: Discovery[Any]) -> None:
        registering = sd.register(ME)
        assert sd.health().registrations == (), "nothing happens before it is entered"
        async with registering:
            with pytest.raises(RuntimeError, match="call register"):
                await registering.__aenter__()
            assert len(sd.health().registrations) == 1
        assert len(await sd.instances("users")) == 2

    async def test_several_registrations_stand_side_by_side(self, sd: Discovery[Any]) -> None:
        async with sd.register(ME) as one, sd.register(ME) as two:
            assert one.id != two.id
            assert len(await sd.instances("users")) == 4


class _ReadOnly:
    """A backend that can do nothing but fetch."""

    is_open = True

    async def __aenter__(self) -> "_ReadOnly":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass

    async def aclose(self) -> None:
        pass

    async def fetch(self, query: Query, cursor: Any) -> Any:
        raise AssertionError


def registry_ids(registry: MemoryBackend) -> list[str]:
    return sorted(instance.id for instance in registry.instances("users"))


async def _collect(events: Any) -> list[Event]:
    return [event async for event in events]


async def _acquire(balancer: Any) -> None:
    async with balancer.acquire(timeout=None):
        pass
