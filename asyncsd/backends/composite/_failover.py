"""The first member that can serve, and back."""

import logging
import random
from collections.abc import Sequence

from asyncsd._config import Backoff, Limits
from asyncsd._protocols import Clock
from asyncsd._values import duration

from ._backend import Composite
from ._members import Given
from ._standing import Standing
from ._watch import Choice

__all__ = ["Failover", "Turn"]

log = logging.getLogger("asyncsd.composite")

USABLE, REMEMBERED, EMPTY, UNHEARD = range(4)


class Failover(Composite):
    """Several backends as one: the instances of the first that has some.

        Failover(ConsulBackend(datacenter="dc1"), ConsulBackend(datacenter="dc2"), down=10.0, back=30.0)

    The decision is made for each query. The next member serves at once when the one before has no instance
    that fits, or once it could not be heard for `down` seconds, from the first failure on; until then what
    it told last serves on. A member earlier in the order serves again once it was live, with instances
    that fit, for `back` seconds without a break; sooner only if the one that serves no longer can. Where
    none can, what is remembered serves on. Each switch is logged, and each Instance says by its `origin`
    which member it is of.

    All members are watched all the time, so that a switch takes no time. The Events name every member that
    can't be heard in `error`; they are `stale` while the one that serves can't be.

    Members are backends or mappings of names to backends; those without a name are called by their
    datacenter or kind. Further parameters, closing and errors are those of every composite: see Composite.
    """

    def __init__(
        self,
        *members: Given,
        down: float = 10.0,
        back: float = 30.0,
        wait: float = 55.0,
        patience: float = 2.0,
        backoff: Backoff = Backoff(),
        limits: Limits = Limits(),
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        duration("Failover.down", down, zero=True)
        duration("Failover.back", back, zero=True)
        self._down = down
        self._back = back
        super().__init__(
            *members, wait=wait, patience=patience, backoff=backoff, limits=limits, clock=clock, rng=rng
        )

    def _shown(self) -> str:
        return f", down={self._down:g}, back={self._back:g}"

    def _composer(self, service: str) -> "Turn":
        return Turn(service, down=self._down, back=self._back)


class Turn:
    """Whose turn it is to serve one query."""

    __slots__ = ("_back", "_down", "_service", "active")

    def __init__(self, service: str, *, down: float, back: float) -> None:
        self._service = service
        self._down = down
        self._back = back
        self.active: int | None = None
        """The number of the member that serves, None before the first choice."""

    def choose(self, standings: Sequence[Standing], now: float, *, patient: bool) -> Choice | None:
        """The instances of the one whose turn it is; none yet while an earlier one may still answer."""
        if self.active is None and patient and not _is_clear(standings):
            return None
        chosen = self._turn(standings, now)
        if chosen != self.active:
            self._tell(standings, chosen, now)
            self.active = chosen
        serving = standings[chosen]
        # Where nobody has any, what was had of one that isn't heard yet is better.
        lacking = (serving,) if serving.fit else standings
        unheard = tuple(path for standing in lacking for path in standing.unheard)
        return Choice(serving.fit + serving.unfit, serving.stale, self._due(standings, now), unheard)

    def _turn(self, standings: Sequence[Standing], now: float) -> int:
        """The first of those that can serve best; one that serves stays until an earlier one is proved."""
        ranks = [self._rank(standing, now) for standing in standings]
        best = [number for number, rank in enumerate(ranks) if rank == min(ranks)]
        if self.active not in best:
            return best[0]
        if min(ranks) != USABLE:
            return self.active
        proved = (number for number in best if self._is_proved(standings[number], now))
        return min(next(proved, self.active), self.active)

    def _rank(self, standing: Standing, now: float) -> int:
        if standing.heard is None:
            return UNHEARD
        if not standing.fit:
            return EMPTY
        return REMEMBERED if self._is_down(standing, now) else USABLE

    def _is_down(self, standing: Standing, now: float) -> bool:
        since = standing.failing_since
        return standing.closed or (since is not None and now >= since + self._down)

    def _is_proved(self, standing: Standing, now: float) -> bool:
        return standing.good_since is not None and now >= standing.good_since + self._back

    def _due(self, standings: Sequence[Standing], now: float) -> float | None:
        """When a member will have been down, or good, for long enough."""
        times = [since + self._down for each in standings if (since := each.failing_since) is not None]
        times += [since + self._back for each in standings if (since := each.good_since) is not None]
        return min((when for when in times if when > now), default=None)

    def _tell(self, standings: Sequence[Standing], chosen: int, now: float) -> None:
        name = standings[chosen].name
        if self.active is None:
            if chosen > 0:
                log.warning("%r is served by %s: %s", self._service, name, self._why(standings[0], now))
            return
        before = standings[self.active]
        if chosen < self.active and self._rank(before, now) == USABLE:
            log.info("%r is served by %s again: it was good for %g s", self._service, name, self._back)
        else:
            log.warning("%r is served by %s now: %s", self._service, name, self._why(before, now))

    def _why(self, standing: Standing, now: float) -> str:
        """What keeps a member from serving."""
        if standing.heard is not None and not standing.fit:
            return f"{standing.name} has no instance that fits"
        if standing.failing_since is None:
            return f"{standing.name} has not answered"
        return f"{standing.name} can't be heard for {now - standing.failing_since:.1f} s: {standing.trouble}"


def _is_clear(standings: Sequence[Standing]) -> bool:
    """Whether those that haven't answered can't change who comes first."""
    for standing in standings:
        if standing.fit or not standing.said:
            return standing.said
    return True
