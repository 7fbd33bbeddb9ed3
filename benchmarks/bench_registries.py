"""From a change to the list that has it, on each registry that tells of changes, beside a loop by hand.

The change is one request of a bare client: a second instance comes, or goes. The list is had when a task
that reads the queue has got it. Loop and asyncsd watch a service each on the same server, all at once, and
take turns in each cycle: nothing of one is under way while another is timed. Between two cycles lie 150 ms,
so that no change meets the 100 ms between the fetches of a watch (`Limits.least_interval`).

A time from the return is below zero where the registry tells its watches before it has answered the writer.
"""

import argparse
import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from _candidates import Candidate, Took, bare, bare_in_memory, change, ours, ours_in_memory
from _measure import Report, figure, run
from _registries import PUSHING, here

CYCLES = 8
"""Changes of each candidate in a round."""
PACE = 0.15
REST = 0.01
"""Seconds after a turn, for what is left to do of it."""
GOAL = 1.15


async def compare(report: Report) -> None:
    took: dict[str, list[Took]] = {}
    async with AsyncExitStack() as stack:
        under: dict[str, Candidate] = {
            "memory, bare": await stack.enter_async_context(bare_in_memory()),
            "memory": await stack.enter_async_context(ours_in_memory()),
        }
        for name, start in here(*report.options.only or PUSHING).items():
            place = await stack.enter_async_context(start())
            under[f"{name}, bare"] = await stack.enter_async_context(bare(name, place))
            under[name] = await stack.enter_async_context(ours(name, place))
        took = {name: [] for name in under}
        order = list(under.items())
        for cycle in range(report.rounds * CYCLES):
            for name, one in order if cycle % 4 < 2 else order[::-1]:
                took[name].append(await change(one, there=cycle % 2 == 0))
                await asyncio.sleep(REST)
            await asyncio.sleep(PACE)
    add(report, "from the begin of a change to its Event", took, lambda one: one.begun, goal=GOAL)
    add(report, "from the return of a change to its Event", took, lambda one: one.returned)


def add(
    report: Report,
    title: str,
    took: dict[str, list[Took]],
    part: Callable[[Took], float],
    goal: float | None = None,
) -> None:
    mine = [name for name in took if not name.endswith(", bare")]
    report.add(
        title,
        {name: figure([part(one) for one in found]) for name, found in took.items()},
        floors={name: f"{name}, bare" for name in mine},
        unit="us",
        by="median",
        goals=dict.fromkeys(mine, goal) if goal else {},
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", choices=PUSHING, help="of the registries only these")
    report = Report(__doc__ or "", parser)
    run(lambda: compare(report))
    report.close()


if __name__ == "__main__":
    main()
