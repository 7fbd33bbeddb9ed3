"""The balancer: a good instance for each call."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar, Unpack, overload

from asyncsd._clock import LoopClock
from asyncsd._config import Retry
from asyncsd._endpoints import Close, Opens
from asyncsd._models import Event, Instance, Snapshot
from asyncsd._protocols import Clock, Policy
from asyncsd._values import duration

from ._ewma import PeakEWMA
from ._held import Acquired, Classify, Held
from ._load import InstanceLoad
from ._pool import Pool
from ._retry import call_with_retry

__all__ = ["Balancer", "BalancerStatistics", "BalancingOptions"]

T = TypeVar("T")
E = TypeVar("E")
R = TypeVar("R")

DEFAULT_POLICY = PeakEWMA()
LINGER = 5.0
"""Seconds in which endpoints have to be closed."""


class BalancingOptions(TypedDict, total=False):
    """What `Discovery.balancer` passes on."""

    classify: Classify | None
    invalidate_after: float | None


class _Options(BalancingOptions, total=False):
    clock: Clock | None
    rng: random.Random | None
    name: str | None


class BalancerStatistics(NamedTuple):
    """What a balancer is doing just now."""

    instances: int
    """How many the last list has that fit the query."""
    candidates: int
    """How many of them can be picked: ready, and not of weight 0 unless all are."""
    in_flight: int
    """Calls that run: blocks of `acquire` and `lease`, and attempts of `call`."""
    waiting: int
    """Callers that wait for a first instance."""
    stale: bool
    """Whether the registry is failing, and the list is the last good one."""
    loads: tuple[InstanceLoad, ...]
    """What the policy knows of the instances; empty for one that keeps no account."""
    errors: dict[Instance, Exception]
    """What the factory last raised, by the instance that has no endpoint for it."""


class Balancer(Generic[T]):
    """Picks a good instance of a service for each call, from the Events of a watch.

    `factory`, sync or async, makes an endpoint of your own for each instance: a channel, a pool. T is then
    the type of the endpoint, and otherwise Instance. It is made when the instance appears and closed when
    it goes and no call uses it, by `close`, else its `aclose()`, else its `close()`; an async context
    manager is entered, and left. Only instances whose endpoint is ready are picked.

    `classify(exception)` says whether one that left an `acquire` block, or a call, counts as a failure of
    the instance; by default each Exception does. After `invalidate_after` seconds of nothing but errors
    from the registry the list is dropped; by default the last good one serves on for as long as it takes.

        balancer = Balancer(RoundRobin())
        async with anyio.create_task_group() as tg:
            tg.start_soon(Watcher(backend, "users").run, queue)
            tg.start_soon(balancer.run, queue)
            async with balancer.acquire() as instance: ...
    """

    __slots__ = ("__weakref__", "_classify", "_invalidate_after", "_policy", "_pool", "_running")

    @overload
    def __init__(
        self: "Balancer[Instance]", policy: Policy = ..., *, factory: None = None, **options: Unpack[_Options]
    ) -> None: ...
    @overload
    def __init__(
        self: "Balancer[E]",
        policy: Policy = ...,
        *,
        factory: Callable[[Instance], Opens[E]],
        close: Close[E] | None = None,
        **options: Unpack[_Options],
    ) -> None: ...
    @overload
    def __init__(
        self: "Balancer[E]",
        policy: Policy = ...,
        *,
        factory: Callable[[Instance], Awaitable[E]],
        close: Close[E] | None = None,
        **options: Unpack[_Options],
    ) -> None: ...
    @overload
    def __init__(
        self: "Balancer[E]",
        policy: Policy = ...,
        *,
        factory: Callable[[Instance], E],
        close: Close[E] | None = None,
        **options: Unpack[_Options],
    ) -> None: ...
    def __init__(
        self,
        policy: Policy = DEFAULT_POLICY,
        *,
        factory: Callable[[Instance], Any] | None = None,
        close: Close[Any] | None = None,
        classify: Classify | None = None,
        invalidate_after: float | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        name: str | None = None,
    ) -> None:
        if close is not None and factory is None:
            raise TypeError("close= closes what factory= makes: there is no factory")
        if isinstance(policy, type) or not hasattr(policy, "picker"):
            wanted = f"{policy.__name__}()" if isinstance(policy, type) else "PeakEWMA() or RoundRobin()"
            raise TypeError(f"policy is a value, such as {wanted}; got {policy!r}")
        self._policy = policy
        self._classify = classify
        self._invalidate_after = duration("invalidate_after", invalidate_after, none=True)
        self._running = False
        self._pool: Pool[T] = Pool(
            policy,
            factory,
            close,
            clock=LoopClock() if clock is None else clock,
            rng=random.Random() if rng is None else rng,
            name=name,
        )

    def __repr__(self) -> str:
        pool = self._pool
        state = "closed" if pool.closed else f"{len(pool.candidates)} of {len(pool.instances)} ready"
        return f"<Balancer {pool.service} {self._policy!r}, {state}, {pool.in_flight} in flight>"

    # -- what goes in

    async def run(self, queue: asyncio.Queue[Event]) -> None:
        """Take in the Events of `queue` until one says that the watch is closed; picks are ClosedError then.

        When it is cancelled, the endpoints are closed first, within 5 seconds; it may be run again, and then
        makes those of the last list anew. Picks of a balancer without a factory go on from that meanwhile.
        Raises only bugs, a policy's say: one is logged and closes the balancer, and is the cause of the
        ClosedError of whoever waits or picks.
        """
        pool = self._pool
        if self._running:
            raise RuntimeError("run() of this balancer is running already")
        if pool.closed:
            raise pool.reason()
        self._running = True
        try:
            pool.awake()
            while not pool.closed:
                event = await self._hear(queue)
                if event is None:
                    pool.drop()
                else:
                    pool.feed(event)
        except Exception as bug:
            pool.fail(bug)
            raise
        finally:
            self._running = False
            await self._rest()

    async def _hear(self, queue: asyncio.Queue[Event]) -> Event | None:
        """The next Event; None once the list has been doubtful for `invalidate_after`."""
        pool = self._pool
        if self._invalidate_after is None or pool.troubled_since is None or pool.dropped:
            return await queue.get()
        left = pool.troubled_since + self._invalidate_after - pool.clock.time()
        try:
            async with pool.clock.timeout(max(left, 0.0)):
                return await queue.get()
        except TimeoutError:
            return None

    async def _rest(self) -> None:
        pool = self._pool
        if not pool.keep:
            await pool.close_endpoints(LINGER)
        else:
            pool.pause()

    def feed(self, event: Event) -> None:
        """Take in one Event, for a program that has no queue. With a factory, a loop has to be running."""
        self._pool.feed(event)

    async def aclose(self) -> None:
        """Refuse picks with ClosedError, tell those who wait, and close the endpoints, within 5 seconds.

        Idempotent; a cancellation is raised when that is done. A `run` returns at its next Event.
        """
        self._pool.close()
        await self._pool.close_endpoints(LINGER)

    # -- picks

    def pick(self) -> Instance:
        """The next instance, without counting a call: for a call that counts, use `acquire` or `call`.

        Raises NoInstances when there is none, with why in its text, and ClosedError when closed. It is not
        thread-safe: call it on the event loop of this balancer. For picks alone RoundRobin and Random are
        the policies: one that measures learns nothing by them.
        """
        pool = self._pool
        pool.used = True
        return pool.next()

    def begin(self) -> tuple[T, Callable[[BaseException | None], None]]:
        """As `acquire`, for who can neither wait nor use a block: an endpoint, and what ends the call.

        That is a function to be called once: with None for a success, with an Exception that counts as a
        failure (`classify` isn't asked), or with the CancelledError of a call that was given up. Until then
        the call counts as load of its instance. Raises what `pick` raises. It costs the least of all.
        """
        pool = self._pool
        pool.used = True
        return pool.take()

    def acquire(
        self, *, key: object = None, exclude: Sequence[Instance] = (), timeout: float | None = 5.0
    ) -> Acquired[T]:
        """An async context manager that gives an endpoint (the Instance without a factory) for one call.

        Waits up to `timeout` seconds for a first instance, then raises NoInstances. `exclude` are instances
        to avoid if there is another; `key` is for policies that hash. The call counts as load of its
        instance while the block runs. An exception that leaves it counts as a failure as `classify` says; a
        cancellation counts neither as that nor as a success.
        """
        return Acquired(self._pool, key, exclude, timeout, self._classify)

    def lease(
        self, *, key: object = None, exclude: Sequence[Instance] = (), timeout: float | None = 5.0
    ) -> Held[T]:
        """As `acquire`, but gives a Held: its `instance`, its `endpoint`, and `fail(error)`."""
        return Held(self._pool, key, exclude, timeout, self._classify)

    async def call(
        self,
        fn: Callable[[T], Awaitable[R]],
        *,
        retry: Retry | None = None,
        key: object = None,
        timeout: float | None = 5.0,
    ) -> R:
        """What `await fn(endpoint)` gives, tried again on other instances as `retry` says.

        Waits up to `timeout` seconds for a first instance, then raises NoInstances. Raises RetriesExhausted
        with the error of each attempt when there is no attempt left, or no time, or the callback said stop.
        An error that `retry.on` doesn't name is raised as it is; without `retry`, so is any. A cancellation
        ends the attempt and isn't retried.
        """
        if retry is None:
            async with Acquired(self._pool, key, (), timeout, self._classify) as endpoint:
                return await fn(endpoint)
        return await call_with_retry(self._pool, fn, retry, key=key, timeout=timeout, classify=self._classify)

    # -- what there is

    @property
    def instances(self) -> Snapshot:
        """The last list heard; an empty one while there is none. To ask for it is a use, as a pick is."""
        self._pool.touch()
        return self._pool.instances

    def endpoints(self) -> dict[Instance, T]:
        """Every endpoint that is ready, by its instance; the instances themselves without a factory.

        To ask for them is a use, as a pick is: of one that rested the endpoints are then made again.
        """
        self._pool.touch()
        return self._pool.values()

    @property
    def classify(self) -> Classify | None:
        """What says whether an exception counts as a failure; None where each does."""
        return self._classify

    @property
    def closed(self) -> bool:
        """Whether it is closed for good: by `aclose`, with its watch, or by a bug."""
        return self._pool.closed

    def statistics(self) -> BalancerStatistics:
        """What this balancer is doing just now. To ask for it is no use."""
        pool = self._pool
        return BalancerStatistics(
            instances=len(pool.instances),
            candidates=len(pool.candidates),
            in_flight=pool.in_flight,
            waiting=pool.waiting,
            stale=pool.troubled_since is not None,
            loads=pool.loads(),
            errors=pool.errors(),
        )

    # -- idleness, for whoever keeps the watch

    @property
    def used(self) -> bool:
        """Whether anything was picked or asked for since this was last set to False."""
        return self._pool.used

    @used.setter
    def used(self, value: bool) -> None:
        self._pool.used = value

    def sleep(self, wake: Callable[[], None]) -> None:
        """Call `wake` at the next use, once, or soon if somebody waits for an instance just now.

        Picks go on from the last list, on the endpoints there are: a `run` that is cancelled after this
        keeps them, and one that was cancelled before has closed them. A `run` that starts ends the sleep.
        """
        self._pool.sleep(wake)
