"""The members of a composite: what they are called, and who opens and closes them."""

import asyncio
from typing import Any

import pytest

from asyncsd import ClosedError, Discovery, Query, Registration, UnsupportedError
from asyncsd.backends.composite import Failover, Merge
from asyncsd.backends.consul import ConsulBackend
from asyncsd.backends.etcd import EtcdBackend
from asyncsd.testing import FakeClock, MemoryBackend
from tests.support.members import FaultyMemory, instance


def test_members_have_the_names_that_are_given() -> None:
    east, west = MemoryBackend(), MemoryBackend()
    assert dict(Merge({"east": east, "west": west}).members) == {"east": east, "west": west}


def test_members_without_a_name_are_called_by_their_kind() -> None:
    assert list(Merge(EtcdBackend(), MemoryBackend()).members) == ["etcd", "memory"]


def test_members_of_one_kind_are_numbered() -> None:
    made = Failover(MemoryBackend(), EtcdBackend(), MemoryBackend())
    assert list(made.members) == ["memory-1", "etcd", "memory-2"]


def test_members_are_called_by_their_datacenter() -> None:
    made = Failover(ConsulBackend(datacenter="dc1"), ConsulBackend(datacenter="dc2"), ConsulBackend())
    assert list(made.members) == ["dc1", "dc2", "consul"]


def test_given_names_and_made_ones_go_together() -> None:
    assert list(Merge(MemoryBackend(), {"east": MemoryBackend()}).members) == ["memory", "east"]


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ((), ValueError, "made of backends"),
        (({},), ValueError, "made of backends"),
        (("consul://127.0.0.1",), TypeError, "made of backends, such as"),
        ((MemoryBackend,), TypeError, "made of backends, such as"),
        (({"a/b": MemoryBackend()},), ValueError, "no '/'"),
        (({"": MemoryBackend()},), ValueError, "a member's name"),
        (({"memory": MemoryBackend()}, MemoryBackend()), ValueError, "two members are called 'memory'"),
    ],
)
def test_what_cant_be_a_member_is_refused(given: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Merge(*given)


def test_a_backend_cant_be_in_it_twice() -> None:
    one = MemoryBackend()
    with pytest.raises(ValueError, match="in it twice"):
        Merge({"a": one, "b": one})


@pytest.mark.parametrize("name", ["wait", "patience"])
def test_a_time_that_is_none_is_refused(name: str) -> None:
    wrong: Any = {name: -1.0}
    with pytest.raises(ValueError, match=f"Merge.{name}"):
        Merge(MemoryBackend(), **wrong)


@pytest.mark.parametrize("name", ["down", "back"])
def test_a_time_of_failover_that_is_none_is_refused(name: str) -> None:
    wrong: Any = {name: -1.0}
    with pytest.raises(ValueError, match=f"Failover.{name}"):
        Failover(MemoryBackend(), **wrong)


def test_its_repr_shows_the_members() -> None:
    east, west = MemoryBackend(), EtcdBackend(user="me", password="secret")
    assert repr(Merge({"east": east, "west": west})) == f"Merge({{'east': {east!r}, 'west': {west!r}}})"
    assert repr(Failover({"east": east}, down=1.0)) == f"Failover({{'east': {east!r}}}, down=1, back=30)"
    assert "secret" not in repr(Merge(west))


async def test_members_open_and_close_with_it_and_a_borrowed_one_stays_open() -> None:
    own, borrowed = MemoryBackend(), MemoryBackend()
    async with borrowed:
        async with Merge({"own": own, "borrowed": borrowed}):
            assert own.is_open
        assert not own.is_open
        assert borrowed.is_open


class Refusing(MemoryBackend):
    async def __aenter__(self) -> Any:
        raise ValueError("no such file")


async def test_a_member_that_cant_be_opened_closes_those_that_were() -> None:
    first, borrowed = MemoryBackend(), MemoryBackend()
    merge = Merge({"first": first, "borrowed": borrowed, "second": Refusing()})
    async with borrowed:
        with pytest.raises(ValueError, match="no such file"):
            await merge.__aenter__()
        assert (first.is_open, borrowed.is_open, merge.is_open) == (False, True, False)


class Hanging(MemoryBackend):
    async def __aenter__(self) -> Any:
        await asyncio.get_running_loop().create_future()


async def test_an_opening_that_is_cancelled_leaves_nothing_open() -> None:
    first = MemoryBackend()
    opening = asyncio.create_task(Merge({"first": first, "second": Hanging()}).__aenter__())
    await FakeClock().settle()
    assert first.is_open
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert not first.is_open


class Slow(MemoryBackend):
    async def __aenter__(self) -> Any:
        await asyncio.sleep(0)
        return await super().__aenter__()


async def test_one_that_is_closed_while_it_opens_leaves_nothing_open() -> None:
    member = Slow()
    merge = Merge(member)
    opening = asyncio.create_task(merge.__aenter__())
    await asyncio.sleep(0)
    await merge.aclose()
    with pytest.raises(ClosedError, match="closed while it opened"):
        await opening
    assert (member.is_open, merge.is_open) == (False, False)


async def test_it_is_opened_once() -> None:
    async with Merge(MemoryBackend()) as merge:
        with pytest.raises(RuntimeError, match="opened once"):
            await merge.__aenter__()


async def test_registering_with_a_composite_is_refused_with_the_remedy() -> None:
    async with Discovery(Merge(MemoryBackend())) as sd:
        unable: Any = sd
        with pytest.raises(UnsupportedError, match="Merge"):
            async with unable.register(Registration(service="users", port=80)):
                pass


class Stubborn(MemoryBackend):
    async def aclose(self) -> None:
        await super().aclose()
        raise OSError("it won't close")


async def test_all_members_are_closed_though_one_raises() -> None:
    first, last = Stubborn(), MemoryBackend()
    merge = Merge({"first": first, "last": last})
    await merge.__aenter__()
    with pytest.raises(OSError, match="won't close"):
        await merge.aclose()
    assert not last.is_open
    await merge.aclose()


class HangingAtTheEnd(MemoryBackend):
    async def aclose(self) -> None:
        await super().aclose()
        await asyncio.get_running_loop().create_future()


async def test_a_member_whose_closing_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncsd.backends.composite._backend.CLOSE", 0.05)
    hanging, other = HangingAtTheEnd(), MemoryBackend()
    merge = Merge({"hanging": hanging, "other": other})
    await merge.__aenter__()
    before = asyncio.all_tasks()
    async with asyncio.timeout(20):
        with pytest.raises(TimeoutError, match="took longer than"):
            await merge.aclose()
    assert not other.is_open
    assert asyncio.all_tasks() == before


async def test_members_are_closed_once() -> None:
    member = FaultyMemory(clock=FakeClock())
    async with Merge(member) as merge:
        await asyncio.gather(merge.aclose(), merge.aclose())
    assert member.closes == 1


async def test_a_nested_composite_tells_the_whole_way_of_an_instance() -> None:
    eu = Merge({"east": MemoryBackend(instance("a")), "west": MemoryBackend(instance("b"))})
    us = MemoryBackend(instance("c"))
    async with Merge({"eu": eu, "us": us}) as merge:
        found = (await merge.fetch(Query("users"), None)).instances
        assert [(each.id, each.origin) for each in found] == [("a", "eu/east"), ("b", "eu/west"), ("c", "us")]
    assert not eu.is_open
