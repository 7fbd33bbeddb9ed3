"""The phases in their order. One that doesn't hold what it claims ends the story."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import phases
from phases import Unproven
from stage import Stage


class Phase(NamedTuple):
    title: str
    shows: str
    play: Callable[[Stage], Awaitable[str]]
    """Gives the figures that prove it, or raises Unproven."""


class Outcome(NamedTuple):
    title: str
    held: bool | None
    """None for a phase that wasn't played."""
    figures: str


RESTART = Phase(
    "the registry dies", "calls go on, and all register with the new one", phases.restart_registry
)
STORY = (
    Phase("three instances", "with HTTP checks, called through a balancer", phases.start_three),
    Phase("one is killed", "calls go to another, until its check finds out", phases.kill_one),
    Phase("scaling out", "three more at thrice the load; nothing is configured", phases.scale_out),
    Phase("scaling in", "three drain, deregister, and stop", phases.scale_in),
    Phase("by name", "another service appears, and is called as http://clock/now", phases.call_by_name),
    RESTART,
)


async def play(stage: Stage) -> list[Outcome]:
    """Play all phases; after one that didn't hold, the rest is left out."""
    outcomes: list[Outcome] = []
    for number, phase in enumerate(STORY, 1):
        if any(outcome.held is False for outcome in outcomes):
            outcomes.append(Outcome(phase.title, None, "not played"))
        elif phase is RESTART and stage.own is None:
            outcomes.append(Outcome(phase.title, None, "left out: this registry isn't the demo's to restart"))
        else:
            stage.title = f"{number}/{len(STORY)} {phase.title}: {phase.shows}"
            outcomes.append(await _prove(phase, stage))
    return outcomes


async def _prove(phase: Phase, stage: Stage) -> Outcome:
    stage.journal.phase(stage.title)
    failed = stage.tally.totals.failed
    try:
        figures = await phase.play(stage)
        if more := stage.tally.totals.failed - failed:
            raise Unproven(f"{more} calls failed, the last by {stage.tally.errors[-1]!r}")
    except Unproven as exc:
        stage.journal.trouble(str(exc))
        return Outcome(phase.title, False, str(exc))
    stage.journal.done(figures)
    return Outcome(phase.title, True, figures)
