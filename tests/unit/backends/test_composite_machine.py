"""Any sequence of troubles: the decisions against a model, and whole composites against what must hold."""

import asyncio
import random
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsd import Snapshot, UnreachableError
from asyncsd.backends.composite import Failover, Merge
from asyncsd.backends.composite._failover import Turn
from asyncsd.backends.composite._merge import merged
from asyncsd.backends.composite._standing import Standing, place
from asyncsd.testing import FakeClock
from tests.support.members import LIMITS, FaultyMemory, instance, watched
from tests.unit.strategies import listings

DOWN, BACK = 10.0, 30.0

# -- whose turn it is


@dataclass
class State:
    """A member as a test sees it; it is heard at once of all that happens to it."""

    fits: bool
    down_since: float | None = None
    good_since: float | None = None

    def standing(self, number: int) -> Standing:
        standing = Standing(f"dc{number}", watcher=None)  # type: ignore[arg-type]
        standing.heard, standing.unheard = Snapshot(()), ()
        standing.fit = (instance(f"{number}"),) if self.fits else ()
        standing.stale = self.down_since is not None
        standing.trouble = None if self.down_since is None else UnreachableError("refused")
        standing.failing_since = self.down_since
        standing.good_since = self.good_since
        return standing


def model(states: list[State], active: int | None, now: float) -> int:
    """Who serves next, told in other words than in the code."""

    def can(state: State) -> bool:
        return state.fits and (state.down_since is None or now < state.down_since + DOWN)

    able = [number for number, state in enumerate(states) if can(state)]
    remembered = [number for number, state in enumerate(states) if state.fits]
    if active is None:
        return (able or remembered or [0])[0]
    if not able:
        return remembered[0] if remembered and active not in remembered else active
    if active not in able:
        return able[0]
    for number in able:
        since = states[number].good_since
        if number < active and since is not None and now >= since + BACK:
            return number
    return active


Steps = list[tuple[int, str, float]]
steps_ = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["empty", "fill", "down", "up"]),
        st.sampled_from([0.0, 1.0, 9.0, 10.0, 29.0, 31.0]),
    ),
    max_size=40,
)


@settings(max_examples=150)
@given(fits=st.lists(st.booleans(), min_size=3, max_size=3), steps=steps_)
def test_the_turn_is_the_models_and_nobody_is_asked_late(fits: list[bool], steps: Steps) -> None:
    now = 1000.0
    states = [State(each, good_since=now if each else None) for each in fits]
    turn = Turn("users", down=DOWN, back=BACK)
    active: int | None = None
    for number, step, pause in [*steps, (0, "", 0.0)]:
        state = states[number]
        if step in ("empty", "fill"):
            state.fits = step == "fill"
        elif step:
            state.down_since = (state.down_since or now) if step == "down" else None
        good = state.fits and state.down_since is None
        state.good_since = (state.good_since or now) if good else None
        end = now + pause
        while True:
            choice = turn.choose(standings(states), now, patient=False)
            active = model(states, active, now)
            assert choice is not None
            assert (turn.active, choice.stale) == (active, states[active].down_since is not None)
            assert [each.id for each in choice.instances] == ([f"{active}"] if states[active].fits else [])
            if choice.due is None or choice.due > end:
                break
            # Until it is due, nothing changes by itself.
            assert model(states, active, (now + choice.due) / 2) == active
            now = choice.due
        assert model(states, active, end) == active
        now = end


def standings(states: list[State]) -> list[Standing]:
    return [state.standing(number) for number, state in enumerate(states)]


# -- what is merged


@settings(max_examples=100)
@given(lists=st.lists(st.tuples(listings, st.booleans()), min_size=1, max_size=3))
def test_an_address_is_of_one_member_and_none_is_lost(lists: list[tuple[Any, bool]]) -> None:
    members: list[Standing] = []
    for number, (listing, stale) in enumerate(lists):
        standing = Standing(f"m{number}", watcher=None)  # type: ignore[arg-type]
        standing.fit = tuple(each for each in listing if each.status == "passing")
        standing.unfit = tuple(each for each in listing if each.status != "passing")
        standing.places = {place(each) for each in listing}
        standing.stale = stale
        members.append(standing)
    found = merged(members)
    owners: dict[object, int] = {}
    kept = {id(each) for each in found}
    for number, member in enumerate(members):
        for each in (*member.fit, *member.unfit):
            where = (each.host, each.port) if each.port else (each.host, each.id)
            if id(each) in kept:
                assert owners.setdefault(where, number) == number
            elif len(members) == 1:
                pytest.fail("lost")
    for member in members:
        for each in (*member.fit, *member.unfit):
            where = (each.host, each.port) if each.port else (each.host, each.id)
            assert where in owners
            owner = members[owners[where]]
            # A live word isn't given up for one that is remembered.
            assert member.stale or not owner.stale


# -- all of it


def whole(kind: type[Merge] | type[Failover], clock: FakeClock, members: list[FaultyMemory]) -> Any:
    named = {f"dc{number}": member for number, member in enumerate(members)}
    return kind(named, clock=clock, rng=random.Random(1), limits=LIMITS)


@pytest.mark.parametrize("kind", [Merge, Failover])
@settings(max_examples=40)
@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from(["add", "remove", "down", "up", "lose", "silent"]),
            st.sampled_from([0.0, 0.5, 3.0, 12.0, 40.0]),
        ),
        max_size=25,
    )
)
async def test_whatever_happens_all_is_well_once_all_are_well(
    kind: type[Merge] | type[Failover], steps: Steps
) -> None:
    clock = FakeClock()
    members = [FaultyMemory("abc"[number], clock=clock) for number in range(3)]
    async with watched(clock, whole(kind, clock, members)) as watch:
        await watch.told(2.0)
        for number, step, pause in steps:
            member, id = members[number], "abc"[number]
            match step:
                case "add":
                    member.add(id)
                case "remove":
                    member.remove(id)
                case "down":
                    member.down()
                case "up":
                    member.up()
                case "silent":
                    member.silent = True
                    member.cut()
                case _:
                    member.clear()
            before = len(member.cursors)
            await clock.advance(pause)
            # No storm: a member isn't asked more often than a watch of its own would.
            assert len(member.cursors) - before <= 15 * pause + 15
            events = await watch.events()
            for event in events:
                assert event.snapshot is not None
                addresses = [each.address for each in event.snapshot]
                assert len(set(addresses)) == len(addresses)
                assert event.error is not None or not event.stale
        for number, member in enumerate(members):
            member.up()
            member.cut()
            member.add("abc"[number])
        await clock.advance(120.0)
        everyone = ["a@dc0", "b@dc1", "c@dc2"]
        assert watch.ids == (everyone if kind is Merge else everyone[:1])
        latest = watch.watcher.hub.latest
        assert latest is not None
        assert (latest.stale, latest.error) == (False, None)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("asyncsd:")]
