"""What the type checkers make of balancers. Never run."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import assert_type

import aiohttp

from asyncsd import Instance, Retry
from asyncsd.balance import Balancer, Held, LeastOutstanding, PeakEWMA, RoundRobin


class Channel:
    """An endpoint of a user's own."""

    def __init__(self, instance: Instance) -> None: ...

    async def close(self) -> None: ...


def channel(instance: Instance) -> Channel:
    return Channel(instance)


async def connect(instance: Instance) -> Channel:
    return Channel(instance)


@asynccontextmanager
async def connected(instance: Instance) -> AsyncGenerator[Channel, None]:
    yield Channel(instance)


def session(instance: Instance) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(instance.url())


async def open_session(instance: Instance) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(instance.url())


def the_endpoint_is_the_instance_unless_a_factory_makes_another() -> None:
    assert_type(Balancer(), Balancer[Instance])
    assert_type(Balancer(RoundRobin(), name="users"), Balancer[Instance])
    assert_type(Balancer(PeakEWMA(), factory=channel), Balancer[Channel])
    assert_type(Balancer(factory=Channel), Balancer[Channel])
    assert_type(Balancer(factory=connect, close=Channel.close), Balancer[Channel])
    assert_type(Balancer(factory=connected), Balancer[Channel])
    assert_type(Balancer(factory=session), Balancer[aiohttp.ClientSession])
    assert_type(Balancer(factory=open_session), Balancer[aiohttp.ClientSession])
    assert_type(Balancer(factory=lambda instance: instance.address), Balancer[str])


async def calls_give_what_they_say(users: Balancer[Instance], channels: Balancer[Channel]) -> None:
    assert_type(channels.pick(), Instance)
    async with users.acquire() as instance:
        assert_type(instance, Instance)
    async with channels.acquire(timeout=None, exclude=[instance]) as endpoint:
        assert_type(endpoint, Channel)
    async with channels.lease() as held:
        assert_type(held, Held[Channel])
        assert_type(held.endpoint, Channel)
        assert_type(held.instance, Instance)
        held.fail(OSError())

    async def weigh(channel: Channel) -> int:
        return 1

    assert_type(await channels.call(weigh), int)
    assert_type(await channels.call(weigh, retry=Retry(on=(OSError,))), int)
    assert_type(channels.endpoints(), dict[Instance, Channel])


async def what_cannot_work_is_refused(users: Balancer[Instance], channels: Balancer[Channel]) -> None:
    async def weigh(channel: Channel) -> int:
        return 1

    await users.call(weigh)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Balancer("users")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    Balancer(LeastOutstanding)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    async with channels.acquire() as endpoint:
        assert_type(endpoint, Instance)  # type: ignore[assert-type]  # pyright: ignore[reportAssertTypeFailure]
