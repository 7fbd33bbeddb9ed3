"""Regular expressions that take a time linear in the text, whatever the pattern.

A filter comes from anybody, so its patterns may not be run by backtracking, as Python's `re` does: one of ten
characters can take it hours. This follows all ways through the pattern at once (Thompson, 1968), as Go does.
"""

from dataclasses import dataclass
from typing import TypeAlias

from ._regexp_syntax import Alternatives, Assertion, Char, Node, Repeat, Sequence, parse_regexp

__all__ = ["Regexp"]

Step: TypeAlias = Char | Assertion | None
"""What a state needs to be left: a character, a place, or nothing."""


@dataclass(slots=True)
class _State:
    step: Step
    after: "list[_State]"


class Regexp:
    """A pattern in Go's syntax. RegexpError if it isn't one."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._end = _State(None, [])
        self._start = _build(parse_regexp(pattern), self._end)

    def __repr__(self) -> str:
        return f"Regexp({self.pattern!r})"

    def found_in(self, text: str) -> bool:
        """Whether the pattern matches somewhere in `text`."""
        states: dict[int, _State] = {}
        for at in range(len(text) + 1):
            here = self._reached([self._start, *states.values()], text, at)
            if here is None:
                return True
            if at < len(text):
                states = {
                    id(after): after
                    for state in here.values()
                    if isinstance(state.step, Char) and state.step.accept(text[at])
                    for after in state.after
                }
        return False

    def _reached(self, states: list[_State], text: str, at: int) -> dict[int, _State] | None:
        """All that can be reached without a character; None if the end can be."""
        here: dict[int, _State] = {}
        while states:
            state = states.pop()
            if id(state) in here:
                continue
            if state is self._end:
                return None
            here[id(state)] = state
            if state.step is None or (isinstance(state.step, Assertion) and state.step.holds(text, at)):
                states.extend(state.after)
        return here


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
