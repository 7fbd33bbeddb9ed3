"""A call that is tried again, on another instance if there is one."""

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from asyncsd._config import Retry
from asyncsd._errors import NoInstances, RetriesExhausted
from asyncsd._protocols import Clock

from ._held import Classify, Held
from ._pool import Pool

if TYPE_CHECKING:
    from asyncsd._models import Instance

__all__ = ["call_with_retry"]

T = TypeVar("T")
R = TypeVar("R")


class _Late(TimeoutError):
    """Our own timeout, told from a TimeoutError of the function that was called."""


async def call_with_retry(
    pool: Pool[T],
    fn: Callable[[T], Awaitable[R]],
    retry: Retry,
    *,
    key: object,
    timeout: float | None,
    classify: Classify | None,
) -> R:
    """See `Balancer.call`. Whatever is awaited here ends by the deadline that `retry.timeout` sets."""
    left = _countdown(pool.clock, retry.timeout)
    errors: list[Exception] = []
    tried: list[Instance] = []
    while True:
        if not pool.candidates:
            try:
                await pool.wait(_least(timeout, left()))
            except NoInstances as error:
                if not errors:
                    raise
                raise RetriesExhausted(pool.service, [*errors, error]) from error
        if len(tried) >= len(pool.candidates):  # All were: begin another round, with another one.
            del tried[:-1]
        try:
            async with Held(pool, key, tried, timeout, classify) as held:
                tried.append(held.instance)
                return await _within(_least(retry.attempt_timeout, left()), pool.clock, fn, held.endpoint)
        except _Late as late:
            errors.append(TimeoutError(*late.args))
        except retry.on as error:
            errors.append(error)
        if not await _goes_on(pool, retry, errors, left):
            raise RetriesExhausted(pool.service, errors) from errors[-1]


async def _goes_on(
    pool: Pool[T], retry: Retry, errors: list[Exception], left: Callable[[], float | None]
) -> bool:
    """Whether there is another attempt, once the backoff before it is over."""
    if retry.callback is not None and not await _told(pool.clock, retry, errors, left()):
        return False
    if len(errors) >= retry.attempts:
        return False
    delay = retry.backoff.delay(len(errors) - 1, pool.rng)
    remaining = left()
    if remaining is not None and delay >= remaining:
        return False
    await pool.clock.sleep(delay)
    return True


async def _told(clock: Clock, retry: Retry, errors: list[Exception], seconds: float | None) -> bool:
    """Whether the callback, told of the last failure, lets us go on."""
    assert retry.callback is not None  # noqa: S101 - for the type checkers
    verdict = retry.callback(len(errors), tuple(errors))
    if inspect.isawaitable(verdict):
        waiting = verdict
        try:
            verdict = await _within(seconds, clock, lambda _: waiting, None)
        except _Late:
            return False
    return verdict is not False


async def _within(seconds: float | None, clock: Clock, fn: Callable[[T], Awaitable[R]], argument: T) -> R:
    """`await fn(argument)`; _Late if it takes longer, whatever else it raises untouched."""
    if seconds is None:
        return await fn(argument)
    try:
        async with clock.timeout(seconds):
            try:
                return await fn(argument)
            except Exception as exc:  # noqa: BLE001 - raised again outside, where no timeout can claim it
                raised = exc
    except TimeoutError:
        raise _Late(f"no result within {seconds:.3g} s") from None
    raise raised


def _least(*durations: float | None) -> float | None:
    return min((seconds for seconds in durations if seconds is not None), default=None)


def _countdown(clock: Clock, seconds: float | None) -> Callable[[], float | None]:
    """A function that says how much of `seconds` is left."""
    if seconds is None:
        return lambda: None
    deadline = clock.time() + seconds
    return lambda: max(0.0, deadline - clock.time())
