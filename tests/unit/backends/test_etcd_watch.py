"""Many waits on a server that says nothing, and on one that denies the whole prefix."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from asyncsd import PermissionDeniedError, UnreachableError
from asyncsd.backends._shared._spread import FEW
from asyncsd.backends.etcd._keys import Keys
from asyncsd.backends.etcd._messages import Event
from asyncsd.backends.etcd._watch import DENIED, Watch
from asyncsd.testing import FakeClock

KEYS = Keys("services")


class Silent:
    """A transport whose server lives, and says nothing of changes; it is also the body of the answers."""

    endpoint = "http://127.0.0.1:2379"

    def __init__(self, *, denies: bool = False) -> None:
        self.denies = denies
        self.dead = False
        self.silent = False
        self.begun: list[bytes] = []
        self._told = 0

    @asynccontextmanager
    async def stream(
        self, _: object, path: str, request: Any, *, leader: bool
    ) -> AsyncGenerator["Silent", None]:
        assert path == "/v3/watch"
        assert leader
        key = request["create_request"]["key"]
        self.begun.append(key)
        if self.denies and key == KEYS.all.key:
            raise PermissionDeniedError("permission denied")
        await self.alive()
        yield self

    async def readany(self) -> bytes:
        if self._told < len(self.begun) and not self.silent:
            self._told += 1
            return b'{"result":{"header":{"revision":"1"},"created":true}}\n'
        silence: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        return await silence

    async def alive(self, *_: object) -> None:
        if self.dead:
            raise UnreachableError("no answer")

    def avoid(self, _: object) -> None:
        return

    def heard(self, _: object) -> None:
        return


def parts(*, denies: bool = False) -> tuple[Any, FakeClock, Watch]:
    transport: Any = Silent(denies=denies)
    clock = FakeClock()
    return transport, clock, Watch(transport, clock, KEYS)


def begin(watch: Watch, count: int, wait: float = 40.0) -> list[asyncio.Task[list[Event] | None]]:
    loop = asyncio.get_running_loop()
    return [loop.create_task(watch.changed(KEYS.service(f"s{n}"), 1, wait)) for n in range(count)]


async def test_many_waits_that_began_together_do_not_end_together() -> None:
    transport, clock, watch = parts()
    waits = begin(watch, 60)
    ended: list[int] = []
    for _ in range(40):
        await clock.advance(1.0)
        ended.append(sum(wait.done() for wait in waits))
    assert ended[28] == 0
    assert ended[-1] == 60
    assert max(after - before for before, after in pairwise(ended)) <= 7 + FEW
    assert len(transport.begun) == FEW + 2  # Silent for long, the shared one was begun anew.
    await watch.aclose()


@pytest.mark.parametrize("dead", [False, True])
async def test_the_end_of_a_wait_says_that_nothing_changed_only_where_it_was_heard(dead: bool) -> None:
    transport, clock, watch = parts()
    waits = begin(watch, FEW + 10, wait=12.0)
    await clock.settle()
    transport.dead = dead
    for _ in range(12):
        await clock.advance(1.0)
    told = [wait.result() for wait in waits]
    assert told[:FEW] == [None] * FEW
    assert told[FEW:] == [None if dead else []] * 10
    await watch.aclose()


async def test_a_wait_that_ends_before_the_watch_stands_says_nothing() -> None:
    transport, clock, watch = parts()
    transport.silent = True
    waits = begin(watch, FEW + 10, wait=4.0)
    await clock.settle()
    await clock.advance(4.0)
    assert [wait.result() for wait in waits] == [None] * (FEW + 10)
    await watch.aclose()


async def test_a_prefix_that_is_denied_is_tried_again_after_a_while() -> None:
    transport, clock, watch = parts(denies=True)
    tried: list[int] = []
    for _ in range(3):
        waits = begin(watch, 20)
        await clock.settle()
        tried.append(transport.begun.count(KEYS.all.key))
        assert len(transport.begun) - tried[-1] == 20
        transport.begun = [KEYS.all.key] * tried[-1]
        await clock.advance(DENIED / 2)
        assert all(wait.done() for wait in waits)
    assert tried == [1, 1, 2]
    await watch.aclose()
