import asyncio
import gc

import anyio
import pytest

from asyncsd._tasks import TaskOwner, finish


class Job:
    """Something that takes a few steps, and remembers how far it came."""

    def __init__(self, steps: int = 5) -> None:
        self.steps = steps
        self.done = 0
        self.cancelled = False

    async def run(self) -> str:
        try:
            for _ in range(self.steps):
                await asyncio.sleep(0)
                self.done += 1
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return "done"

    @property
    def complete(self) -> bool:
        return self.done == self.steps


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def for_ever() -> None:
    await asyncio.Event().wait()


class TestTaskOwner:
    async def test_names_and_holds_its_tasks(self) -> None:
        owner = TaskOwner()
        task = owner.spawn(for_ever(), role="watch", service="users")
        assert task.get_name() == "asyncsd:watch:users"
        gc.collect()
        assert len(owner) == 1
        await owner.aclose()
        assert len(owner) == 0
        assert task.cancelled()

    async def test_lets_go_of_what_ended_by_itself(self) -> None:
        owner = TaskOwner()
        assert await owner.spawn(Job().run(), role="job", service="x") == "done"
        await asyncio.sleep(0)
        assert len(owner) == 0

    async def test_aclose_waits_until_the_tasks_have_ended(self) -> None:
        owner, ended = TaskOwner(), asyncio.Event()

        async def slow_to_end() -> None:
            try:
                await for_ever()
            finally:
                await turns(20)
                ended.set()

        owner.spawn(slow_to_end(), role="x", service="x")
        await asyncio.sleep(0)
        await owner.aclose()
        assert ended.is_set()
        await owner.aclose()

    async def test_an_error_while_ending_is_no_error_of_aclose(self) -> None:
        owner = TaskOwner()

        async def breaks() -> None:
            try:
                await for_ever()
            finally:
                raise ValueError("while ending")

        owner.spawn(breaks(), role="x", service="x")
        await asyncio.sleep(0)
        await owner.aclose()

    @pytest.mark.parametrize("times", [1, 2])
    async def test_cancelled_while_it_waits_it_waits_on_and_is_cancelled_then(self, times: int) -> None:
        owner, ended = TaskOwner(), asyncio.Event()

        async def slow_to_end() -> None:
            try:
                await for_ever()
            finally:
                await turns(20)
                ended.set()

        owner.spawn(slow_to_end(), role="x", service="x")
        await asyncio.sleep(0)
        closing = asyncio.create_task(owner.aclose())
        await turns(2)
        for _ in range(times):
            closing.cancel()
            await turns(2)
        assert not closing.done()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert ended.is_set()

    async def test_a_task_that_would_wait_for_itself_is_told_so(self) -> None:
        owner = TaskOwner()
        task = owner.spawn(owner.aclose(), role="x", service="x")
        with pytest.raises(RuntimeError, match="can't close itself"):
            await task


class TestFinish:
    async def test_gives_the_result(self) -> None:
        assert await finish(Job().run(), 5.0) == "done"

    async def test_raises_the_error_of_the_cleanup(self) -> None:
        async def breaks() -> None:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await finish(breaks(), 5.0)

    @pytest.mark.parametrize("times", [1, 2, 3])
    @pytest.mark.parametrize("step", range(12))
    async def test_cancelled_at_any_step_the_cleanup_completes(self, step: int, times: int) -> None:
        """Once it began, the cleanup runs to its end, and the cancellation is raised after it."""
        job = Job()
        task = asyncio.create_task(finish(job.run(), 5.0))
        await turns(step + 1)
        ended = task.done()
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        try:
            await task
        except asyncio.CancelledError:
            assert not ended
        else:
            assert ended, "the cancellation was swallowed"
        assert job.complete
        assert not job.cancelled

    @pytest.mark.parametrize("step", range(12))
    async def test_cancelled_by_an_anyio_scope_the_cleanup_completes(self, step: int) -> None:
        job, after = Job(), False

        async def body(scope: anyio.CancelScope) -> None:
            nonlocal after
            with scope:
                await finish(job.run(), 5.0)
                await asyncio.sleep(0)
                after = True

        scope = anyio.CancelScope()
        task = asyncio.create_task(body(scope))
        await turns(step + 1)
        ended = task.done()
        scope.cancel()
        await task
        assert job.complete
        assert not job.cancelled
        assert after is ended or not after, "the scope's cancellation was swallowed"
        assert scope.cancelled_caught is not ended or after

    async def test_in_a_finally_of_a_task_that_is_cancelled_twice(self) -> None:
        """The case it is for: `finally: await stop()` would leave the job half done."""
        job = Job(20)

        async def work() -> None:
            try:
                await for_ever()
            finally:
                await finish(job.run(), 5.0)

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        await turns(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert job.complete

    async def test_under_asyncio_timeout_the_timeout_is_raised_after_the_cleanup(self) -> None:
        job = Job()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await finish(job.run(), 5.0)
        assert job.complete

    async def test_waiting_does_not_spin_under_a_cancelled_scope(self) -> None:
        """A scope cancels again on every turn of the loop; each would wake the waiter."""
        release = asyncio.Event()
        woken = 0

        async def waiter() -> None:
            nonlocal woken
            with anyio.CancelScope() as scope:
                scope.cancel()
                await finish(release.wait(), 60.0)

        task = asyncio.create_task(waiter())
        await turns(3)
        wait = asyncio.wait

        async def counted(*args: object, **kwargs: object) -> object:
            nonlocal woken
            woken += 1
            return await wait(*args, **kwargs)  # type: ignore[call-overload]

        asyncio.wait = counted  # type: ignore[assignment]
        try:
            await turns(100)
        finally:
            asyncio.wait = wait
        assert woken == 0
        release.set()
        await task

    async def test_past_linger_it_is_given_up_with_a_timeout(self) -> None:
        gone = asyncio.Event()

        async def stuck() -> None:
            try:
                await for_ever()
            finally:
                gone.set()

        with pytest.raises(TimeoutError, match=r"cleanup deregister users took longer than 0\.01 s"):
            await finish(stuck(), 0.01, role="deregister", service="users")
        assert gone.is_set()

    async def test_cancelled_and_past_linger_it_is_cancelled(self) -> None:
        task = asyncio.create_task(finish(for_ever(), 0.01))
        await turns(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def test_a_cleanup_that_just_makes_it_keeps_its_result(self) -> None:
        async def late() -> str:
            try:
                await for_ever()
            except asyncio.CancelledError:
                return "just"
            return "never"

        assert await finish(late(), 0.01) == "just"

    @pytest.mark.parametrize("linger", [5.0, 0.01])
    async def test_leaves_no_task(self, linger: float) -> None:
        cleanup = Job().run() if linger > 1 else for_ever()
        task = asyncio.create_task(finish(cleanup, linger))
        await turns(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("asyncsd:")]
