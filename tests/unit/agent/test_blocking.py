"""Blocking queries: when they are answered."""

import asyncio
import random

import pytest

from asyncsd.agent._config import AgentConfig
from asyncsd.agent._registry import Registry
from asyncsd.agent._state._blocking import Wait, blocking, patience
from asyncsd.agent._state._catalog import Catalog
from asyncsd.agent._state._found import Found
from asyncsd.agent._state._structs import HealthEntry, Node, Service
from asyncsd.testing import FakeClock

NODE = Node(node="n1", address="10.0.0.1", datacenter="dc1")


class Asking:
    """A catalog with one service, and a query for it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.catalog = Catalog()
        self.write("web1")

    def write(self, id: str, name: str = "web") -> None:
        self.catalog.register(NODE, [Service(id=id, service=name)])

    def ask(self, index: int, seconds: float = 60.0) -> asyncio.Task[Found[list[HealthEntry]]]:
        return asyncio.create_task(
            blocking(
                self.catalog,
                lambda: self.catalog.health("web"),
                Wait(index, seconds),
                clock=self.clock,
                rng=random.Random(3),
            )
        )


@pytest.fixture
async def asking() -> Asking:
    return Asking()


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_an_old_index_is_answered_at_once(asking: Asking) -> None:
    for index in (0, 1, asking.catalog.health("web").index - 1):
        assert len((await asking.ask(index)).value) == 1


async def test_a_change_ends_the_wait(asking: Asking) -> None:
    known = asking.catalog.health("web").index
    task = asking.ask(known)
    await turns()
    asking.write("db1", "db")
    await turns()
    assert not task.done()
    asking.write("web2")
    found = await task
    assert (len(found.value), found.index > known) == (2, True)
    assert not len(asking.catalog.waiters)


async def test_time_ends_the_wait_with_what_was_known(asking: Asking) -> None:
    known = asking.catalog.health("web")
    task = asking.ask(known.index, seconds=16.0)
    await turns()
    await asking.clock.advance(15.9)
    assert not task.done()
    await asking.clock.advance(1.2)  # the wait, and up to a sixteenth of it
    assert await task == known
    assert not len(asking.catalog.waiters)


async def test_an_index_of_the_future_waits_until_it_has_come(asking: Asking) -> None:
    task = asking.ask(asking.catalog.index + 1)
    await turns()
    asking.write("web2")
    await turns()
    assert not task.done()
    asking.write("web3")
    assert len((await task).value) == 3


async def test_a_cancelled_query_leaves_nothing(asking: Asking) -> None:
    task = asking.ask(asking.catalog.index)
    await turns()
    assert len(asking.catalog.waiters) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not len(asking.catalog.waiters)


async def test_indexes_that_begin_anew_are_answered_with_what_was_known(asking: Asking) -> None:
    asking.write("web2")
    known = asking.catalog.health("web")
    task = asking.ask(known.index)
    await turns()
    asking.catalog.reset()
    assert await task == known
    assert asking.catalog.health("web").index < known.index


@pytest.mark.parametrize(("asked", "least", "most"), [(10, 10, 10.625), (0, 300, 318.75), (9999, 600, 637.5)])
def test_waits_are_bounded_and_jittered_as_consul_s(asked: float, least: float, most: float) -> None:
    rng = random.Random(5)
    waits = [patience(Wait(1, asked), rng) for _ in range(200)]
    assert least <= min(waits) < max(waits) <= most
    assert max(waits) - min(waits) > (most - least) / 2


async def test_the_agent_mends_its_catalog_at_each_interval() -> None:
    clock = FakeClock()
    registry = Registry(AgentConfig(sync_interval=60), port=8500, clock=clock, rng=random.Random(1))
    try:
        await turns()
        registry.local.add_service(Service(id="web1", service="web"))
        registry.catalog.deregister(registry.node.node, service_id="web1")
        await clock.advance(59)
        assert registry.catalog.health("web").value == []
        await clock.advance(2)
        assert len(registry.catalog.health("web").value) == 1
    finally:
        await registry.aclose()
