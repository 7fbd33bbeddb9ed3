"""All members at once."""

from collections.abc import Sequence
from itertools import combinations
from typing import TypeAlias

from asyncsd._models import Instance

from ._backend import Composite
from ._standing import Place, Standing, place
from ._watch import Choice

__all__ = ["Merge", "Merging"]

Rank: TypeAlias = tuple[bool, bool, int]


class Merge(Composite):
    """Several backends as one: the instances of all of them.

        east, west = ConsulBackend("http://east:8500"), EtcdBackend("http://west:2379")
        async with Discovery(Merge({"east": east, "west": west})) as sd: ...

    Each Instance says by its `origin` which member it is of. An address that several members tell of counts
    once: the word of a member that can be heard goes before one that is only remembered, an instance that
    fits before one that doesn't, and then the first member's. Equal ids with different addresses are
    different instances.

    While a member can't be heard, what it told last serves on beside the live instances of the others. The
    Events say which one and why in `error`; they are `stale` only while no member can be heard.

    Members are backends or mappings of names to backends; those without a name are called by their
    datacenter or kind. Parameters, closing and errors are those of every composite: see Composite.
    """

    def _composer(self, service: str) -> "Merging":
        return Merging()


class Merging:
    """Puts the lists of all members together."""

    __slots__ = ()

    def choose(self, standings: Sequence[Standing], now: float, *, patient: bool) -> Choice | None:
        """All instances, an address once; nothing yet while members are silent that may still answer."""
        if patient and not all(standing.said for standing in standings):
            return None
        unheard = tuple(path for standing in standings for path in standing.unheard)
        return Choice(merged(standings), all(standing.stale for standing in standings), unheard=unheard)


def merged(standings: Sequence[Standing]) -> tuple[Instance, ...]:
    """The instances of all members, without those at an address whose word another member has.

    What one registry says twice of an address is its own affair, and stays.
    """
    disputed = _disputed(standings)
    word: dict[Place, Rank] = {}
    for number, standing in enumerate(standings):
        for unfit, instances in ((False, standing.fit), (True, standing.unfit)):
            for where in disputed.intersection(map(place, instances)):
                rank = (standing.stale, unfit, number)
                word[where] = min(rank, word.get(where, rank))
    return tuple(
        [
            instance
            for number, standing in enumerate(standings)
            for instance in standing.fit + standing.unfit
            if not disputed or (where := place(instance)) not in word or word[where][2] == number
        ]
    )


def _disputed(standings: Sequence[Standing]) -> set[Place]:
    """The addresses that more than one member tells of."""
    found: set[Place] = set()
    for one, other in combinations(standings, 2):
        found |= one.places & other.places
    return found
