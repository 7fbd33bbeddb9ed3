"""Checks that expire unless somebody speaks up."""

import asyncio
import logging

import pytest

from asyncsd.agent._checks import NoTTL
from asyncsd.agent._state._definitions import CheckDefinition
from asyncsd.testing import FakeClock
from tests.unit.agent.checks import Said, running


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def ttl(check_id: str = "beat", seconds: float = 10.0, **more: object) -> CheckDefinition:
    return CheckDefinition(check_id=check_id, name=check_id, ttl=seconds, **more)  # type: ignore[arg-type]


async def test_a_silent_check_expires_once(clock: FakeClock) -> None:
    async with running(clock) as checks:
        checks.runners.start(ttl())
        await clock.advance(9.9)
        assert checks.said == []
        await clock.advance(3600.0)
        assert checks.said == [Said("beat", "critical", "TTL expired")]


async def test_each_word_puts_it_off_by_a_whole_ttl(clock: FakeClock) -> None:
    async with running(clock) as checks:
        checks.runners.start(ttl())
        for _ in range(200):
            await clock.advance(9.0)
            checks.runners.heard("beat", "passing", "fine")
        assert {said.status for said in checks.said} == {"passing"}
        await clock.advance(10.0)
        text = "TTL expired (last output before timeout follows): fine"
        assert checks.said[-1] == Said("beat", "critical", text)


async def test_an_expired_check_recovers_by_a_word_and_expires_again(clock: FakeClock) -> None:
    async with running(clock) as checks:
        checks.runners.start(ttl())
        await clock.advance(11.0)
        checks.runners.heard("beat", "warning", "")
        await clock.advance(11.0)
        assert [said.status for said in checks.said] == ["critical", "warning", "critical"]
        assert checks.said[-1].output == "TTL expired"


async def test_a_check_registered_anew_begins_a_whole_ttl_and_forgets_its_output(clock: FakeClock) -> None:
    async with running(clock) as checks:
        checks.runners.start(ttl())
        checks.runners.heard("beat", "passing", "old")
        await clock.advance(8.0)
        checks.runners.start(ttl(seconds=5.0))
        await clock.advance(4.9)
        assert len(checks.said) == 1
        await clock.advance(0.2)
        assert checks.said[1:] == [Said("beat", "critical", "TTL expired")]


async def test_a_stopped_check_says_nothing_and_can_be_told_nothing(clock: FakeClock) -> None:
    async with running(clock) as checks:
        checks.runners.start(ttl())
        checks.runners.stop("beat")
        checks.runners.stop("never there")
        await clock.advance(100.0)
        assert checks.said == []
        with pytest.raises(NoTTL, match='CheckID "beat" does not have associated TTL'):
            checks.runners.heard("beat", "passing", "")


async def test_a_check_of_another_kind_can_be_told_nothing(clock: FakeClock) -> None:
    async with running(clock) as checks:
        checks.runners.start(CheckDefinition(check_id="web", name="web", tcp="127.0.0.1:1", interval=60.0))
        with pytest.raises(NoTTL, match="web"):
            checks.runners.heard("web", "passing", "")


@pytest.mark.parametrize(
    ("output", "kept"),
    [
        ("x" * 4096, "x" * 4096),
        ("x" * 4097, "x" * 4096 + " ... (captured 4096 of 4097 bytes)"),
        # Bytes are counted, and a character that is cut through is replaced.
        ("é" * 2049, "é" * 2048 + " ... (captured 4096 of 4098 bytes)"),
        ("x" + "é" * 2048, "x" + "é" * 2047 + "\ufffd ... (captured 4096 of 4097 bytes)"),
    ],
)
async def test_a_long_output_is_cut_and_says_how_much_there_was(
    clock: FakeClock, output: str, kept: str
) -> None:
    async with running(clock) as checks:
        checks.runners.start(ttl())
        checks.runners.heard("beat", "passing", output)
        assert checks.said[0].output == kept
        await clock.advance(10.0)
        assert checks.said[1].output == f"TTL expired (last output before timeout follows): {kept}"


async def test_a_thousand_checks_share_one_task(clock: FakeClock) -> None:
    async with running(clock) as checks:
        for number in range(1000):
            checks.runners.start(ttl(f"c{number}", 10.0 + number))
        await clock.advance(10.0 + 499)
        assert len([task for task in asyncio.all_tasks() if task.get_name().startswith("asyncsd:")]) == 1
        assert [said.check_id for said in checks.said] == [f"c{number}" for number in range(500)]


async def test_a_shorter_ttl_that_comes_later_expires_first(clock: FakeClock) -> None:
    async with running(clock) as checks:
        checks.runners.start(ttl("slow", 3600.0))
        await clock.advance(1.0)
        checks.runners.start(ttl("fast", 2.0))
        await clock.advance(2.0)
        assert [said.check_id for said in checks.said] == ["fast"]
        await clock.advance(3600.0)
        assert [said.check_id for said in checks.said] == ["fast", "slow"]


async def test_checks_that_come_and_go_leave_nothing_behind(clock: FakeClock) -> None:
    async with running(clock) as checks:
        checks.runners.start(ttl("stays", 86_400.0))
        for number in range(2_000):
            checks.runners.start(ttl(f"c{number}", 86_400.0))
            checks.runners.stop(f"c{number}")
        assert len(checks.runners._deadlines._heap) < 200
        await clock.advance(86_400.0)
        assert [said.check_id for said in checks.said] == ["stays"]


async def test_a_change_of_state_is_logged_once(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asyncsd.agent")
    async with running(clock) as checks:
        checks.runners.start(ttl())
        for output in ("a", "b", "c"):
            checks.runners.heard("beat", "passing", output)
        await clock.advance(10.0)
    assert caplog.messages == ["check beat is passing, was critical", "check beat is critical, was passing"]
