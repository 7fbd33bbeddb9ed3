"""Values as people give them: checked when an object is made, refused by an error that names the field."""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, NoReturn, Self, TypeVar

__all__ = [
    "FrozenDict",
    "Meta",
    "ShortRepr",
    "as_flag",
    "as_host",
    "as_meta",
    "as_name",
    "as_port",
    "as_tags",
    "as_text",
    "duration",
    "url_host",
]

V = TypeVar("V")


class FrozenDict(dict[str, V]):
    """An immutable mapping, hashable where its values are."""

    __slots__ = ()

    def __hash__(self) -> int:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, V]]]:
        return (type(self), (dict(self),))

    if not TYPE_CHECKING:

        def _immutable(self, *_: object, **__: object) -> NoReturn:
            raise TypeError(
                f"{type(self).__name__} is immutable; make a new mapping: {{**old, 'key': value}}"
            )

        __setitem__ = __delitem__ = __ior__ = _immutable
        clear = pop = popitem = setdefault = update = _immutable


class Meta(FrozenDict[str]):
    """An immutable, hashable mapping of strings: the `meta` of an instance."""

    __slots__ = ()


def _refuse_surrogates(name: str, value: str) -> None:
    """Refuse what no registry could be sent: half of a surrogate pair, as in the name of an odd file."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} has a lone surrogate in it, which UTF-8 can't write") from None


def as_meta(name: str, value: Mapping[str, str]) -> Meta:
    """`value` as a Meta, or an error that names the field."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is a mapping of strings to strings; got {type(value).__name__}")
    for key, item in value.items():
        if not isinstance(key, str) or not isinstance(item, str):
            raise TypeError(f"{name} is a mapping of strings to strings; got {key!r}: {type(item).__name__}")
        _refuse_surrogates(name, key)
        _refuse_surrogates(f"{name}[{key!r}]", item)
    return value if type(value) is Meta else Meta(value)


def as_text(name: str, value: str | None, *, none: bool = False) -> str | None:
    """`value`, or an error that names the field, and doesn't show what may be a secret."""
    if not isinstance(value, str) and not (none and value is None):
        raise TypeError(f"{name} is a string{' or None' if none else ''}; got {type(value).__name__}")
    if value is not None:
        _refuse_surrogates(name, value)
    return value


def as_flag(name: str, value: bool) -> bool:
    """`value`, or an error that names the field if it is no bool: "no" would count as true."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False; got {value!r}")
    return value


def as_tags(name: str, value: Iterable[str]) -> tuple[str, ...]:
    """`value` as a tuple of tags, or an error that names the field."""
    if isinstance(value, str):
        raise TypeError(f"{name} is a sequence of strings; got the one string {value!r}: write ({value!r},)")
    if not isinstance(value, Iterable):
        raise TypeError(f"{name} is a sequence of strings; got {value!r}")
    tags = tuple(value)
    for tag in tags:
        if not isinstance(tag, str):
            raise TypeError(f"{name} is a sequence of strings; got the tag {tag!r}: write {str(tag)!r}")
        _refuse_surrogates(name, tag)
    return tags


def as_name(name: str, value: str) -> str:
    """`value`, or an error that names the field if it is no usable name."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is a string; got {value!r}")
    if not value.strip() or value != value.strip():
        raise ValueError(f"{name} is a name without spaces around it, and not empty; got {value!r}")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError(f"{name} has no control characters; got {value!r}")
    _refuse_surrogates(name, value)
    return value


def as_port(name: str, value: int) -> int:
    """`value`, or an error that names the field if it is no port."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a whole number; got {value!r}")
    if not 0 <= value <= 65535:
        raise ValueError(f"{name} is from 0 to 65535; got {value!r}")
    return value


_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\Z")


def as_host(name: str, value: str) -> str:
    """`value` as a host name, an IPv4 or a bare IPv6 address, or an error that says what would do."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is a string; got {value!r}")
    host = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    if "://" in host:
        raise ValueError(f"{name} is a host without a scheme; got {value!r}: use scheme= for that")
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    else:
        if address.is_unspecified:
            raise ValueError(
                f"{name} is where others reach this process, and nobody can call {value!r}: "
                "leave host out to use the address by which this machine reaches the registry"
            )
        return host
    if ":" in host:
        raise ValueError(f"{name} is a host without a port; got {value!r}: use port= for that")
    labels = host.removesuffix(".").split(".")
    # No name ends in a number: what does is an IPv4 address with a slip in it.
    if len(host) > 253 or labels[-1].isdecimal() or not all(_LABEL.match(label) for label in labels):
        raise ValueError(f"{name} is a host name, an IPv4 or an IPv6 address; got {value!r}")
    return host


def url_host(host: str) -> str:
    """`host` as it stands in a URL: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def duration(name: str, value: float | None, *, zero: bool = False, none: bool = False) -> float | None:
    """Return `value` as seconds, or refuse it by an error that names the field."""
    if value is None and none:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a number of seconds, such as 15.0, not {value!r}")
    if not (value > 0 or (zero and value == 0)) or value == float("inf"):
        least = "0 or more" if zero else "more than 0"
        hint = " (None for no limit)" if none else ""
        raise ValueError(f"{name} is in seconds and has to be {least}, and finite{hint}; got {value!r}")
    return float(value)


class ShortRepr:
    """A repr that shows just what differs from the defaults."""

    __slots__ = ()

    def __repr__(self) -> str:
        shown = (
            f"{field.name}={self._shown(field.name)!r}"
            for field in fields(self)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            if getattr(self, field.name)
            != (field.default if field.default_factory is MISSING else field.default_factory())
        )
        return f"{type(self).__name__}({', '.join(shown)})"

    def _shown(self, name: str) -> object:
        """What stands for a field's value: for a secret, not the value."""
        return getattr(self, name)
