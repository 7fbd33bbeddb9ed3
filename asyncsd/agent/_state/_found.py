"""What a read of the catalog saw."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from ._waiters import Key

__all__ = ["Found"]

T = TypeVar("T")

MOST_ANSWERS = 8
"""How many different answers are kept of one thing that was found."""


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """What a read saw: the index of what it says, and the keys that it depends on.

    Others may be given the same value: it isn't to be changed.
    """

    index: int
    value: T
    keys: tuple[Key, ...]
    _answers: dict[Hashable, msgspec.Raw] = field(
        default_factory=dict[Hashable, msgspec.Raw], repr=False, compare=False
    )

    def answer(self, asked: Hashable, choose: Callable[[], object]) -> msgspec.Raw:
        """What `choose` makes of it, as JSON, which is made once for all that asked the same.

        A change wakes everybody who waits for it, and nearly all of them are to be told the same.
        """
        answer = self._answers.get(asked)
        if answer is None:
            answer = msgspec.Raw(msgspec.json.encode(choose()))
            if len(self._answers) < MOST_ANSWERS:
                self._answers[asked] = answer
        return answer
