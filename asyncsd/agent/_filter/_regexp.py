"""Regular expressions that take a time linear in the text, whatever the pattern.

A filter comes from anybody, so its patterns may not be run by backtracking, as Python's `re` does: one of ten
characters can take it hours. This follows all ways through the pattern at once (Thompson, 1968), as Go does,
and remembers where they led.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from ._effort import Effort
from ._regexp_syntax import Alternatives, Assertion, Char, Node, RegexpError, Repeat, Sequence, parse_regexp

__all__ = ["Regexp"]

LARGEST = 10_000
"""Characters that a pattern may have, states that it may make (Go's limit is some millions), and steps that
are remembered.
"""

REMEMBERED, BUILT = 10, 5
"""So many steps that are remembered count as one that is made; a state that is built counts as so many."""

Step: TypeAlias = Char | Assertion | None
"""What a state needs to be left: a character, a place, or nothing."""


@dataclass(slots=True, eq=False)
class _State:
    step: Step
    after: "list[_State]"


class Regexp:
    """A pattern in Go's syntax. RegexpError if it isn't one, or too large."""

    def __init__(self, pattern: str, effort: Effort | None = None) -> None:
        self.pattern = pattern
        self._effort = effort or Effort()
        if len(pattern) > LARGEST or (size := _size(node := parse_regexp(pattern))) > LARGEST:
            raise RegexpError("expression too large", pattern)
        self._effort.spend(size * BUILT)
        self._end = _State(None, [])
        self._start = _build(node, self._end)
        self._known: dict[tuple[frozenset[_State], str, str], frozenset[_State] | None] = {}

    def __repr__(self) -> str:
        return f"Regexp({self.pattern!r})"

    def found_in(self, text: str) -> bool:
        """Whether the pattern matches somewhere in `text`. FilterError if that takes too much work."""
        self._effort.spend(len(text) // REMEMBERED + 1)
        states: frozenset[_State] = frozenset()
        before = ""
        for after in (*text, ""):
            key = (states, before, after)
            if key in self._known:
                beyond = self._known[key]
            else:
                beyond = self._next(*key)
                if len(self._known) < LARGEST:
                    self._known[key] = beyond
            if beyond is None:
                return True
            states, before = beyond, after
        return False

    def _next(self, states: Iterable[_State], before: str, after: str) -> frozenset[_State] | None:
        """The states beyond the next character, `after`; None if the end is reached before it."""
        here: set[_State] = set()
        waiting = [self._start, *states]
        while waiting:
            self._effort.spend(1)
            state = waiting.pop()
            if state in here:
                continue
            if state is self._end:
                return None
            here.add(state)
            if state.step is None or (isinstance(state.step, Assertion) and state.step.holds(before, after)):
                waiting.extend(state.after)
        return frozenset(
            beyond
            for state in here
            if after and isinstance(state.step, Char) and state.step.accept(after)
            for beyond in state.after
        )


def _size(node: Node) -> int:
    """The states that a node makes."""
    match node:
        case Char() | Assertion():
            return 1
        case Sequence(parts) | Alternatives(parts):
            return 1 + sum(map(_size, parts))
        case Repeat(part, least, most):
            return max(1, least, most) * (1 + _size(part))


def _build(node: Node, after: _State) -> _State:
    """The state from which a match of `node` leads to `after`."""
    match node:
        case Char() | Assertion():
            return _State(node, [after])
        case Sequence(parts):
            for part in reversed(parts):
                after = _build(part, after)
            return after
        case Alternatives(parts):
            return _State(None, [_build(part, after) for part in parts])
        case Repeat(part, least, most):
            if most < 0:
                loop = _State(None, [after])
                loop.after.append(_build(part, loop))
                after = loop
            for _ in range(most - least):
                after = _State(None, [after, _build(part, after)])
            for _ in range(least):
                after = _build(part, after)
            return after
