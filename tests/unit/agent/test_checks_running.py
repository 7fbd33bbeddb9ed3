"""When checks run, what they can no longer say once stopped, and what they leave behind."""

import asyncio
import random

import aiohttp
import pytest

from asyncsd._clock import LoopClock
from asyncsd._probes._dial import DialError
from asyncsd.agent._state._definitions import CheckDefinition
from asyncsd.testing import FakeClock
from tests.support.checked import http_server, raw_server
from tests.unit.agent.checks import running

REFUSED = "127.0.0.1:1"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def http(url: str, check_id: str = "web", **more: object) -> CheckDefinition:
    more = {"interval": 10.0, **more}
    return CheckDefinition(check_id=check_id, name=check_id, http=url, **more)  # type: ignore[arg-type]


def missing_port(check_id: str, **more: object) -> CheckDefinition:
    """A check that fails without asking anybody: it needs no real time."""
    more = {"interval": 10.0, **more}
    return CheckDefinition(check_id=check_id, name=check_id, tcp="nowhere", **more)  # type: ignore[arg-type]


def tasks_of_checks() -> set[str]:
    names = (task.get_name() for task in asyncio.all_tasks() if not task.done())
    return {name for name in names if name.startswith("asyncsd:check:")}


async def test_the_first_run_comes_at_random_within_the_interval_and_then_every_interval(
    clock: FakeClock,
) -> None:
    async with running(clock, rng=random.Random(7)) as checks:
        for number in range(200):
            checks.runners.start(missing_port(f"c{number}"))
        for _ in range(10):
            before = len(checks.said)
            await clock.advance(1.0)
            assert 5 <= len(checks.said) - before <= 40
        assert {said.check_id for said in checks.said} == {f"c{number}" for number in range(200)}
        assert len(checks.said) == 200
        await clock.advance(50.0)
        assert len(checks.said) == 200 * 6


async def test_hours_of_checks_pass_in_no_time(clock: FakeClock) -> None:
    async with running(clock) as checks:
        checks.runners.start(missing_port("c"))
        await clock.advance(3_600.0)
        assert len(checks.said) == 361


async def test_nothing_is_checked_more_often_than_once_a_second(clock: FakeClock) -> None:
    async with running(clock) as checks:
        checks.runners.start(missing_port("c", interval=0.01))
        await clock.advance(10.5)
        assert len(checks.said) == 11


async def test_one_task_a_check_named_after_it(clock: FakeClock) -> None:
    async with running(clock) as checks:
        checks.runners.start(missing_port("a"))
        checks.runners.start(missing_port("b"))
        checks.runners.start(missing_port("b"))
        await clock.settle()
        assert tasks_of_checks() == {"asyncsd:check:a", "asyncsd:check:b"}
        checks.runners.stop("a")
        await clock.settle()
        assert tasks_of_checks() == {"asyncsd:check:b"}
    assert tasks_of_checks() == set()


async def test_a_try_that_takes_too_long_is_critical(clock: FakeClock) -> None:
    async with http_server() as place, running(clock) as checks:
        checks.runners.start(http(f"http://{place}/never", timeout=3.0))
        await _asked(clock)
        await clock.advance(2.9)
        assert checks.said == []
        await clock.advance(0.2)
        said = await checks.heard()
        assert said.status == "critical"
        deadline = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        assert said.output == f'Get "http://{place}/never": {deadline}'


async def test_a_try_may_take_ten_seconds_where_nothing_is_said(clock: FakeClock) -> None:
    async with raw_server(None) as place, running(clock) as checks:
        checks.runners.start(
            CheckDefinition(check_id="g", name="g", grpc=place, interval=60.0, timeout=0),
        )
        checks.runners.start(http(f"http://{place}/"))
        await _asked(clock, 2)
        await clock.advance(9.9)
        assert checks.said == []
        await clock.advance(0.2)
        assert {(await checks.heard()).check_id, (await checks.heard()).check_id} == {"g", "web"}


async def test_a_check_that_is_replaced_while_it_asks_says_nothing(clock: FakeClock) -> None:
    async with http_server() as place, running(clock) as checks:
        checks.runners.start(http(f"http://{place}/never", timeout=3.0))
        await _asked(clock)
        checks.runners.start(missing_port("web", interval=60.0))
        await clock.advance(30.0)
        assert [said.output for said in checks.said] == ["dial tcp: address nowhere: missing port in address"]


async def test_a_check_that_has_its_answer_when_it_is_stopped_says_nothing() -> None:
    async with http_server() as place, running(LoopClock()) as checks:
        for path in ("/ok", "/big", "/half/cut"):
            # Stopped at each of its steps in turn: one of them is when the answer has come.
            for steps in range(60):
                checks.runners.start(http(f"http://{place}{path}", interval=1_000.0))
                for _ in range(steps):
                    await asyncio.sleep(0)
                checks.runners.stop("web")
                said = list(checks.said)
                await asyncio.sleep(0)
                assert checks.said == said


async def test_a_check_that_outlasts_its_cancellation_says_nothing(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dial(*args: object) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:  # as a library might
            raise DialError("too late") from None

    monkeypatch.setattr("asyncsd._probes._tcp.dial", dial)
    async with running(clock) as checks:
        checks.runners.start(CheckDefinition(check_id="c", name="c", tcp=REFUSED, interval=10.0))
        await clock.settle()
        checks.runners.stop("c")
        await clock.settle()
        assert checks.said == []


async def test_http_checks_share_a_session_that_is_opened_late_and_closed_at_the_end(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[aiohttp.ClientSession] = []
    init = aiohttp.ClientSession.__init__

    def count(self: aiohttp.ClientSession, *args: object, **kwargs: object) -> None:
        opened.append(self)
        init(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", count)
    async with http_server() as place, running(clock) as checks:
        checks.runners.start(CheckDefinition(check_id="ttl", name="ttl", ttl=10.0))
        assert opened == []
        for name in ("a", "b"):
            checks.runners.start(http(f"http://{place}/ok", name))
        await checks.heard()
        await checks.heard()
        assert len(opened) == 1
    assert opened[0].closed


async def test_closing_ends_every_kind_whatever_it_is_at(clock: FakeClock) -> None:
    async with http_server() as place, raw_server(None) as silent, running(clock) as checks:
        checks.runners.start(http(f"http://{place}/never"))
        checks.runners.start(CheckDefinition(check_id="g", name="g", grpc=silent, interval=1.0))
        checks.runners.start(CheckDefinition(check_id="t", name="t", ttl=9.0, deregister_after=60.0))
        checks.runners.start(CheckDefinition(check_id="a", name="a", alias_service="web"))
        checks.runners.start(missing_port("c"))
        await _asked(clock, 2)
        await checks.runners.aclose()
        said = len(checks.said)
        assert tasks_of_checks() == set()
        await checks.runners.aclose()
        checks.runners.start(missing_port("late"))
        await clock.advance(3_600.0)
        assert len(checks.said) == said


async def test_a_bug_in_a_check_is_told_and_the_check_goes_on(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = iter([True, False])

    async def dial(*args: object) -> None:
        raise ZeroDivisionError("oops") if next(broken) else TimeoutError

    monkeypatch.setattr("asyncsd._probes._tcp.dial", dial)
    async with running(clock) as checks:
        checks.runners.start(CheckDefinition(check_id="c", name="c", tcp=REFUSED, interval=10.0))
        await clock.advance(11.0)
    outputs = [said.output for said in checks.said]
    assert outputs == ["ZeroDivisionError: oops", f"dial tcp {REFUSED}: i/o timeout"]
    assert "check c failed by a bug" in caplog.messages


async def test_thresholds_hold_for_a_running_check(clock: FakeClock) -> None:
    async with running(clock) as checks:
        checks.runners.start(missing_port("c", failures_before_critical=3, failures_before_warning=2))
        await clock.advance(35.0)
        assert [said.status for said in checks.said] == ["critical"] * 4


async def _asked(clock: FakeClock, count: int = 1) -> None:
    """Wait until so many tries are under way: each has a timeout of its own."""
    await clock.settle()
    assert clock.sleepers >= count
