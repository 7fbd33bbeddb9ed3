import asyncio
import time

import pytest

from asyncsd import Clock
from asyncsd._clock import LoopClock
from asyncsd.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class TestLoopClock:
    async def test_is_monotonic_time_and_real_sleep(self) -> None:
        clock: Clock = LoopClock()
        before = time.monotonic()
        await clock.sleep(0.001)
        assert before < clock.time() <= time.monotonic()

    async def test_timeout_ends_a_wait(self) -> None:
        with pytest.raises(TimeoutError):
            async with LoopClock().timeout(0.001):
                await asyncio.Event().wait()


class TestFakeClock:
    async def test_time_stands_until_it_is_moved(self, clock: FakeClock) -> None:
        assert clock.time() == 1_000.0
        await clock.settle()
        assert clock.time() == 1_000.0
        await clock.advance(2.5)
        assert clock.time() == 1_002.5

    async def test_sleepers_wake_in_order_and_see_their_own_moment(self, clock: FakeClock) -> None:
        woken: list[tuple[str, float]] = []

        async def sleeper(name: str, seconds: float) -> None:
            await clock.sleep(seconds)
            woken.append((name, clock.time()))

        async with asyncio.TaskGroup() as group:
            for name, seconds in (("c", 3.0), ("a", 1.0), ("b", 1.0)):
                group.create_task(sleeper(name, seconds))
            await clock.advance(2.0)
            assert woken == [("a", 1_001.0), ("b", 1_001.0)]
            await clock.advance(1.0)
        assert woken[2:] == [("c", 1_003.0)]

    async def test_a_sleep_begun_on_the_way_is_woken_on_the_way(self, clock: FakeClock) -> None:
        ticks: list[float] = []

        async def ticker() -> None:
            for _ in range(3):
                await clock.sleep(1.0)
                ticks.append(clock.time())

        task = asyncio.create_task(ticker())
        await clock.advance(10.0)
        assert ticks == [1_001.0, 1_002.0, 1_003.0]
        await task

    async def test_timeout_ends_the_body_when_the_clock_passes_it(self, clock: FakeClock) -> None:
        async def wait() -> None:
            async with clock.timeout(5.0):
                await asyncio.Event().wait()

        task = asyncio.create_task(wait())
        await clock.advance(4.9)
        assert not task.done()
        await clock.advance(0.1)
        with pytest.raises(TimeoutError):
            await task
        assert clock.sleepers == 0

    async def test_timeout_of_a_body_that_was_quick_does_nothing(self, clock: FakeClock) -> None:
        async with clock.timeout(5.0):
            pass
        await clock.advance(10.0)
        assert clock.sleepers == 0

    async def test_timeout_that_meets_the_end_of_its_body_does_no_harm(self, clock: FakeClock) -> None:
        """Both fall on one moment: whichever comes first counts, and the loop hears of no error."""

        async def wait() -> str:
            async with clock.timeout(5.0):
                await clock.sleep(5.0)
            return "done"

        task = asyncio.create_task(wait())
        await clock.advance(5.0)
        assert task.done()
        assert isinstance(task.exception(), TimeoutError) or task.result() == "done"

    @pytest.mark.parametrize("seconds", [0.0, -1.0])
    async def test_timeout_that_is_over_already_ends_the_first_wait(
        self, clock: FakeClock, seconds: float
    ) -> None:
        with pytest.raises(TimeoutError):
            async with clock.timeout(seconds):
                await asyncio.Event().wait()

    async def test_no_timeout_never_ends(self, clock: FakeClock) -> None:
        event = asyncio.Event()

        async def wait() -> None:
            async with clock.timeout(None):
                await event.wait()

        task = asyncio.create_task(wait())
        await clock.advance(1e9)
        assert not task.done()
        event.set()
        await task

    async def test_a_cancelled_sleep_or_timeout_is_forgotten(self, clock: FakeClock) -> None:
        async def wait() -> None:
            async with clock.timeout(9.0):
                await clock.sleep(5.0)

        task = asyncio.create_task(wait())
        await clock.settle()
        assert (clock.sleepers, clock.next_due) == (2, 1_005.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (clock.sleepers, clock.next_due) == (0, None)

    async def test_a_cancellation_from_outside_is_no_timeout(self, clock: FakeClock) -> None:
        async def wait() -> None:
            async with clock.timeout(5.0):
                await asyncio.Event().wait()

        task = asyncio.create_task(wait())
        await clock.settle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def test_skip_goes_to_what_is_due_next(self, clock: FakeClock) -> None:
        task = asyncio.create_task(clock.sleep(7.0))
        await clock.settle()
        assert clock.skip()
        assert clock.time() == 1_007.0
        await task
        assert not clock.skip()

    async def test_settle_lets_long_chains_run_to_their_end(self, clock: FakeClock) -> None:
        async def chain(length: int) -> int:
            for _ in range(length):
                await asyncio.sleep(0)
            return length

        task = asyncio.create_task(chain(300))
        await clock.settle()
        assert task.done()

    async def test_settle_gives_up_on_what_spins(self, clock: FakeClock) -> None:
        async def spin() -> None:
            for _ in range(10**9):
                await asyncio.sleep(0)

        task = asyncio.create_task(spin())
        await clock.settle()
        task.cancel()
