"""Blocking queries: a read that waits until what it says has changed."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from asyncsd._protocols import Clock

from ._catalog import Catalog
from ._found import Found

__all__ = ["DEFAULT_WAIT", "LONGEST_WAIT", "Wait", "blocking", "patience"]

T = TypeVar("T")

DEFAULT_WAIT, LONGEST_WAIT = 300.0, 600.0
"""Seconds: Consul's `default_query_time` and `max_query_time`."""

JITTER_FRACTION = 16
"""A wait is lengthened by up to this part of it, so that clients spread (Consul's `JitterFraction`)."""


@dataclass(frozen=True, slots=True)
class Wait:
    """What a query asked for: the index that it knows, 0 for none, and how long it would wait."""

    index: int = 0
    seconds: float = DEFAULT_WAIT


def patience(wait: Wait, rng: random.Random) -> float:
    """The seconds that a query may wait: what it asks for within Consul's bounds, and the jitter."""
    seconds = min(wait.seconds, LONGEST_WAIT) if wait.seconds > 0 else DEFAULT_WAIT
    return seconds + rng.uniform(0, seconds / JITTER_FRACTION)


async def blocking(
    catalog: Catalog, read: Callable[[], Found[T]], wait: Wait, *, clock: Clock, rng: random.Random
) -> Found[T]:
    """Read at once when the index is past `wait.index`, or none was given; else once it is, or time is up.

    `catalog` is the one that `read` reads. On cancellation nothing stays behind.
    """
    resets = catalog.resets
    found = read()
    if wait.index <= 0 or found.index > wait.index:
        return found
    try:
        async with clock.timeout(patience(wait, rng)):
            while found.index <= wait.index:
                await catalog.waiters.changed(found.keys)
                if catalog.resets != resets:
                    return found  # As Consul does whose state is replaced: the caller has to ask again.
                found = read()
    except TimeoutError:
        return read()
    return found
