"""The demonstration from its start to its end."""

import argparse
import asyncio
import logging
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from asyncsd import BackendError, Discovery, Lease, Query, Record
from asyncsd.backends.consul import ConsulBackend
from calls import CLOCK, GREETERS, Greetings, Times, open_session
from display import choose
from fleet import Fleet
from journal import Journal
from registry import OwnRegistry
from roster import Roster
from stage import Stage
from story import Outcome, play
from summary import all_held, summary
from tally import Tally
from traffic import Traffic


class Unusable(Exception):
    """The registry can't be used, for a reason that its text tells."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description="asyncsd in half a minute.")
    parser.add_argument(
        "--registry", metavar="URL", help="a Consul of yours, such as consul://127.0.0.1:8500"
    )
    parser.add_argument("--plain", action="store_true", help="lines instead of a table, also in a terminal")
    parser.add_argument(
        "--look",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="to look at each thing, %(default)s by default",
    )
    parser.add_argument("--save-svg", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


async def main(args: argparse.Namespace) -> int:
    """The exit status."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    journal, tally = Journal(), Tally()
    async with Fleet(journal) as agents:
        url: str | None = args.registry
        own: OwnRegistry | None = None
        if url is None:
            own = OwnRegistry(agents)
            await own.start()
            url = own.url
        async with Discovery(ConsulBackend(url)) as sd, open_session(sd, tally) as session:
            await see_that_it_is_free(sd, journal, within=10.0 if own else 3.0)
            async with services_of_its_own(sd, journal) as services:
                stage = Stage(
                    sd=sd,
                    journal=journal,
                    tally=tally,
                    roster=Roster(journal),
                    services=services,
                    greetings=Traffic(Greetings(sd, session, tally)),
                    times=Traffic(Times(session, tally)),
                    url=url,
                    own=own,
                    look=args.look,
                )
                outcomes = await perform(stage, args)
                print(*summary(outcomes, tally, journal.now), sep="\n", flush=True)
    stubborn = agents.killed + services.killed
    started = len(agents) + len(services)
    print(f"{started} processes were started and have ended; {stubborn} had to be killed")
    return 0 if all_held(outcomes, tally) and not stubborn else 1


async def perform(stage: Stage, args: argparse.Namespace) -> list[Outcome]:
    """Play the story, while the watches, the calls and the display go on."""
    async with asyncio.TaskGroup() as group:
        beside = [
            group.create_task(each)
            for each in (
                stage.roster.follow(stage.sd, GREETERS),
                stage.roster.follow(stage.sd, CLOCK),
                stage.greetings.run(),
                stage.times.run(),
                *(display.run() for display in choose(stage, plain=args.plain, svg=args.save_svg)),
            )
        ]
        outcomes = await play(stage)
        for task in beside:
            task.cancel()
    return outcomes


async def see_that_it_is_free(sd: Discovery[ConsulBackend], journal: Journal, *, within: float) -> None:
    """Wait for the registry. Unusable if it doesn't come, or has services by the names of the demo's."""
    error: BackendError | None = None
    try:
        async with asyncio.timeout(within):
            while True:
                try:
                    taken = {GREETERS, CLOCK} & (await sd.services()).keys()
                    break
                except BackendError as exc:
                    error = exc
                    if journal.entries:  # The demo's own agent couldn't start.
                        raise Unusable(journal.entries[-1].text) from exc
                    await asyncio.sleep(0.05)
    except TimeoutError:
        raise Unusable(f"the registry can't be used: {error}") from None
    if taken:
        raise Unusable(f"the registry has {' and '.join(sorted(taken))} already: the demo leaves them alone")


@asynccontextmanager
async def services_of_its_own(sd: Discovery[ConsulBackend], journal: Journal) -> AsyncGenerator[Fleet, None]:
    """A fleet of services. Those that were killed can't deregister: at the end that is done for them."""
    fleet = Fleet(journal)
    try:
        async with fleet:
            yield fleet
    finally:
        with suppress(BackendError):
            for service in (GREETERS, CLOCK):
                for left in await sd.instances(Query(service, status="critical")):
                    if fleet.find(left.meta.get("pid")):
                        record = Record(left.id, left.service, left.host, left.port)
                        await sd.backend.deregister(Lease(record, where="its agent"))


def run() -> int | str:
    """What to end with: an exit status, or the reason for 1. KeyboardInterrupt once all has ended."""
    logging.basicConfig(level=logging.ERROR)  # What asyncsd would warn of is the show itself.
    try:
        return asyncio.run(main(arguments()))
    except Unusable as exc:
        return f"demo: {exc}"
    except asyncio.CancelledError:  # By SIGTERM.
        return 143
