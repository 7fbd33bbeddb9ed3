"""What to believe of a registry's answers about one service, and when to tell."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from ._config import Limits
from ._errors import DiscoveryError
from ._hub import Hub
from ._models import Instance, Query, Reason, Reply, Snapshot, Trust, apart
from ._protocols import Clock, StoredSnapshot

__all__ = ["Belief"]

logger = logging.getLogger("asyncsd.watcher")

Instances: TypeAlias = dict[tuple[str, str, str, str], Instance]

_FULL = Trust()


@dataclass(slots=True)
class _Hold:
    """A registry that seems to have lost its data isn't believed until then, or until nothing is `lost`."""

    until: float
    told: Instances
    """What the registry says."""
    lost: Instances
    """What serves on, though the registry hasn't told again that it fits."""


class Belief:
    """Takes a poll's answers and errors, decides what of them is true, and publishes that."""

    def __init__(self, hub: Hub, limits: Limits, clock: Clock) -> None:
        self._hub = hub
        self._query = hub.query
        self._limits = limits
        self._clock = clock
        self.confirming = False
        """Whether the next fetch has to be a consistent read."""
        self.heard_at: float | None = None
        self.resets = 0
        self.skipped = 0
        self.restored = False
        """Whether what serves is from a store, and nothing was heard since."""
        self.stored: Instances = {}
        """Of what serves, that which a store kept of origins that weren't heard since."""
        self.trust = _FULL
        self._failing = False
        self._hold: _Hold | None = None
        self._served: Snapshot | None = None
        self._answer: tuple[Instance, ...] | None = None
        """The answer that says just what is served."""
        self._known: Instances = {}
        """All that was in the last answer or is held, each as the object that was seen first."""

    @property
    def consistent(self) -> Query:
        """The query as a consistent read."""
        return replace(self._query, consistency="consistent", max_stale=None)

    @property
    def served(self) -> Snapshot | None:
        return self._served

    @property
    def deadline(self) -> float | None:
        return None if self._hold is None else self._hold.until

    def restore(self, stored: StoredSnapshot) -> bool:
        """Serve what a store kept, unless it was heard meanwhile; whether it serves now."""
        if self._served is not None:
            return self._restore_unheard(stored)
        self.restored = True
        self.heard_at = self._clock.time() - stored.age
        self.stored = self._known = {instance.key: instance for instance in stored.instances}
        if self._hold is not None:  # An empty answer that knew no leader: this is what it lacks.
            self._hold.lost = self._known
            self._known = {**self._hold.told, **self._known}
        self._served = self._snapshot(self._known)
        logger.warning(
            "%d instances of %r, heard %.0f s ago, serve from the store until the registry answers",
            len(self._served),
            self._query.service,
            stored.age,
        )
        latest = self._hub.latest
        error = None if latest is None else latest.error
        self._hub.publish(self._served, stale=True, error=error, reason="stored", heard_at=self.heard_at)
        return True

    def _restore_unheard(self, stored: StoredSnapshot) -> bool:
        """Serve what a store kept of the origins that the composite which answered hasn't heard."""
        told = tuple(self._known.values())
        self.stored = _of_unheard(stored.instances, self.trust.unheard, told)
        if not self.stored:
            return False
        logger.warning(
            "%d instances of %r, heard %.0f s ago, serve from the store until %s is heard",
            len(self.stored),
            self._query.service,
            stored.age,
            ", ".join(self.trust.unheard),
        )
        if not told:  # With nothing live in it, the list is only remembered.
            self.trust = self.trust._replace(stale=True)
            self.heard_at = self._clock.time() - stored.age
        self._known, self._answer = {**self._known, **self.stored}, None
        self._served = self._snapshot(self._known)
        self._hub.publish(
            self._served,
            stale=self.trust.stale,
            error=self.trust.error,
            reason="stored",
            heard_at=self.heard_at,
        )
        return True

    def heard(self, answer: Reply, *, doubtful: bool, went_back: bool) -> bool:
        """Decide what to believe of an answer, and say whether that changed the list, or began a hold.

        What was lost is registered again within a moment: the next fetch mustn't be a slow one.
        """
        confirmed, self.confirming = self.confirming, False
        self.skipped = answer.skipped
        if self._failing:
            self._failing = False
            logger.info("the watch of %r has recovered", self._query.service)
        if answer.trust is not None:
            return self._take(answer.instances, answer.trust)
        self.trust, self.stored = _FULL, {}
        now = self._clock.time()
        # Tuples compare by identity first: from a backend that keeps its objects this costs little.
        if self._served is not None and answer.instances == self._answer:
            self.heard_at = now
            return self._publish(self._served)
        told, lost = self._compare(answer.instances, went_back)
        fresh = self._snapshot(told)
        if self.restored:
            # A stored list lacks what came and has what went while nobody watched, and errors are how it came
            # to serve: by themselves they are no reason to doubt the first answer, unless that is empty.
            self.restored = False
            doubtful = went_back or not answer.known_leader or (doubtful and len(fresh) == 0)
        unknown = self._served is None and len(fresh) == 0 and not answer.known_leader
        hold, self._hold = self._hold, None
        if hold is not None and not doubtful:  # What joined in the hold, and went again, has gone.
            lost = {key: instance for key, instance in lost.items() if key in hold.lost}
        if lost or unknown:
            if hold is not None:
                self._hold = _Hold(hold.until, told, lost)
            elif doubtful and self._limits.reset_hold > 0:
                seconds = max(self._limits.reset_hold, answer.hold)
                self._hold = _Hold(now + seconds, told, lost)
                self._doubt(told, lost, seconds)
            elif len(fresh) == 0 and not confirmed and self._query.consistency != "consistent":
                self.confirming = True
                return False
        if self._hold is None:
            self._known, self._answer, self.heard_at = told, answer.instances, now
        else:
            self._known, self._answer = {**told, **lost}, None
            if unknown:
                return False
            fresh = self._snapshot(self._known)
        began = hold is None and self._hold is not None
        return self._publish(fresh) or began

    def _take(self, instances: tuple[Instance, ...], trust: Trust) -> bool:
        """Believe an answer that was doubted before it came here, and say whether that changed the list."""
        self._hold, self.restored = None, False
        self.stored = _of_unheard(self.stored.values(), trust.unheard, instances)
        self.trust = trust._replace(stale=trust.stale or (bool(self.stored) and not instances))
        if not self.trust.stale:
            self.heard_at = self._clock.time()
        if self._served is not None and not self.stored and instances == self._answer:
            return self._publish(self._served)
        told, _ = self._compare(instances, went_back=False)
        self._known = {**told, **self.stored}
        self._answer = None if self.stored else instances
        return self._publish(self._snapshot(self._known))

    def failed(self, error: DiscoveryError) -> None:
        """Say so once an outage, and once more when the error is of another kind."""
        self.confirming = False
        if not self._failing:
            self._failing = True
            known = "nothing was heard yet" if self._served is None else f"{len(self._served)} serve on"
            logger.warning("the watch of %r fails, %s: %s", self._query.service, known, error)
        latest = self._hub.latest
        if latest is None or type(latest.error) is not type(error):
            self._hub.publish(self._served, stale=True, error=error, reason="error", heard_at=self.heard_at)

    def expire(self) -> None:
        """Believe the registry after all, unless it fails: then its next answer is the one to doubt."""
        hold, self._hold = self._hold, None
        if hold is not None and not self._failing:
            self._known, self.heard_at = hold.told, self._clock.time()
            self.restored, self.stored = False, {}
            self._publish(self._snapshot(hold.told), reason="changed")

    def _compare(self, answer: tuple[Instance, ...], went_back: bool) -> tuple[Instances, Instances]:
        """All that an answer tells, and what of the served instances it lacks.

        What says nothing new stays the object that is known. A registry that lost its data lacks an
        instance until it tells that it fits: one that registers again has checks that start as critical.
        """
        known = self._known
        if self._answer is None or len(self._answer) != len(known):
            told, gone, new = {}, list(known.values()), list(answer)
        else:
            gone, new = apart(self._answer, answer)
            told = known.copy()
            for instance in gone:
                del told[instance.key]
        for instance in new:
            key = instance.key
            before = known.get(key)
            same = before is instance or before == instance
            told[key] = before if before is not None and same else instance
        lost: Instances = {}
        for instance in gone:
            key = instance.key
            again = told.get(key)
            if self._query.matches(instance):
                anew = went_back or (self._hold is not None and key in self._hold.lost)
                if again is None or (anew and self._query.has_tags(again) and not self._query.matches(again)):
                    lost[key] = instance
        return told, lost

    def _snapshot(self, instances: Instances) -> Snapshot:
        """What is served already, if `instances` say the same."""
        version = 1 if self._served is None else self._served.version + 1
        fresh = Snapshot.of(self._query, instances.values(), version=version)
        return self._served if self._served is not None and self._served == fresh else fresh

    def _doubt(self, told: Instances, lost: Instances, seconds: float) -> None:
        self.resets += 1
        if lost:
            logger.warning(
                "the registry seems to have lost data: %d instances of %r serve on for %g s, or until it "
                "knows them as before, beside the %d that it tells of",
                len(lost),
                self._query.service,
                seconds,
                len(told),
            )

    def _publish(self, fresh: Snapshot, reason: Reason = "recovered") -> bool:
        """Publish if there is news: another list, or another trust in it. Whether the list is another."""
        changed, self._served = fresh is not self._served, fresh
        latest = self._hub.latest
        doubted = latest is not None and (latest.stale or latest.error is not None)
        told = None if latest is None else latest.error
        error = self.trust.error
        stale = self.trust.stale or self._hold is not None
        if changed or error is not told or stale != (latest is not None and latest.stale):
            if error is not None:
                reason = "changed" if error is told else "error"
            elif stale:
                reason = "reset"
            elif not doubted:
                reason = "changed"
            self._hub.publish(fresh, stale=stale, error=error, reason=reason, heard_at=self.heard_at)
        return changed


def _of_unheard(
    stored: Iterable[Instance], unheard: tuple[str, ...], told: tuple[Instance, ...]
) -> Instances:
    """What is stored of these origins, but for addresses that others tell of."""
    if not unheard:
        return {}
    addresses = {instance.address for instance in told if instance.port}
    return {
        instance.key: instance
        for instance in stored
        if f"{instance.origin}/".startswith(tuple(f"{origin}/" for origin in unheard))
        and instance.address not in addresses
    }
