"""Makes a function of an expression."""

from collections.abc import Callable
from typing import Any, TypeAlias

from ._effort import Effort
from ._kinds import Items, Kind, Map, Record, Scalar, convert
from ._parser import All, Any_, Expression, FilterError, Match, Not, Operator
from ._quote import quote
from ._regexp import Regexp
from ._regexp_syntax import RegexpError

__all__ = ["Keep", "compile_expression"]

Keep: TypeAlias = Callable[[Any], bool]
"""Whether a value is to be kept."""

CONTRARY: dict[Operator, Operator] = {
    "Not Equal": "Equal",
    "Not In": "In",
    "Is Not Empty": "Is Empty",
    "Not Matches": "Matches",
}

FALSE_OF_A_MISSING_KEY: tuple[Operator, ...] = ("Equal", "Is Not Empty", "In")
"""What doesn't hold of a key that a map doesn't have. All else does, "matches" too, as in go-bexpr 0.1.2."""


def compile_expression(expression: Expression, kind: Kind, effort: Effort) -> Keep:
    """The function that tells whether a value of this kind is meant. FilterError if it can't be asked so.

    What it does it takes from `effort`, and raises FilterError once there is none left.
    """
    match expression:
        case Match():
            return _match(expression, kind, effort)
        case Not(operand):
            contrary = compile_expression(operand, kind, effort)
            return lambda value: not contrary(value)
        case All(operands):
            every = [compile_expression(operand, kind, effort) for operand in operands]
            return lambda value: all(keep(value) for keep in every)
        case Any_(operands):
            either = [compile_expression(operand, kind, effort) for operand in operands]
            return lambda value: any(keep(value) for keep in either)


def _match(match: Match, kind: Kind, effort: Effort) -> Keep:
    kinds: list[Kind] = [kind]
    for number, name in enumerate(match.selector, start=1):
        inner = _select(kinds[-1], name)
        if inner is None:
            raise FilterError(f"Selector {_quoted(match.selector[:number])} is not valid")
        kinds.append(inner)
    keep = _test(match, kinds.pop(), effort)
    for outer, name in zip(reversed(kinds), reversed(match.selector), strict=True):
        keep = _within(outer, name, match.operator, keep)
    return keep


def _select(kind: Kind, name: str) -> Kind | None:
    if isinstance(kind, Map):
        return kind.value
    if isinstance(kind, Record | Items) and name in kind.fields:
        return kind.fields[name].kind
    return None


def _within(kind: Kind, name: str, operator: Operator, keep: Keep) -> Keep:
    """`keep`, asked of the part of this name."""
    if isinstance(kind, Map):
        missing = operator not in FALSE_OF_A_MISSING_KEY
        return lambda value: keep(value[name]) if value and name in value else missing
    if isinstance(kind, Scalar):  # one has no parts, so none was selected
        return keep
    get = kind.fields[name].get
    if isinstance(kind, Items):
        return lambda value: any(keep(get(item)) for item in value or ())
    return lambda value: keep(get(value))


def _test(match: Match, kind: Kind, effort: Effort) -> Keep:
    """The comparison itself."""
    selector, operator = _quoted(match.selector), match.operator
    if operator not in kind.operators:
        raise FilterError(f'Invalid match operator "{operator}" for selector {selector}')
    keep = _positive(match, kind, CONTRARY.get(operator, operator), effort)
    contrary = operator in CONTRARY

    def test(value: Any) -> bool:
        effort.spend(1)
        return keep(value) != contrary

    return test


def _positive(match: Match, kind: Kind, operator: Operator, effort: Effort) -> Keep:
    if match.value is None:
        return lambda value: not value
    try:
        wanted = convert(kind, match.value)
    except FilterError as exc:
        where = f"{quote(match.value)} for selector {_quoted(match.selector)}"
        raise FilterError(f"Failed to coerce value {where}: {exc}") from None
    if operator == "Equal":
        return lambda value: bool(value == wanted)
    if operator == "Matches":
        try:
            return Regexp(match.value, effort).found_in
        except RegexpError as exc:
            what = f"Failed to compile regular expression {quote(match.value)}"
            raise FilterError(f"{what}: {exc}") from None
    part = match.value  # what may hold something holds texts
    return lambda value: part in (value or "")


def _quoted(selector: tuple[str, ...]) -> str:
    return quote(".".join(selector))
