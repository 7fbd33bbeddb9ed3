"""What the type checkers make of a Discovery and its parts. Never run."""

import asyncio
from collections.abc import Mapping
from typing import Any, Self, assert_type

from asyncsd import (
    Backend,
    Balancer,
    Discovery,
    DiscoveryHealth,
    Event,
    FileStore,
    Health,
    HTTPCheck,
    Instance,
    LeastOutstanding,
    Limits,
    NamesSubscription,
    Query,
    Record,
    Registrar,
    Registration,
    RegistrationState,
    Reply,
    RoundRobin,
    Snapshot,
    StateChange,
    Subscription,
    Watcher,
    WatchHealth,
)
from asyncsd.backends.consul import ConsulBackend
from asyncsd.backends.dns import DNSBackend
from asyncsd.testing import MemoryBackend

ME = Registration(service="users", port=80, check=HTTPCheck("/health"))


class ReadOnly:
    """A backend that has nothing to register with."""

    is_open = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None: ...

    async def aclose(self) -> None: ...

    async def fetch(self, query: Query, cursor: Any) -> Reply:
        return Reply(())


class Channel:
    """An endpoint of a user's own."""

    async def aclose(self) -> None: ...


async def channel(instance: Instance) -> Channel:
    return Channel()


def a_discovery_knows_its_backend() -> None:
    assert_type(Discovery(ConsulBackend()), Discovery[ConsulBackend])
    assert_type(Discovery(ConsulBackend()).backend, ConsulBackend)
    assert_type(Discovery(MemoryBackend(), limits=Limits(reset_hold=30.0)), Discovery[MemoryBackend])
    assert_type(Discovery.from_url("consul://127.0.0.1:8500"), Discovery[Any])
    assert_type(Discovery(MemoryBackend(), store=FileStore("lists")), Discovery[MemoryBackend])
    Discovery(MemoryBackend(), store="lists")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_discovery_of_more_will_do_for_one_of_less(consul: Discovery[ConsulBackend]) -> Discovery[Backend]:
    return consul


async def registering_needs_a_backend_that_can(
    consul: Discovery[ConsulBackend],
    any_url: Discovery[Any],
    read_only: Discovery[ReadOnly],
    names: Discovery[DNSBackend],
    perhaps_read_only: Discovery[Backend],
) -> None:
    async with consul.register(ME, timeout=2.0, required=True, drain=3.0) as registration:
        assert_type(registration, Registrar)
        assert_type(registration.id, str)
        assert_type(registration.state, RegistrationState)
        assert_type(registration.record, Record | None)
        assert_type(await registration.wait_for("registered", "failing"), RegistrationState)
        await registration.update(tags=("v2",), meta={"zone": "b"}, weight=lambda: 3)
    any_url.register(ME)
    read_only.register(ME)  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    names.register(ME)  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    perhaps_read_only.register(ME)  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


async def how_it_is(consul: Discovery[ConsulBackend]) -> None:
    def busy() -> bool:
        return True

    async def well() -> Health:
        return Health("warning", "the queue is long")

    def told(change: StateChange) -> None:
        assert_type(change.error, Exception | None)

    consul.register(ME, health=busy, on_change=told)
    consul.register(ME, health=well, on_change=[told, print])
    consul.register(ME, health=lambda: ("critical", "no database"))
    consul.register(ME, health=lambda: "down")  # type: ignore[arg-type,return-value]  # pyright: ignore[reportArgumentType]
    consul.register(ME, health=Health("passing"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    consul.register("users")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await consul.instances(["users"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(consul.health(), DiscoveryHealth)


async def watches_give_events(consul: Discovery[ConsulBackend], inbox: asyncio.Queue[Event]) -> None:
    async with consul.watch(Query("users", tags=("v1",))) as events:
        assert_type(events, Subscription)
        assert_type(events.snapshot, Snapshot | None)
        assert_type(events.health(), WatchHealth)
        assert_type(await events.get(), Event)
        async for event in events:
            assert_type(event, Event)
    async with consul.watch("users", queue=inbox):
        assert_type(await inbox.get(), Event)
    async with consul.watch_services() as names:
        assert_type(names, NamesSubscription)
        async for services in names:
            assert_type(services, Mapping[str, tuple[str, ...]])
    assert_type(await consul.instances("users"), Snapshot)
    assert_type(await consul.services(), Mapping[str, tuple[str, ...]])
    await Watcher(consul.backend, "users").run(asyncio.Queue[Event]())
    await Watcher(consul.backend, "users").run(asyncio.Queue[int]())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    consul.watch("users", queue=[])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def balancers_are_of_what_their_factory_makes(consul: Discovery[ConsulBackend]) -> None:
    assert_type(consul.balancer("users"), Balancer[Instance])
    assert_type(consul.balancer(Query("users"), RoundRobin()), Balancer[Instance])
    assert_type(consul.balancer("users", factory=channel), Balancer[Channel])
    assert_type(
        consul.balancer("users", LeastOutstanding(), factory=channel, close=Channel.aclose), Balancer[Channel]
    )
    assert_type(consul.balancer("users", factory=Instance.url), Balancer[str])
    consul.balancer("users", RoundRobin)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
