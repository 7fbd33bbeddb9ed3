"""One login for all who want a token, whether it succeeds or fails."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from asyncsd import UnreachableError
from asyncsd.backends._shared._endpoints import Endpoint
from asyncsd.backends.etcd._login import Login

A, B = Endpoint("a", 2379), Endpoint("b", 2379)


class Servers:
    """`down` ones answer nothing until `give_up`, and fail then."""

    def __init__(self, *down: Endpoint) -> None:
        self.down = set(down)
        self.asked: Counter[Endpoint] = Counter()
        self.give_up = asyncio.Event()

    def at(self, endpoint: Endpoint) -> Callable[[dict[str, str]], Awaitable[str]]:
        async def ask(_: dict[str, str]) -> str:
            self.asked[endpoint] += 1
            if endpoint in self.down:
                await self.give_up.wait()
                raise UnreachableError("no answer in 5 s", url=str(endpoint))
            return f"token of {endpoint.host}"

        return ask


async def test_many_who_wait_for_a_server_that_hangs_fail_with_the_first_of_them() -> None:
    servers, login = Servers(A), Login("app", "secret", None)
    waiting = [asyncio.create_task(login.token(A, servers.at(A))) for _ in range(50)]
    await asyncio.sleep(0)
    servers.give_up.set()
    async with asyncio.timeout(20):
        errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert {(type(error), str(error)) for error in errors} == {
        (UnreachableError, "no answer in 5 s (http://a:2379)")
    }
    assert len(set(map(id, errors))) == 50
    assert servers.asked == {A: 1}
    with pytest.raises(UnreachableError):
        await login.token(A, servers.at(A))
    assert servers.asked == {A: 2}


async def test_the_failure_of_one_server_is_not_anothers() -> None:
    servers, login = Servers(A), Login("app", "secret", None)
    places = [A, B, A, B]
    waiting = [asyncio.create_task(login.token(place, servers.at(place))) for place in places]
    await asyncio.sleep(0)
    servers.give_up.set()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(told[0], UnreachableError)
    assert told[1:] == ["token of b"] * 3
    assert servers.asked == {A: 1, B: 1}


async def test_the_turn_of_one_who_is_cancelled_goes_to_the_next() -> None:
    servers, login = Servers(A), Login("app", "secret", None)
    first, second = [asyncio.create_task(login.token(A, servers.at(A))) for _ in range(2)]
    await asyncio.sleep(0)
    servers.down.clear()
    first.cancel()
    assert await second == "token of a"
