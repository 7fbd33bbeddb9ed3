"""Reads a filter expression, and says of one that it can't read what Consul would say.

The language is that of go-bexpr 0.1.2, which Consul has for all of its filters:

    ServiceMeta.zone == "eu" and not ("canary" in ServiceTags or Node matches "^test-")

A refusal names the place and all that might have stood there. So the rules below, and the order in which they
are tried, are those of that language's grammar.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ._unquote import unquote

__all__ = ["All", "Any_", "Expression", "FilterError", "Match", "Not", "Operator", "parse"]

Operator: TypeAlias = Literal[
    "Equal", "Not Equal", "In", "Not In", "Is Empty", "Is Not Empty", "Matches", "Not Matches"
]

DEEPEST = 50
"""How many parentheses may be open at once. Consul has no limit, but needs four times as long for each."""

SPACE = "[ \\t\\r\\n]"
LETTER, WORD = "[a-zA-Z]", "[a-zA-Z0-9_]"
FIRST_DIGIT, DIGIT = "[1-9]", "[0-9]"
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
DIGITS = frozenset("0123456789")
CLASSES = {
    SPACE: frozenset(" \t\r\n"),
    LETTER: LETTERS,
    WORD: LETTERS | DIGITS | {"_"},
    FIRST_DIGIT: DIGITS - {"0"},
    DIGIT: DIGITS,
}


class FilterError(Exception):
    """An expression that can't be read, or that asks for what there isn't."""


@dataclass(frozen=True, slots=True)
class Match:
    """One comparison; only the tests for emptiness have no value."""

    selector: tuple[str, ...]
    operator: Operator
    value: str | None


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary."""

    operand: "Expression"


@dataclass(frozen=True, slots=True)
class All:
    """Several that must all hold."""

    operands: "tuple[Expression, ...]"


@dataclass(frozen=True, slots=True)
class Any_:  # noqa: N801 - `Any` is taken
    """Several of which one must hold."""

    operands: "tuple[Expression, ...]"


Expression: TypeAlias = Match | Not | All | Any_

Found: TypeAlias = "tuple[Expression, int] | None"
"""What stands at a place and where it ends, or nothing."""


def parse(text: str) -> Expression:
    """The expression that `text` is. FilterError if it is none."""
    return _Parser(text).parse()


class _Parser:
    """Tries rule after rule, and keeps what was wanted at the farthest place that any of them came to."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._errors: dict[str, None] = {}  # a set that keeps its order
        self._farthest = 0
        self._wanted: set[str] = set()
        self._inverted = False
        self._depth = 0
        self._or_at: dict[int, Found] = {}

    def parse(self) -> Expression:
        found = self._input()
        if found is None and not self._errors:
            wanted = sorted(self._wanted - {"!."}) + ["EOF"] * ("!." in self._wanted)
            last = f" or {wanted[-1]}" if len(wanted) > 1 else wanted[-1]
            self._error(self._farthest, f"no match found, expected: {', '.join(wanted[:-1])}{last}")
        if self._errors or found is None:
            raise FilterError("\n".join(self._errors))
        return found[0]

    # What is wanted, and what is wrong

    def _tried(self, matched: bool, at: int, want: str) -> None:
        if matched != self._inverted or at < self._farthest:
            return
        if at > self._farthest:
            self._farthest = at
            self._wanted.clear()
        self._wanted.add(f"!{want}" if self._inverted else want)

    def _error(self, at: int, text: str, rule: str = "") -> None:
        read = self._text[: at + 1]
        newline = read.rfind("\n")
        column = at - newline  # a newline stands at column 0 of the line that it begins
        offset = len(self._text[:at].encode())
        where = f"{read.count(chr(10)) + 1}:{column} ({offset})"
        self._errors[f"{where}: rule {json.dumps(rule)}: {text}" if rule else f"{where}: {text}"] = None

    def _isnt(self, find: Callable[[int], object | None], at: int) -> bool:
        """Whether what `find` looks for is not there."""
        self._inverted = not self._inverted
        found = find(at)
        self._inverted = not self._inverted
        return found is None

    # Characters

    def _literal(self, at: int, text: str) -> int | None:
        matched = self._text.startswith(text, at)
        self._tried(matched, at, json.dumps(text))
        return at + len(text) if matched else None

    def _one(self, at: int, kind: str) -> int | None:
        matched = at < len(self._text) and self._text[at] in CLASSES[kind]
        self._tried(matched, at, kind)
        return at + 1 if matched else None

    def _many(self, at: int, kind: str) -> int:
        while (end := self._one(at, kind)) is not None:
            at = end
        return at

    def _any(self, at: int) -> int | None:
        matched = at < len(self._text)
        self._tried(matched, at, ".")
        return at + 1 if matched else None

    def _end(self, at: int) -> bool:
        return self._isnt(self._any, at)

    def _space(self, at: int) -> int | None:
        end = self._many(at, SPACE)
        return end if end > at else None

    def _may_space(self, at: int) -> int:
        return self._many(at, SPACE)

    def _words(self, at: int, *words: str, then_space: bool = True) -> int | None:
        """These words, each after a space, and a space behind them."""
        for word in words:
            if (start := self._space(at)) is None or (end := self._literal(start, word)) is None:
                return None
            at = end
        return self._space(at) if then_space else at

    # Expressions

    def _input(self) -> Found:
        start = self._may_space(0)
        if (opened := self._literal(start, "(")) is not None and (found := self._or(self._may_space(opened))):
            closed = self._literal(self._may_space(found[1]), ")")
            if closed is not None and self._end(self._may_space(closed)):
                return found
        if (found := self._or(start)) and self._end(self._may_space(found[1])):
            return found
        return None

    def _or(self, at: int) -> Found:
        if at not in self._or_at:
            self._or_at[at] = self._series(at, "or", Any_, self._and)
        return self._or_at[at]

    def _and(self, at: int) -> Found:
        return self._series(at, "and", All, self._not)

    def _series(self, at: int, word: str, kind: type[All | Any_], operand: Callable[[int], Found]) -> Found:
        if (first := operand(at)) is None:
            return None
        operands, end = [first[0]], first[1]
        while (more := self._words(end, word)) is not None and (found := operand(more)):
            operands.append(found[0])
            end = found[1]
        return (kind(tuple(operands)) if len(operands) > 1 else operands[0], end)

    def _not(self, at: int) -> Found:
        starts = [at]
        while (word := self._literal(starts[-1], "not")) is not None and (end := self._space(word)):
            starts.append(end)
        # One that isn't followed by an expression may be a selector of this name.
        while starts:
            if found := self._group(starts.pop()):
                expression, end = found
                return (Not(expression) if len(starts) % 2 else expression, end)
        return None

    def _group(self, at: int) -> Found:
        opened = self._literal(at, "(")
        inner = self._inside(opened) if opened is not None else None
        if inner:
            closed = self._literal(self._may_space(inner[1]), ")")
            if closed is not None:
                return inner[0], closed
        if found := self._match(at):
            return found
        if inner and self._isnt(lambda at: self._literal(at, ")"), end := self._may_space(inner[1])):
            self._error(end, "Unmatched parentheses", "grouping")
        return None

    def _inside(self, at: int) -> Found:
        if self._depth == DEEPEST:
            raise FilterError(f"more than {DEEPEST} parentheses are open")
        self._depth += 1
        try:
            return self._or(self._may_space(at))
        finally:
            self._depth -= 1

    # Comparisons

    def _match(self, at: int) -> Found:
        return self._selector_op_value(at) or self._selector_op(at) or self._value_op_selector(at)

    def _selector_op_value(self, at: int) -> Found:
        if (found := self._selector(at)) is None:
            return None
        selector, end = found
        if (op := self._comparison(end)) and (value := self._value(op[1])):
            return Match(selector, op[0], value[0]), value[1]
        return None

    def _comparison(self, at: int) -> tuple[Operator, int] | None:
        signs: tuple[tuple[str, Operator], ...] = (("==", "Equal"), ("!=", "Not Equal"))
        for sign, operator in signs:
            if (end := self._literal(self._may_space(at), sign)) is not None:
                return operator, self._may_space(end)
        words: tuple[tuple[str, Operator, Operator], ...] = (
            ("contains", "In", "Not In"),
            ("matches", "Matches", "Not Matches"),
        )
        for word, operator, contrary in words:
            if (end := self._words(at, word)) is not None:
                return operator, end
            if (end := self._words(at, "not", word)) is not None:
                return contrary, end
        return None

    def _selector_op(self, at: int) -> Found:
        if (found := self._selector(at)) is None:
            return None
        selector, end = found
        if (op_end := self._words(end, "is", "empty", then_space=False)) is not None:
            return Match(selector, "Is Empty", None), op_end
        if (op_end := self._words(end, "is", "not", "empty", then_space=False)) is not None:
            return Match(selector, "Is Not Empty", None), op_end
        return None

    def _value_op_selector(self, at: int) -> Found:
        if (value := self._value(at)) is None or (op := self._membership(value[1])) is None:
            return None
        if selector := self._selector(op[1]):
            return Match(selector[0], op[0], value[0]), selector[1]
        if self._isnt(self._selector, op[1]):
            self._error(op[1], "Invalid selector", "match")
        return None

    def _membership(self, at: int) -> tuple[Operator, int] | None:
        if (end := self._words(at, "in")) is not None:
            return "In", end
        if (end := self._words(at, "not", "in")) is not None:
            return "Not In", end
        return None

    # Selectors and values

    def _selector(self, at: int) -> tuple[tuple[str, ...], int] | None:
        if (end := self._identifier(at)) is None:
            return None
        parts = [self._text[at:end]]
        while found := self._field(end) or self._index(end):
            parts.append(found[0])
            end = found[1]
        return tuple(parts), end

    def _identifier(self, at: int) -> int | None:
        first = self._one(at, LETTER)
        return self._many(first, WORD) if first is not None else None

    def _field(self, at: int) -> tuple[str, int] | None:
        if (dot := self._literal(at, ".")) is None or (end := self._identifier(dot)) is None:
            return None
        return self._text[dot:end], end

    def _index(self, at: int) -> tuple[str, int] | None:
        if (opened := self._literal(at, "[")) is None:
            return None
        start = self._may_space(opened)
        if (found := self._string(start)) is None:
            if self._isnt(self._string, start):
                self._error(start, "Invalid index", "index")
            return None
        end = self._may_space(found[1])
        if (closed := self._literal(end, "]")) is not None:
            return found[0], closed
        if self._isnt(lambda at: self._literal(at, "]"), end):
            self._error(end, "Unclosed index expression", "index")
        return None

    def _value(self, at: int) -> tuple[str, int] | None:
        if selector := self._selector(at):
            return ".".join(selector[0]), selector[1]
        return self._number(at) or self._string(at)

    def _number(self, at: int) -> tuple[str, int] | None:
        start = minus if (minus := self._literal(at, "-")) is not None else at
        if (end := self._literal(start, "0")) is None:
            if (end := self._one(start, FIRST_DIGIT)) is None:
                return None
            end = self._many(end, DIGIT)
        if (dot := self._literal(end, ".")) is not None and (digits := self._many(dot, DIGIT)) > dot:
            end = digits
        if self._after_number(end) is not None:
            return self._text[at:end], end
        if self._isnt(self._after_number, end):
            self._error(end, "Invalid number literal", "number")
        return None

    def _after_number(self, at: int) -> int | None:
        if self._space(at) is not None or self._end(at) or self._literal(at, ")") is not None:
            return at
        return None

    def _string(self, at: int) -> tuple[str, int] | None:
        return self._quoted(at, "`") or self._quoted(at, '"')

    def _quoted(self, at: int, quote: str) -> tuple[str, int] | None:
        if (end := self._literal(at, quote)) is None:
            return None
        while self._isnt(lambda at: self._literal(at, quote), end) and self._any(end) is not None:
            end += 1
        if (closed := self._literal(end, quote)) is None:
            if self._end(end):
                self._error(end, "Unterminated string literal", "string")
            return None
        try:
            return unquote(self._text[at:closed]), closed
        except ValueError:
            self._error(at, "invalid syntax", "string")
            return "", closed
