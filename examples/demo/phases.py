"""What each phase does, and what it claims by figures that were measured."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from asyncsd import BackendError, Instance
from calls import CLOCK, GREETERS
from roster import label
from stage import Stage

STEADY, HIGH, OF_THE_CLOCK = 100.0, 300.0, 20.0
"""Calls a second."""
NEWCOMERS = 2.0
"""Seconds from when a newcomer is up, and isn't registered yet, until it has its share of the calls."""
WINDOW = 0.5
"""Seconds over which a newcomer's share is taken."""


class Unproven(Exception):
    """A phase didn't show what it claims."""


async def start_three(stage: Stage) -> str:
    for _ in range(3):
        await stage.start_greeter()
    await until(lambda: len(stage.greeters()) == 3, "three passing instances", within=10.0)
    stage.greetings.change(STEADY)
    await asyncio.sleep(0.2)
    began = time.monotonic()
    await asyncio.sleep(1.5 * stage.look)
    shares = stage.tally.shares(began)
    if len(shares) != 3 or min(shares.values()) < 0.3:
        raise Unproven(f"the shares aren't even: {percents(shares)}")
    return f"{STEADY:g} calls a second, shared evenly: {percents(shares)}"


async def kill_one(stage: Stage) -> str:
    victim, retried = stage.greeters()[0], stage.tally.retried
    stage.journal.event(f"SIGKILL to {label(victim)}, pid {victim.meta['pid']}")
    stage.member(victim).kill()
    killed = time.monotonic()
    await until(lambda: victim.id not in {each.id for each in stage.greeters()}, "its check has found out")
    found = time.monotonic() - killed
    await asyncio.sleep(0.5 * stage.look)
    settled, cost = time.monotonic(), stage.tally.retried - retried
    await stage.start_greeter()
    await until(lambda: len(stage.greeters()) == 3, "a replacement", within=8.0)
    await asyncio.sleep(stage.look)
    if stage.tally.retried - retried > cost:
        raise Unproven("calls were still sent to it after its check had found out")
    if len(stage.tally.shares(settled)) != 3:
        raise Unproven("its replacement wasn't called")
    if stage.own is not None:  # A Consul keeps the dead for a minute at the least.
        await until(lambda: victim.id not in {each.id for each in stage.roster.instances}, "it is removed")
    return f"found out after {found:.1f} s; until then {calls_were(cost)} tried again on another"


async def scale_out(stage: Stage) -> str:
    stage.greetings.change(HIGH, over=2.0)
    newcomers = [await stage.start_greeter() for _ in range(3)]
    took: dict[int, float] = {}

    def have_their_shares() -> bool:
        shares = stage.tally.shares(time.monotonic() - WINDOW)
        fair = 1 / max(1, len(stage.greeters()))
        for member in newcomers:
            instance = stage.roster.find(member.pid)
            if member.pid not in took and instance and shares.get(instance.id, 0.0) > 0.8 * fair:
                took[member.pid] = time.time() - float(instance.meta["started"])
        return len(took) == len(newcomers)

    await until(have_their_shares, "each newcomer has its share of the calls", within=8.0)
    if max(took.values()) > NEWCOMERS:
        raise Unproven(f"a newcomer had its share only after {max(took.values()):.1f} s")
    began = time.monotonic()
    await asyncio.sleep(1.5 * stage.look)
    shares = stage.tally.shares(began)
    return f"each had its share within {max(took.values()):.1f} s of being up: {percents(shares)}"


async def scale_in(stage: Stage) -> str:
    newest, retried = stage.greeters()[3:], stage.tally.retried
    leaving = [stage.member(instance) for instance in newest]
    stage.greetings.change(STEADY, over=2.0)
    stage.journal.event(f"SIGTERM to {', '.join(label(instance) for instance in newest)}")
    began = time.monotonic()
    for member in leaving:
        member.terminate()
    await until(lambda: all(member.status is not None for member in leaving), "they have ended", within=8.0)
    took = time.monotonic() - began
    if any(member.status for member in leaving):
        raise Unproven(f"they ended with {[member.status for member in leaving]}")
    await until(lambda: not any(stage.roster.find(member.pid) for member in leaving), "all are deregistered")
    await asyncio.sleep(stage.look)
    cost = stage.tally.retried - retried
    return f"{len(leaving)} drained and ended in {took:.1f} s; {calls_were(cost)} tried again"


async def call_by_name(stage: Stage) -> str:
    before = len(stage.tally.answers)
    async with stage.sd.watch_services() as services:
        member = await stage.start_clock()
        try:
            async with asyncio.timeout(8.0):
                async for names in services:
                    if CLOCK in names:
                        break
        except TimeoutError:
            raise Unproven("the clock didn't appear within 8 s") from None
    stage.times.change(OF_THE_CLOCK)

    def answers() -> int:
        return sum(answer.service == CLOCK for answer in stage.tally.answers[before:])

    def clock() -> Instance | None:
        return stage.roster.find(member.pid)

    await until(lambda: answers() and clock(), "the clock answers")
    instance = clock()
    assert instance is not None
    took = time.time() - float(instance.meta["started"])
    await asyncio.sleep(stage.look)
    return f"answered {took:.1f} s after it was up; {answers()} calls to http://{CLOCK}/now since"


async def restart_registry(stage: Stage) -> str:
    assert stage.own is not None
    stage.journal.event(f"SIGKILL to the agent, pid {stage.own.pid}")
    await stage.own.kill()
    down = time.monotonic()
    await asyncio.sleep(stage.look)
    alone = len(stage.tally.since(down))
    stage.journal.event("the agent is started again, empty")
    began = time.monotonic()
    await stage.own.start()
    await until_registered(stage, {str(member.pid) for member in stage.services.running()}, within=8.0)
    took = time.monotonic() - began
    await until(lambda: not stage.roster.stale, "the client has heard of all again")
    await asyncio.sleep(stage.look)
    return f"{alone} calls without it; all registered again {took:.1f} s after it was started"


# -- what they share


async def until(holds: Callable[[], object], what: str, *, within: float = 5.0) -> None:
    """Wait until it `holds`; Unproven past the deadline."""
    end = time.monotonic() + within
    while not holds():
        if time.monotonic() > end:
            raise Unproven(f"not within {within:g} s: {what}")
        await asyncio.sleep(0.02)


async def until_registered(stage: Stage, pids: set[str], *, within: float) -> None:
    """Wait until the registry itself, and not a list that was kept, has the instances of these processes."""
    found: set[str] = set()
    try:
        async with asyncio.timeout(within):
            while found != pids:
                await asyncio.sleep(0.05)
                with suppress(BackendError):
                    found = {
                        instance.meta["pid"]
                        for service in (GREETERS, CLOCK)
                        for instance in await stage.sd.instances(service)
                    }
    except TimeoutError:
        raise Unproven(f"of {len(pids)} services {len(found)} registered again within {within:g} s") from None


def calls_were(count: int) -> str:
    return "1 call was" if count == 1 else f"{count} calls were"


def percents(shares: Mapping[str, float]) -> str:
    return " ".join(f"{share:.0%}" for share in sorted(shares.values()))
