"""Counts the calls: who answered when, how long it took, what failed and what was tried again."""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple


class Answer(NamedTuple):
    at: float
    """When it came, on time.monotonic()."""
    service: str
    instance: str
    """The id of the instance that gave it."""
    seconds: float
    """The call as a whole, with what was tried before."""


class Totals(NamedTuple):
    """Counts up to a moment; the difference of two is what came between."""

    calls: int
    failed: int
    retried: int


class Tally:
    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.calls: Counter[str] = Counter()
        """How many each instance has answered."""
        self.errors: list[Exception] = []
        self.retried = 0

    def answered(self, service: str, instance: str, seconds: float) -> None:
        self.answers.append(Answer(time.monotonic(), service, instance, seconds))
        self.calls[instance] += 1

    def failed(self, error: Exception) -> None:
        self.errors.append(error)

    def tried(self, attempt: int, errors: Sequence[Exception]) -> bool:
        """Count a call whose first attempt failed; a callback of Retry, which has it go on."""
        self.retried += attempt == 1
        return True

    @property
    def totals(self) -> Totals:
        return Totals(len(self.answers) + len(self.errors), len(self.errors), self.retried)

    def since(self, moment: float) -> Sequence[Answer]:
        """The answers from then on."""
        return self.answers[bisect_left(self.answers, moment, key=attrgetter("at")) :]

    def recent(self, seconds: float) -> Sequence[Answer]:
        """Those of the last so many seconds."""
        return self.since(time.monotonic() - seconds)

    def shares(self, moment: float) -> dict[str, float]:
        """The share of each instance in the answers of its service since then, from 0 to 1."""
        answers = self.since(moment)
        all_of = Counter(answer.service for answer in answers)
        each = Counter((answer.service, answer.instance) for answer in answers)
        return {instance: count / all_of[service] for (service, instance), count in each.items()}


def milliseconds(seconds: Sequence[float], percent: float) -> str:
    """A percentile of at least one value: "1.3 ms"."""
    ordered = sorted(seconds)
    return f"{ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1e3:.1f} ms"
