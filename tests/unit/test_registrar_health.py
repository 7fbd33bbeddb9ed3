"""What `health=` says reaches the registry and the health route."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from asyncsd._checks import Health
from asyncsd._health import as_health
from asyncsd._models import Status
from asyncsd._registrar import http_status
from tests.support.registry import ME, World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


@pytest.mark.parametrize(
    ("answer", "health"),
    [
        (True, Health("passing")),
        (False, Health("critical")),
        ("warning", Health("warning")),
        (("warning", "queue is long"), Health("warning", "queue is long")),
        (Health("critical", "no disk"), Health("critical", "no disk")),
    ],
)
def test_what_a_health_callable_may_say(answer: Any, health: Health) -> None:
    assert as_health(answer) == health


@pytest.mark.parametrize("answer", [None, "ok", 1, 200, ("ok", ""), ("passing", None), ("passing",), []])
def test_anything_else_is_refused_with_what_would_do(answer: Any) -> None:
    with pytest.raises(TypeError, match="True or False, 'passing', 'warning' or 'critical'"):
        as_health(answer)


@pytest.mark.parametrize(("status", "code"), [("passing", 200), ("warning", 429), ("critical", 503)])
def test_a_health_route_answers_as_consul_reads_it(status: Status, code: int) -> None:
    assert http_status(Health(status)) == code


@pytest.mark.parametrize("health", ["passing", None, ("passing", "")])
def test_a_health_route_takes_nothing_but_a_health(health: Any) -> None:
    with pytest.raises(TypeError, match=r"check_health\(\)` gave"):
        http_status(health)


async def test_what_is_no_callable_is_refused_when_the_registrar_is_made(world: World) -> None:
    with pytest.raises(TypeError, match="health= takes a function, async or quick, or None; got 5"):
        world.registrar(health=5)


async def status(world: World) -> Status:
    [instance] = await world.instances()
    return instance.status


async def test_a_sync_callable_decides(world: World) -> None:
    says: list[Status] = ["warning"]
    await world.ready(health=lambda: says[0])
    assert await status(world) == "warning"
    says[0] = "critical"
    await world.clock.advance(5.0)
    assert await status(world) == "critical"
    says[0] = "passing"
    await world.clock.advance(5.0)
    assert await status(world) == "passing"


async def test_an_async_callable_decides_and_its_note_goes_along(world: World) -> None:
    async def health() -> tuple[Status, str]:
        await world.clock.sleep(0.5)
        return "warning", "disk at 91%"

    registrar = world.start(health=health)
    await world.clock.advance(1.0)
    assert await status(world) == "warning"
    assert world.backend.named("renew")[0].args[1] == Health("warning", "disk at 91%")
    checking = asyncio.ensure_future(registrar.check_health())
    await world.clock.advance(0.5)
    assert await checking == Health("warning", "disk at 91%")


async def test_one_that_raises_is_critical_with_its_text_and_logged_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    broken = True

    def health() -> bool:
        if broken:
            raise OSError("no disk")
        return True

    registrar = await world.ready(health=health)
    assert await status(world) == "critical"
    assert world.backend.named("renew")[0].args[1] == Health("critical", "no disk")
    await world.clock.advance(30.0)
    assert len(world.backend.named("renew")) >= 7, "it goes on heartbeating"
    assert registrar.state == "registered"
    assert len([line for line in caplog.messages if "no disk" in line]) == 1
    broken = False
    await world.clock.advance(5.0)
    assert await status(world) == "passing"
    broken = True
    await world.clock.advance(5.0)
    assert len([line for line in caplog.messages if "no disk" in line]) == 2


async def test_one_that_says_nothing_is_critical_and_told_what_would_do(world: World) -> None:
    registrar = await world.ready(health=lambda: None)
    health = await registrar.check_health()
    assert health.status == "critical"
    assert "got None" in health.note


async def test_one_that_never_answers_is_critical_and_the_ttl_is_kept(world: World) -> None:
    async def health() -> bool:
        await asyncio.get_running_loop().create_future()
        return True

    world.start(health=health)
    await world.clock.advance(100.0)
    told = world.backend.named("renew")
    assert {call.args[1] for call in told} == {Health("critical", "health= gave no answer within 5 s")}
    gaps = [after.at - before.at for before, after in pairwise(told)]
    assert max(gaps) < 10.0


async def test_a_timeout_of_the_callable_s_own_keeps_its_text(world: World) -> None:
    async def health() -> bool:
        raise TimeoutError("the database is slow")

    registrar = await world.ready(health=health)
    assert await registrar.check_health() == Health("critical", "the database is slow")


async def test_one_that_awaits_something_cancelled_is_critical_and_the_registration_stands(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    gone: list[asyncio.Future[bool]] = []

    async def health() -> bool:
        return not gone or await gone[0]

    registrar = await world.ready(health=health)
    gone.append(asyncio.get_running_loop().create_future())
    gone[0].cancel()
    await world.clock.advance(5.0)
    assert await status(world) == "critical"
    assert world.backend.named("renew")[-1].args[1] == Health("critical", "health= was cancelled")
    assert registrar.state == "registered"
    assert "health= was cancelled" in caplog.text
    gone.clear()
    await world.clock.advance(5.0)
    assert await status(world) == "passing"


async def test_a_route_that_is_cancelled_while_it_asks_is_cancelled(world: World) -> None:
    async def health() -> bool:
        await asyncio.get_running_loop().create_future()
        return True

    registrar = world.registrar(health=health)
    asking = asyncio.ensure_future(registrar.check_health())
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_without_a_callable_it_passes(world: World) -> None:
    registrar = await world.ready()
    assert await registrar.check_health() == Health("passing")


async def test_without_a_ttl_the_callable_is_for_the_route_alone(world: World) -> None:
    asked: list[int] = []
    registrar = await world.ready(replace(ME, check=None), health=lambda: not asked.append(1))
    await world.clock.advance(60.0)
    assert not asked
    assert await registrar.check_health() == Health("passing")


async def test_the_route_is_critical_while_it_drains_and_after(world: World) -> None:
    registrar = await world.ready(drain=5.0)
    world.tasks[-1].cancel()
    await world.clock.advance(1.0)
    assert registrar.state == "draining"
    assert await registrar.check_health() == Health("critical", "draining")
    await world.clock.advance(5.0)
    assert registrar.state == "deregistered"
    assert http_status(await registrar.check_health()) == 503
