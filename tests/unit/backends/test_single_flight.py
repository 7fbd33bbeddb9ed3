"""One call for many who want the same at once."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from asyncsd import UnreachableError
from asyncsd.backends._shared._connections import Connections
from asyncsd.backends._shared._endpoints import parse_endpoints
from asyncsd.backends._shared._single_flight import SingleFlight
from asyncsd.backends._shared._tls import TLS
from asyncsd.backends.etcd._login import Login
from asyncsd.backends.etcd._transport import Transport
from asyncsd.testing import FakeClock
from tests.support.fake_agent import FakeAgent


class Calls:
    """Each takes until `end`, and raises `error` then, or returns how many there were."""

    def __init__(self) -> None:
        self.count = 0
        self.end = asyncio.Event()
        self.error: UnreachableError | None = None

    async def __call__(self) -> int:
        self.count += 1
        await self.end.wait()
        if self.error is not None:
            raise self.error
        return self.count


async def test_who_asks_while_a_call_is_on_has_its_result_and_who_comes_later_another() -> None:
    calls, flight = Calls(), SingleFlight[int]()
    asking = [asyncio.create_task(flight.do(calls)) for _ in range(5)]
    await asyncio.sleep(0)
    calls.end.set()
    assert await asyncio.gather(*asking) == [1] * 5
    assert await flight.do(calls) == 2


async def test_its_error_is_each_ones_own_with_the_same_text_and_cause() -> None:
    calls, flight = Calls(), SingleFlight[int]()
    calls.error = UnreachableError("no answer", url="http://a")
    calls.error.__cause__ = cause = TimeoutError()
    asking = [asyncio.create_task(flight.do(calls)) for _ in range(5)]
    await asyncio.sleep(0)
    calls.end.set()
    errors = await asyncio.gather(*asking, return_exceptions=True)
    assert len(set(map(id, errors))) == 5
    assert {(type(error), str(error)) for error in errors} == {(UnreachableError, "no answer (http://a)")}
    assert {error.__cause__ for error in errors if isinstance(error, UnreachableError)} == {cause}
    calls.error = None
    assert await flight.do(calls) == 2


async def test_the_call_of_one_who_is_cancelled_goes_to_the_next() -> None:
    calls, flight = Calls(), SingleFlight[int]()
    first, second, third = [asyncio.create_task(flight.do(calls)) for _ in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait((first,))
    calls.end.set()
    assert (await second, await third) == (2, 2)


@pytest.fixture
async def agent() -> AsyncIterator[FakeAgent]:
    async with FakeAgent() as agent:
        yield agent


async def test_of_many_watches_on_a_frozen_etcd_all_learn_of_it_with_the_first(agent: FakeAgent) -> None:
    clock = FakeClock()
    endpoints = parse_endpoints(agent.url, owner="EtcdBackend")
    connections = Connections(
        "EtcdBackend", tls=TLS("EtcdBackend"), clock=clock, timeout=5.0, connect_timeout=3.0
    )
    transport = Transport(endpoints, login=Login(None, None, None), connections=connections, clock=clock)
    await transport.open()
    agent.never()
    looking = [asyncio.create_task(transport.alive(endpoints[0], 5.0)) for _ in range(8)]
    async with asyncio.timeout(20):
        await agent.arrived.acquire()
    await clock.advance(5.0)
    async with asyncio.timeout(20):
        errors = await asyncio.gather(*looking, return_exceptions=True)
    assert {type(error) for error in errors} == {UnreachableError}
    assert len(agent.asked) == 1
    await transport.aclose()
