"""Decodes the JSON of a request by the rules of Go's `encoding/json`, and refuses in its words.

    SHAPE = Shape("structs.Weights", {"Passing": integer, "Warning": integer}, struct="Weights", inner="")
    SHAPE.decode(parse(b'{"passing": 3}'))     # {"Passing": 3}

Keys are known by their letters, whatever the case; null leaves a field out; an unknown field and a value of
another type are errors, though never the text that stands behind the value.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import msgspec

from ._duration import seconds

__all__ = [
    "DecodeError",
    "Decoder",
    "Shape",
    "Where",
    "boolean",
    "duration",
    "integer",
    "list_of",
    "map_of",
    "parse",
    "string",
]


class DecodeError(ValueError):
    """A body that isn't JSON, or not of the shape that was asked for; its text is what Go says."""


@dataclass(frozen=True, slots=True)
class Where:
    """The place of a value: the innermost struct of Go's that has a name, and the path of its fields."""

    struct: str = ""
    path: str = ""

    def refuse(self, found: str, wanted: str) -> DecodeError:
        """The error for a value of the wrong type here."""
        target = f"struct field {self.struct}.{self.path}" if self.path else "value"
        return DecodeError(f"json: cannot unmarshal {found} into Go {target} of type {wanted}")


Decoder: TypeAlias = Callable[[Any, Where], Any]
"""Makes what is wanted of a value that isn't null. DecodeError if it can't."""


def parse(body: bytes) -> Any:
    """The value with which a body begins. DecodeError if there is none."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _parse_like_go(body)


def _parse_like_go(body: bytes) -> Any:
    """Forgives what Go does: bytes that aren't UTF-8, half a surrogate pair, what follows the value."""
    text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
    if not text:
        raise DecodeError("EOF")
    try:
        value, _ = json.JSONDecoder(parse_constant=_no_constant).raw_decode(text)
        return _without_surrogates(value)
    except json.JSONDecodeError as exc:
        if exc.pos >= len(text) or exc.msg.startswith("Unterminated string"):
            raise DecodeError("unexpected EOF") from None
        raise DecodeError(f"invalid character {text[exc.pos]!r} at offset {exc.pos}") from None
    except DecodeError:
        raise
    except ValueError:
        raise DecodeError("a number of too many digits") from None
    except RecursionError:
        raise DecodeError("exceeded max depth") from None


def _no_constant(name: str) -> Any:
    raise DecodeError(f"invalid character {name[0]!r} looking for beginning of value")


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [_without_surrogates(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {_without_surrogates(key): _without_surrogates(item) for key, item in items}
    return value


class Shape:
    """A struct of Go's: its fields, and further names of some of them.

    `struct` is the name that its errors bear, and `inner` what they put before a field: structs with a
    decoder of their own are decoded as one without a name, whose fields are those of "Alias".
    """

    def __init__(
        self,
        wanted: str,
        fields: Mapping[str, Decoder],
        *,
        aliases: Mapping[str, str] | None = None,
        struct: str = "",
        inner: str = "Alias.",
    ) -> None:
        self._wanted = wanted
        self._struct = struct
        self._inner = inner
        self._fields = {name.lower(): (name, name, decoder) for name, decoder in fields.items()}
        for alias, name in (aliases or {}).items():
            self._fields[alias.lower()] = (alias, name, fields[name])

    def decode(self, value: Any, where: Where | None = None) -> dict[str, Any]:
        """The fields that are there, by their own names. One that has its own name and a further one is
        what stands under its own, unless that says nothing.
        """
        where = where or Where()
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise where.refuse(_kind(value), self._wanted)
        path = f"{where.path}.{self._inner}" if where.path else self._inner
        decoded: dict[str, Any] = {}
        further: dict[str, Any] = {}
        for key, item in cast("dict[str, Any]", value).items():
            known = self._fields.get(key.lower())
            if known is None:
                raise DecodeError(f'json: unknown field "{key}"')
            written, name, decoder = known
            if item is not None:
                place = decoded if written == name else further
                place[name] = decoder(item, Where(self._struct, path + name))
        for name, item in further.items():
            if not decoded.get(name):
                decoded[name] = item
        return decoded


def string(value: Any, where: Where) -> str:
    """A string."""
    if not isinstance(value, str):
        raise where.refuse(_kind(value), "string")
    return value


def boolean(value: Any, where: Where) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise where.refuse(_kind(value), "bool")
    return value


def integer(value: Any, where: Where) -> int:
    """A whole number of 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise where.refuse(_kind(value), "int")
    if isinstance(value, float) or not -(2**63) <= value < 2**63:
        raise where.refuse(f"number {value}", "int")
    return value


def duration(value: Any, _: Where) -> float:
    """Seconds, of a text as "1m30s" or a number of nanoseconds; 0 for anything else, as Consul takes it."""
    if isinstance(value, str):
        try:
            return seconds(value)
        except ValueError as exc:
            raise DecodeError(str(exc)) from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return 0.0
    return int(value) / 1e9 if abs(value) < 2**63 else 0.0


def list_of(item: Decoder, wanted: str, empty: Any = "") -> Decoder:
    """A list; `empty` stands for a null in it."""

    def decode(value: Any, where: Where) -> list[Any]:
        if not isinstance(value, list):
            raise where.refuse(_kind(value), wanted)
        items = cast("list[object]", value)
        return [empty if one is None else item(one, where) for one in items]

    return decode


def map_of(item: Decoder, wanted: str, empty: Any = "") -> Decoder:
    """An object with keys of any kind; `empty` stands for a null in it."""

    def decode(value: Any, where: Where) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise where.refuse(_kind(value), wanted)
        items = cast("dict[str, Any]", value).items()
        return {key: empty if one is None else item(one, where) for key, one in items}

    return decode


def _kind(value: Any) -> str:
    """What Go calls a value of this JSON type."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return "array"
    return "object" if isinstance(value, dict) else "number"
