"""The watch of one query on all members of a composite."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from asyncsd._config import Backoff, Limits
from asyncsd._errors import ClosedError, DiscoveryError
from asyncsd._models import Event, Instance, Query, Reply, Trust
from asyncsd._protocols import Backend, Clock
from asyncsd._reachability import Reachability
from asyncsd._tasks import TaskOwner
from asyncsd._watcher import Watcher

from ._outcome import Outcome
from ._standing import Standing
from ._troubles import Troubles, silence

__all__ = ["Choice", "Composer", "Member", "View", "Watch"]


class Member(NamedTuple):
    """A backend, and what all watches of it share."""

    backend: Backend
    reachability: Reachability


class Choice(NamedTuple):
    """What a composer makes of its members: `stale` unless something of it is live.

    `due` is the clock's time at which it might choose otherwise though no member says anything new.
    `unheard` are the members that have told nothing yet, and would have a part in it.
    """

    instances: tuple[Instance, ...]
    stale: bool
    due: float | None = None
    unheard: tuple[str, ...] = ()


class Composer(Protocol):
    """Makes one list of many, for one query."""

    def choose(self, standings: Sequence[Standing], now: float, *, patient: bool) -> Choice | None:
        """The choice as of `now`; None to wait for more, which while `patient` may be done.

        Some member was heard, or `patient` holds.
        """
        ...


@dataclass(frozen=True, slots=True)
class View:
    """What is told, and also the cursor: the next fetch returns once there is another one."""

    instances: tuple[Instance, ...]
    trust: Trust
    skipped: int = field(default=0, compare=False)

    def reply(self) -> Reply:
        return Reply(self.instances, cursor=self, skipped=self.skipped, trust=self.trust)


class Watch:
    """Runs a Watcher a member, and composes what they tell. It goes on between the fetches of a query."""

    def __init__(
        self,
        members: Mapping[str, Member],
        query: Query,
        composer: Composer,
        *,
        patience: float,
        backoff: Backoff,
        limits: Limits,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._query = query
        self._composer = composer
        self._clock = clock
        self._patient_until = clock.time() + patience
        self._troubles = Troubles()
        self._standings = [
            Standing(
                name,
                Watcher(
                    member.backend,
                    query,
                    backoff=backoff,
                    limits=limits,
                    clock=clock,
                    rng=rng,
                    reachability=member.reachability,
                ),
            )
            for name, member in members.items()
        ]
        self.outcome: Outcome[View] = Outcome(clock)

    async def run(self) -> None:
        """Watch until cancelled. Raises only bugs, a Watcher's, which those who wait get as well."""
        tasks = TaskOwner()
        # What comes here only wakes: the hubs hold all that is known.
        news: asyncio.Queue[Event] = asyncio.Queue()
        try:
            for standing in self._standings:
                standing.watcher.hub.attach(news)
                tasks.spawn(_follow(standing.watcher), role="watch", service=self._query.service)
            due: float | None = self._patient_until
            while True:
                with suppress(TimeoutError):
                    async with self._clock.timeout(None if due is None else due - self._clock.time()):
                        await news.get()
                while not news.empty():
                    news.get_nowait()
                due = self._look()
        except Exception as bug:
            self.outcome.become(bug)
            raise
        finally:
            await tasks.aclose()

    def _look(self) -> float | None:
        """Compose anew, and say when to do so again though nothing is heard."""
        now = self._clock.time()
        for standing in self._standings:
            standing.look(now)
        patient = now < self._patient_until
        due = self._patient_until if patient else None
        if all(standing.closed for standing in self._standings):
            self.outcome.become(ClosedError("every member of this composite backend was closed"))
        elif any(standing.heard is not None for standing in self._standings):
            choice = self._composer.choose(self._standings, now, patient=patient)
            if choice is not None:
                skipped = sum(standing.watcher.health().skipped for standing in self._standings)
                trust = Trust(choice.stale, self._troubles.of(self._standings), choice.unheard)
                self.outcome.become(View(choice.instances, trust, skipped))
                due = choice.due
        elif all(standing.said for standing in self._standings):
            self.outcome.become(self.trouble())
        return due

    def trouble(self) -> DiscoveryError:
        """One error for all members that can't be heard, or aren't heard yet."""
        return self._troubles.of(self._standings) or silence()


async def _follow(watcher: Watcher) -> None:
    with suppress(Exception):  # A bug is logged by then, and stands in the hub's last Event.
        await watcher.run()
