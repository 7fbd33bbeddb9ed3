"""How one member of a composite stands in one watch."""

from dataclasses import replace
from typing import TypeAlias

from asyncsd._errors import BackendError, ClosedError, DiscoveryError
from asyncsd._models import Event, Instance, Snapshot
from asyncsd._watcher import Watcher

from ._troubles import silence

__all__ = ["Place", "Standing", "place"]

Place: TypeAlias = tuple[str, str, int]


class Standing:
    """What a member's Watcher has told last, seen from the composite.

    `fit` and `unfit` are the instances with their origin, and `places` where all of them are. `trouble` is
    why the member, or a part of it, can't be heard or isn't believed. It is `stale` when that holds for all
    it tells. `failing_since` is when it could be heard no more, `good_since` from when on it was live with
    something that fits: the clock's times, None while that isn't so. `unheard` is the member itself where it
    has told nothing yet, or those of its own members that haven't.
    """

    __slots__ = (
        "_event",
        "_known",
        "closed",
        "failing_since",
        "fit",
        "good_since",
        "heard",
        "name",
        "places",
        "stale",
        "trouble",
        "unfit",
        "unheard",
        "watcher",
    )

    def __init__(self, name: str, watcher: Watcher) -> None:
        self.name = name
        self.watcher = watcher
        self._event: Event | None = None
        self._known: dict[int, tuple[Instance, Instance]] = {}
        self.fit: tuple[Instance, ...] = ()
        self.unfit: tuple[Instance, ...] = ()
        self.places: set[Place] = set()
        self.heard: Snapshot | None = None
        self.unheard: tuple[str, ...] = (name,)
        self.stale = True
        self.closed = False
        self.trouble: DiscoveryError | None = silence()
        self.failing_since: float | None = None
        self.good_since: float | None = None

    def __repr__(self) -> str:
        return f"Standing({self.name!r}, {len(self.fit)} fit, trouble={self.trouble!r})"

    @property
    def said(self) -> bool:
        """Whether it has answered, be it by an error."""
        return self._event is not None

    def look(self, now: float) -> None:
        """Take in what the Watcher told since. Raises the bug that it died of."""
        event = self.watcher.hub.latest
        if event is None or event is self._event:
            return
        self._event = event
        error = event.error
        if error is not None and not isinstance(error, DiscoveryError):
            raise error
        if event.snapshot is not None and event.snapshot is not self.heard:
            self._take(event.snapshot)
        if self.heard is not None:
            self.unheard = tuple([f"{self.name}/{path}" for path in self.watcher.unheard])
        self.closed = event.closed
        self.stale = event.stale or event.closed
        if event.closed:
            error = error or ClosedError("it was closed")
        elif event.stale and error is None:
            error = BackendError("it seems to have lost data, and what it told before serves on")
        self.trouble = error
        failing = event.closed or (event.stale and event.error is not None)
        self.failing_since = _since(self.failing_since, now) if failing else None
        self.good_since = _since(self.good_since, now) if self.fit and not self.stale else None

    def _take(self, snapshot: Snapshot) -> None:
        """Give the instances their origin; what is the same object as before stays the same."""
        before, self._known = self._known, {}
        self.heard = snapshot
        self.fit = tuple([self._from_here(instance, before) for instance in snapshot.instances])
        self.unfit = tuple([self._from_here(instance, before) for instance in snapshot.unfit])
        self.places = {place(instance) for instance in self.fit + self.unfit}

    def _from_here(self, instance: Instance, before: dict[int, tuple[Instance, Instance]]) -> Instance:
        # By its object, which the pair keeps alive: a Watcher's keep theirs, and it is quick.
        number = id(instance)
        known = before.get(number)
        if known is None:
            path = self.name if instance.origin is None else f"{self.name}/{instance.origin}"
            known = (instance, replace(instance, origin=path))
        self._known[number] = known
        return known[1]


def place(instance: Instance) -> Place:
    """Its address; without a port that is no endpoint, and its id tells it apart."""
    return ("" if instance.port else instance.id, instance.host, instance.port)


def _since(before: float | None, now: float) -> float:
    return now if before is None else before
