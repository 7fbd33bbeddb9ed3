"""From a change to the list that has it, where a registry has to be asked, beside a loop that asks as often.

Eureka, Consul's DNS and a file, each once a second. What counts is when in that second the change falls:
the changes come so that they are spread evenly over it, and the median is about half of it. All watches are
under way at once, since they have nothing to do for most of the time.
"""

import argparse
import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING

from _candidates import Candidate, bare, change, ours
from _measure import Report, figure, run
from _registries import POLLED, Place, here

if TYPE_CHECKING:
    from collections.abc import Callable

CHANGES = 6
"""Of each candidate in a round."""
PACE = 2 - (5**0.5 - 1) / 2
"""Seconds, 1.38: multiples of the golden ratio, modulo 1, are spread evenly (Weyl's sequence)."""
GOAL = 1.15


async def changes(one: Candidate, count: int) -> list[float]:
    """Microseconds each, from its return."""
    took: list[float] = []
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(count):
        await asyncio.sleep(began + number * PACE - loop.time())
        took.append((await change(one, there=number % 2 == 0)).returned)
    return took


async def compare(report: Report) -> None:
    async with AsyncExitStack() as stack:
        starts: dict[str, Callable[[], AbstractAsyncContextManager[Place]]] = here(*report.options.only)
        under: dict[str, Candidate] = {}
        for name, start in starts.items():
            place = await stack.enter_async_context(start())
            under[f"{name}, bare"] = await stack.enter_async_context(bare(name, place))
            under[name] = await stack.enter_async_context(ours(name, place))
        found = await asyncio.gather(*(changes(one, report.rounds * CHANGES) for one in under.values()))
    report.add(
        "from the return of a change to its Event, asked each second",
        {name: figure([took / 1000 for took in of_one]) for name, of_one in zip(under, found, strict=True)},
        floors={name: f"{name}, bare" for name in starts},
        unit="ms",
        by="median",
        goals=dict.fromkeys(starts, GOAL),
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--only", nargs="*", choices=POLLED, default=POLLED, help="of the registries only these"
    )
    report = Report(__doc__ or "", parser)
    run(lambda: compare(report))
    report.close()


if __name__ == "__main__":
    main()
