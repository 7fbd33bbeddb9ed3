"""Instances and Events for the tests of balancers."""

import random
from collections.abc import Sequence

from asyncsd._models import Event, Instance, Query, Snapshot, Status
from asyncsd._protocols import Clock, Picker, Policy
from asyncsd.testing import FakeClock

QUERY = Query("users")


def instances(
    count: int, *, weights: Sequence[int] | None = None, status: Status = "passing"
) -> list[Instance]:
    return [
        Instance(
            id=f"users-{number:05}",
            service="users",
            host=f"10.0.{number // 250}.{number % 250 + 1}",
            port=8080,
            weight=1 if weights is None else weights[number],
            status=status,
        )
        for number in range(count)
    ]


def heard(fit: Sequence[Instance], *, stale: bool = False, error: Exception | None = None) -> Event:
    return Event(QUERY, Snapshot.of(QUERY, fit), stale=stale, error=error)


def closed() -> Event:
    return Event(QUERY, None, reason="closed", closed=True)


def picker(policy: Policy, fit: Sequence[Instance], *, seed: int = 1, clock: Clock | None = None) -> Picker:
    made = policy.picker(clock=clock or FakeClock(), rng=random.Random(seed))
    made.update(fit)
    return made
