"""What may be selected, and what may be asked of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from asyncsd.agent._decoding._booleans import boolean

from ._parser import FilterError, Operator

__all__ = ["BOOL", "INT", "TEXT", "TEXTS", "Field", "Items", "Kind", "Map", "Record", "Scalar", "convert"]

EQUAL: Final[tuple[Operator, ...]] = ("Equal", "Not Equal")
HOLDS: Final[tuple[Operator, ...]] = ("In", "Not In")
MATCHES: Final[tuple[Operator, ...]] = ("Matches", "Not Matches")
EMPTY: Final[tuple[Operator, ...]] = ("Is Empty", "Is Not Empty")


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value, or a list of values."""

    name: str
    operators: tuple[Operator, ...]


@dataclass(frozen=True, slots=True)
class Map:
    """Values by their keys."""

    value: "Kind"
    operators: tuple[Operator, ...] = EMPTY + HOLDS


@dataclass(frozen=True, slots=True)
class Record:
    """Something with fields."""

    fields: "Mapping[str, Field]"
    operators: tuple[Operator, ...] = ()


@dataclass(frozen=True, slots=True)
class Items:
    """A list of records: a selector into it asks whether there is one."""

    fields: "Mapping[str, Field]"
    operators: tuple[Operator, ...] = EMPTY


Kind: TypeAlias = Scalar | Map | Record | Items

TEXT: Final = Scalar("text", EQUAL + HOLDS + MATCHES)
TEXTS: Final = Scalar("texts", HOLDS + EMPTY)
INT: Final = Scalar("int", EQUAL)
BOOL: Final = Scalar("bool", EQUAL)


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a record: what it is, and how it is had of a value."""

    kind: Kind
    get: Callable[[Any], Any]


def convert(kind: Kind, text: str) -> str | int | bool:
    """What a value in an expression stands for. FilterError, as Go says it, if it can't be that."""
    if kind is INT:
        return _integer(text)
    if kind is BOOL:
        try:
            return boolean(text)
        except ValueError as exc:
            raise FilterError(str(exc)) from None
    return text


def _integer(text: str) -> int:
    digits = text[1:] if text[:1] in ("+", "-") else text
    octal = len(digits) > 1 and digits[0] == "0" and digits[1] in "01234567_"
    try:
        if not digits[:1].isdigit():  # int() takes a second sign and spaces
            raise ValueError
        number = int("0o" + digits[1:] if octal else digits, 0)
    except ValueError:
        raise FilterError(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
    number = -number if text[0] == "-" else number
    if not -(2**63) <= number < 2**63:
        raise FilterError(f'strconv.ParseInt: parsing "{text}": value out of range')
    return number
