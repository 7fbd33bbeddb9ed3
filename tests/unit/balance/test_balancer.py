"""The balancer: what a caller can rely on, whatever the policy."""

import asyncio
import contextlib
import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from asyncsd import ClosedError, Event, Instance, NoInstances, Query, UnreachableError
from asyncsd._models import Snapshot
from asyncsd._protocols import Clock, Policy
from asyncsd.balance import Balancer, LeastOutstanding, PeakEWMA, Random, RoundRobin
from asyncsd.testing import FakeClock
from tests.unit.balance.support import QUERY, closed, heard, instances


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def fed(*events: Event, clock: FakeClock | None = None) -> Balancer[Instance]:
    balancer = Balancer(LeastOutstanding(), clock=clock or FakeClock(), rng=random.Random(1))
    for event in events:
        balancer.feed(event)
    return balancer


async def test_run_feeds_the_events_of_a_queue_until_the_closed_one(clock: FakeClock) -> None:
    balancer = Balancer(RoundRobin(), clock=clock)
    queue: asyncio.Queue[Event] = asyncio.Queue()
    running = asyncio.ensure_future(balancer.run(queue))
    queue.put_nowait(heard(instances(3)))
    await clock.settle()
    assert {balancer.pick() for _ in range(3)} == set(instances(3))
    queue.put_nowait(closed())
    await running
    with pytest.raises(ClosedError, match="the balancer of 'users' is closed"):
        balancer.pick()
    with pytest.raises(ClosedError):
        await balancer.acquire().__aenter__()


async def test_acquire_waits_for_a_first_instance_and_wakes_all_in_order(clock: FakeClock) -> None:
    balancer = fed(clock=clock)
    served: list[int] = []

    async def caller(number: int) -> None:
        async with balancer.acquire():
            served.append(number)

    callers = [asyncio.ensure_future(caller(number)) for number in range(5)]
    await clock.settle()
    assert balancer.statistics().waiting == 5
    balancer.feed(heard(instances(1)))
    await asyncio.gather(*callers)
    assert served == [0, 1, 2, 3, 4]
    assert balancer.statistics().waiting == 0


async def test_acquire_gives_up_with_no_instances_after_its_timeout(clock: FakeClock) -> None:
    balancer = fed(heard([]), clock=clock)

    async def call() -> None:
        async with balancer.acquire(timeout=2.0):
            pass

    calling = asyncio.ensure_future(call())
    await clock.advance(1.9)
    assert not calling.done()
    await clock.advance(0.2)
    with pytest.raises(NoInstances, match="the service has no instances"):
        await calling


def test_no_instances_says_why(clock: FakeClock) -> None:
    def why(*events: Event) -> str:
        balancer = fed(*events, clock=clock)
        with pytest.raises(NoInstances) as caught:
            balancer.pick()
        return str(caught.value)

    down = UnreachableError("connection refused", url="http://registry")
    critical = instances(3, status="critical")
    warning = instances(1, status="warning")
    assert "nothing was heard of it yet; acquire() waits for a first answer (is a watch running" in why()
    assert "nothing was ever heard of it; no good answer of the registry for 0.0 s" in why(
        Event(QUERY, None, stale=True, error=down)
    )
    assert "connection refused" in why(Event(QUERY, None, stale=True, error=down))
    assert why(heard([])) == "no instance of 'users': the service has no instances"
    assert why(heard(critical)) == "no instance of 'users': 3 instances, all critical"
    assert why(heard(warning)) == "no instance of 'users': 1 instance, warning"
    assert "4 instances, 3 critical, 1 warning" in why(Event(QUERY, Snapshot((), tuple(critical + warning))))


@pytest.mark.parametrize(
    ("query", "told"),
    [
        (Query("users", tags=("nope",)), "no instance with the tag nope"),
        (Query("users", tags=("v1", "nope")), "no instance with the tags v1, nope"),
        (Query("users", filter="Node == a"), "no instance fits the query"),
        (Query("users", server_filter=True), "no instance fits the query"),
        (Query("users", status="critical"), "the service has no instances"),
    ],
)
def test_an_empty_answer_is_told_for_what_was_asked(query: Query, told: str) -> None:
    balancer = fed(Event(query, Snapshot(())))
    with pytest.raises(NoInstances) as caught:
        balancer.pick()
    assert caught.value.reason == told


def test_a_stale_list_goes_on_serving(clock: FakeClock) -> None:
    balancer = fed(heard(instances(2)), heard(instances(2), stale=True, error=OSError()), clock=clock)
    assert balancer.pick() in instances(2)
    assert balancer.statistics().stale


def test_a_watch_that_has_not_heard_anything_takes_nothing_away() -> None:
    balancer = fed(heard(instances(2)), Event(QUERY, None, stale=True, error=OSError()))
    assert balancer.pick() in instances(2)


def test_a_closed_balancer_takes_no_more_events() -> None:
    balancer = fed(heard(instances(2)), closed(), heard(instances(2)))
    with pytest.raises(ClosedError):
        balancer.pick()


async def test_aclose_tells_those_who_wait_and_is_idempotent(clock: FakeClock) -> None:
    balancer = fed(clock=clock)

    async def call() -> None:
        async with balancer.acquire(timeout=None):
            pass

    calling = asyncio.ensure_future(call())
    await clock.settle()
    await balancer.aclose()
    await balancer.aclose()
    with pytest.raises(ClosedError):
        await calling
    with pytest.raises(ClosedError):
        await balancer.run(asyncio.Queue())


async def test_run_may_be_run_again_after_a_cancellation_and_not_twice_at_once(clock: FakeClock) -> None:
    balancer = fed(clock=clock)
    queue: asyncio.Queue[Event] = asyncio.Queue()
    queue.put_nowait(heard(instances(1)))
    running = asyncio.ensure_future(balancer.run(queue))
    await clock.settle()
    with pytest.raises(RuntimeError, match="running already"):
        await balancer.run(queue)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert balancer.pick() == instances(1)[0]
    queue.put_nowait(closed())
    await balancer.run(queue)


async def test_acquire_with_no_time_to_wait_fails_at_once() -> None:
    with pytest.raises(NoInstances):
        await fed().acquire(timeout=0).__aenter__()


async def test_load_is_given_back_however_the_block_ends() -> None:
    balancer = fed(heard(instances(2)))

    def in_flight() -> int:
        statistics = balancer.statistics()
        assert statistics.in_flight == sum(load.in_flight for load in statistics.loads)
        return statistics.in_flight

    async with balancer.acquire():
        assert in_flight() == 1
        async with balancer.lease() as held:
            assert in_flight() == 2
            assert held.endpoint is held.instance
    assert in_flight() == 0

    with pytest.raises(OSError, match="broken"):
        async with balancer.acquire():
            raise OSError("broken")
    assert in_flight() == 0

    async def hang() -> None:
        async with balancer.acquire():
            await asyncio.Event().wait()

    hanging = asyncio.ensure_future(hang())
    await asyncio.sleep(0)
    assert in_flight() == 1
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    assert in_flight() == 0


@pytest.mark.parametrize("policy", [RoundRobin(), Random(), LeastOutstanding(), PeakEWMA()])
@pytest.mark.parametrize("factory", [None, lambda each: f"to {each.id}"])
async def test_a_call_that_is_begun_by_hand_counts_until_it_is_ended(policy: Policy, factory: Any) -> None:
    balancer: Balancer[Any] = Balancer(policy, factory=factory, clock=FakeClock(), rng=random.Random(1))
    balancer.feed(heard(instances(3)))
    await asyncio.sleep(0.01)  # Until the endpoints are made.
    expected = instances(3) if factory is None else [f"to {each.id}" for each in instances(3)]
    for outcome in (None, OSError(), asyncio.CancelledError()):
        begun = [balancer.begin() for _ in range(30)]
        assert {endpoint for endpoint, _ in begun} <= set(expected)
        async with balancer.acquire():
            statistics = balancer.statistics()
            assert statistics.in_flight == 31
            if statistics.loads:
                assert sum(load.in_flight for load in statistics.loads) == 31
        for _, end in begun:
            end(outcome)
        assert balancer.statistics().in_flight == 0
    await balancer.aclose()
    with pytest.raises(ClosedError):
        balancer.begin()


async def test_a_call_to_an_instance_that_went_is_in_flight_until_it_ends() -> None:
    balancer = fed(heard(instances(1)))
    _, end = balancer.begin()
    balancer.feed(heard(()))
    assert balancer.statistics().in_flight == 1
    with pytest.raises(NoInstances):
        balancer.begin()
    end(None)
    assert balancer.statistics().in_flight == 0


@pytest.mark.parametrize("policy", [RoundRobin(), PeakEWMA()])
async def test_a_call_that_is_begun_by_hand_is_a_use_and_wakes(policy: Policy) -> None:
    balancer = Balancer(policy, clock=FakeClock(), rng=random.Random(1))
    balancer.feed(heard(instances(3)))
    woken: list[bool] = []
    balancer.sleep(lambda: woken.append(True))
    for _ in range(2):
        _, end = balancer.begin()
        end(None)
    assert woken == [True]
    assert balancer.used


class Recorder:
    """A policy that picks the first and notes how each call ended."""

    def __init__(self) -> None:
        self.outcomes: list[BaseException | None] = []
        self.asked: list[tuple[Sequence[Instance], object]] = []
        self.instances: Sequence[Instance] = ()

    def picker(self, *, clock: Clock, rng: random.Random) -> "Recorder":
        return self

    def update(self, instances: Sequence[Instance]) -> Callable[[], Instance]:
        self.instances = instances
        return self.pick

    def pick(self, exclude: Sequence[Instance] = (), key: object = None) -> Instance:
        self.asked.append((exclude, key))
        return self.instances[0]

    def begin(self, instance: Instance) -> Callable[[BaseException | None], None]:
        return self.outcomes.append


class Preferring(PeakEWMA):
    """Of two instances the second, and for all else as PeakEWMA: it hands on what it doesn't have."""

    def picker(self, *, clock: Clock, rng: random.Random) -> Any:
        return PreferringPicker(super().picker(clock=clock, rng=rng))


class PreferringPicker:
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def update(self, instances: Sequence[Instance]) -> Callable[[], Instance]:
        self._inner.update(instances)
        return lambda: instances[1]


async def test_a_policy_that_holds_another_is_asked_itself() -> None:
    balancer = Balancer(Preferring(), clock=FakeClock(), rng=random.Random(1))
    balancer.feed(heard(instances(2)))
    for _ in range(8):
        instance, end = balancer.begin()
        async with balancer.acquire() as other:
            assert instance is other is balancer.pick() is balancer.instances[1]
            assert balancer.statistics().in_flight == 2
            assert [load.in_flight for load in balancer.statistics().loads] == [0, 2]
        end(None)
    assert balancer.statistics().in_flight == 0


async def ending(balancer: Balancer[Instance], error: BaseException | None) -> None:
    with contextlib.suppress(Exception, asyncio.CancelledError):
        async with balancer.acquire():
            if error is not None:
                raise error


async def test_a_policy_learns_how_each_call_ended() -> None:
    policy = Recorder()
    balancer = Balancer(policy, classify=lambda error: not isinstance(error, LookupError))
    balancer.feed(heard(instances(1)))
    failure, cancellation, fault = OSError(), asyncio.CancelledError(), ValueError("HTTP 500")
    for error in (None, failure, KeyError("the caller's own"), cancellation):
        await ending(balancer, error)
    async with balancer.lease() as held:
        held.fail(fault)
    assert policy.outcomes == [None, failure, None, cancellation, fault]
    _, end = balancer.begin()
    assert balancer.statistics().in_flight == 1
    end(failure)
    assert balancer.statistics().in_flight == 0
    assert policy.outcomes[5:] == [failure]


async def test_a_classify_that_fails_gives_the_load_back_all_the_same() -> None:
    policy = Recorder()
    balancer = Balancer(policy, classify=lambda error: bool(1 / 0))
    balancer.feed(heard(instances(1)))
    with pytest.raises(ZeroDivisionError):
        async with balancer.acquire():
            raise OSError
    assert balancer.statistics().in_flight == 0
    assert len(policy.outcomes) == 1


async def test_a_policy_is_given_the_key_and_the_exclusions() -> None:
    policy = Recorder()
    balancer = Balancer(policy)
    balancer.feed(heard(instances(2)))
    async with balancer.acquire(key="user 7", exclude=instances(1)):
        pass
    async with balancer.acquire():
        pass
    assert policy.asked == [(instances(1), "user 7"), ((), None)]


def test_instances_of_weight_zero_are_used_only_if_there_is_no_other() -> None:
    fit = instances(3, weights=[0, 1, 0])
    balancer = fed(heard(fit))
    assert {balancer.pick() for _ in range(30)} == {fit[1]}
    balancer.feed(heard([fit[0], fit[2]]))
    assert {balancer.pick() for _ in range(30)} == {fit[0], fit[2]}


@pytest.mark.parametrize("policy", [RoundRobin(), Random(), LeastOutstanding(), PeakEWMA()])
def test_an_instance_on_two_nodes_has_one_share(policy: Policy) -> None:
    one, other = instances(2)
    balancer = Balancer(policy, rng=random.Random(1))
    balancer.feed(heard([dataclasses.replace(one, node="a"), dataclasses.replace(one, node="b"), other]))
    shares = Counter(balancer.pick().id for _ in range(1_000))
    assert len(balancer.endpoints()) == 2
    assert 400 < shares[one.id] < 600


async def test_an_error_of_a_part_of_the_registries_drops_nothing(clock: FakeClock) -> None:
    balancer = Balancer(invalidate_after=10.0, clock=clock)
    queue: asyncio.Queue[Event] = asyncio.Queue()
    running = asyncio.ensure_future(balancer.run(queue))
    queue.put_nowait(dataclasses.replace(heard(instances(2)), error=UnreachableError("west: refused")))
    await clock.advance(60.0)
    assert balancer.pick() in instances(2)
    assert not balancer.statistics().stale
    queue.put_nowait(dataclasses.replace(heard([]), error=UnreachableError("west: refused")))
    await clock.settle()
    with pytest.raises(NoInstances, match="UnreachableError: west: refused"):
        balancer.pick()
    running.cancel()
    await asyncio.wait([running])


async def test_the_list_is_dropped_after_so_long_on_errors_and_comes_back(clock: FakeClock) -> None:
    balancer = Balancer(invalidate_after=10.0, clock=clock)
    queue: asyncio.Queue[Event] = asyncio.Queue()
    running = asyncio.ensure_future(balancer.run(queue))
    good = heard(instances(2))
    bad = dataclasses.replace(good, stale=True, error=UnreachableError("refused"))
    queue.put_nowait(good)
    await clock.advance(60.0)
    queue.put_nowait(bad)
    await clock.advance(6.0)
    queue.put_nowait(bad)
    await clock.advance(3.0)
    assert balancer.pick() in instances(2)
    await clock.advance(1.5)
    with pytest.raises(NoInstances, match=r"dropped.*no good answer of the registry for 10\.5 s.*refused"):
        balancer.pick()
    assert len(balancer.instances) == 0
    balancer.feed(bad)
    with pytest.raises(NoInstances):
        balancer.pick()
    queue.put_nowait(good)
    await clock.settle()
    assert balancer.pick() in instances(2)
    running.cancel()
    await asyncio.wait([running])


@pytest.mark.parametrize("use", ["pick", "acquire", "exclude", "call", "endpoints", "instances"])
async def test_an_idle_balancer_wakes_its_owner_once_and_picks_go_on(use: str) -> None:
    balancer = fed(heard(instances(2)))
    woken: list[bool] = []
    balancer.pick()
    assert balancer.used
    balancer.sleep(lambda: woken.append(True))
    assert not balancer.used

    async def served(instance: Instance) -> Instance:
        return instance

    for _ in range(2):
        if use == "pick":
            assert balancer.pick() in instances(2)
        elif use == "endpoints":
            assert list(balancer.endpoints()) == instances(2)
        elif use == "instances":
            assert list(balancer.instances) == instances(2)
        elif use == "call":
            assert await balancer.call(served) in instances(2)
        else:
            async with balancer.acquire(exclude=instances(1) if use == "exclude" else ()) as instance:
                assert instance in instances(2)
    assert woken == [True]
    assert balancer.used


async def test_an_idle_balancer_without_instances_wakes_too(clock: FakeClock) -> None:
    balancer = fed(clock=clock)
    woken: list[bool] = []
    balancer.sleep(lambda: woken.append(True))
    with pytest.raises(NoInstances):
        balancer.pick()
    assert woken == [True]
    balancer.sleep(lambda: balancer.feed(heard(instances(1))))
    async with balancer.acquire() as instance:
        assert instance == instances(1)[0]


async def test_one_who_waits_wakes_a_balancer_that_falls_asleep(clock: FakeClock) -> None:
    balancer = fed(clock=clock)

    async def call() -> Instance:
        async with balancer.acquire() as instance:
            return instance

    calling = asyncio.ensure_future(call())
    await clock.settle()
    balancer.sleep(lambda: balancer.feed(heard(instances(1))))
    assert await calling == instances(1)[0]


async def test_run_ends_the_sleep(clock: FakeClock) -> None:
    balancer = fed(heard(instances(1)), clock=clock)
    balancer.sleep(lambda: pytest.fail("it was awake"))
    queue: asyncio.Queue[Event] = asyncio.Queue()
    queue.put_nowait(closed())
    await balancer.run(queue)


class Faulty:
    """A policy with a bug: its picker can't be given a list, or can't begin a call."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.bug = KeyError("of the policy")

    def picker(self, *, clock: Clock, rng: random.Random) -> "Faulty":
        return self

    def update(self, fit: Sequence[Instance]) -> Callable[[], Instance]:
        if self.where == "update":
            raise self.bug
        return lambda: fit[0]

    def pick(self, exclude: Sequence[Instance] = (), key: object = None) -> Instance:
        raise AssertionError

    def begin(self, instance: Instance) -> None:
        raise self.bug


@pytest.mark.parametrize("factory", [None, lambda each: each])
async def test_a_bug_of_the_policy_is_logged_and_told_to_whoever_waits_or_picks(
    factory: Any, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    policy = Faulty("update")
    balancer = Balancer(policy, factory=factory, clock=clock, name="users")
    queue: asyncio.Queue[Event] = asyncio.Queue()
    running = asyncio.ensure_future(balancer.run(queue))
    waiting = asyncio.ensure_future(balancer.acquire(timeout=None).__aenter__())
    await clock.settle()
    queue.put_nowait(heard(instances(1)))
    await clock.settle()
    with pytest.raises(ClosedError, match=r"'users' was closed by KeyError\('of the policy'\)") as caught:
        await waiting
    assert caught.value.__cause__ is policy.bug
    with pytest.raises(ClosedError, match="was closed by KeyError"):
        balancer.pick()
    [record] = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[1] is policy.bug
    assert balancer.closed
    if factory is None:
        with pytest.raises(KeyError):
            await running
    running.cancel()
    await asyncio.wait([running])
    await balancer.aclose()


async def test_a_policy_that_can_not_begin_a_call_leaves_no_load() -> None:
    balancer = Balancer(Faulty("begin"))
    balancer.feed(heard(instances(1)))
    with pytest.raises(KeyError):
        async with balancer.acquire():
            pass
    assert balancer.statistics().in_flight == 0


async def test_what_ended_the_watch_is_told(clock: FakeClock) -> None:
    boom = KeyError("boom")
    balancer = fed(heard(instances(1)), dataclasses.replace(closed(), error=boom), clock=clock)
    with pytest.raises(ClosedError, match=r"was closed by KeyError\('boom'\)") as caught:
        balancer.pick()
    assert caught.value.__cause__ is boom
    await balancer.aclose()
    with pytest.raises(ClosedError, match="boom"):
        balancer.pick()


def test_an_event_that_changes_nothing_costs_the_policy_nothing() -> None:
    policy = Recorder()
    balancer = Balancer(policy)
    event = heard(instances(2))
    balancer.feed(event)
    before = policy.instances
    balancer.feed(dataclasses.replace(event, stale=True, error=OSError()))
    assert policy.instances is before


def test_what_there_is_can_be_seen() -> None:
    balancer = fed(heard(instances(2)))
    assert tuple(balancer.instances) == tuple(instances(2))
    assert balancer.endpoints() == {each: each for each in instances(2)}
    assert repr(balancer) == "<Balancer users LeastOutstanding(), 2 of 2 ready, 0 in flight>"
    statistics = balancer.statistics()
    assert (statistics.instances, statistics.candidates, statistics.stale) == (2, 2, False)
    assert [load.instance for load in statistics.loads] == instances(2)
    assert Balancer(RoundRobin()).statistics().loads == ()
    assert Balancer(name="users").statistics().instances == 0


def test_bad_values_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="invalidate_after"):
        Balancer(invalidate_after=0)
    with pytest.raises(TypeError, match="there is no factory"):
        Balancer(close=print)  # type: ignore[call-overload]
    with pytest.raises(
        TypeError, match=r"policy is a value, such as PeakEWMA\(\) or RoundRobin\(\); got 'rr'"
    ):
        Balancer("rr")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"policy is a value, such as RoundRobin\(\); got <class"):
        Balancer(RoundRobin)  # type: ignore[call-overload]
