"""What a list of instances looks like: checked, and refused by an error that says where."""

import difflib
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeGuard, cast

from asyncsd._models import Instance
from asyncsd._values import as_host, as_name, as_port, as_tags, as_text

from ._address import FORMS, Address, as_address

__all__ = ["Path", "SchemaError", "Services", "as_services", "from_document", "told"]

Services: TypeAlias = dict[str, tuple[Instance, ...]]
Path: TypeAlias = tuple[str | int, ...]
"""The way to a value: ("services", "users", 0, "port")."""

KEYS = frozenset(
    {
        "address",
        "datacenter",
        "host",
        "id",
        "meta",
        "node",
        "port",
        "scheme",
        "status",
        "tags",
        "weight",
        "zone",
    }
)


class SchemaError(ValueError):
    """What is wrong with a value, and the `path` to it; `value` is what stands there."""

    def __init__(self, path: Path, message: str, value: object = None) -> None:
        super().__init__(message)
        self.path = path
        self.value = value


def told(path: Path) -> str:
    """`path` as people write it: services.users[0].port."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def from_document(data: object) -> Services:
    """The services of a file's document. Raises SchemaError."""
    document: Mapping[object, object] = (
        cast("Mapping[object, object]", data) if isinstance(data, Mapping) else {}
    )
    for key in document:
        if key != "services":
            raise SchemaError((str(key),), f"{key} is unknown: all of the file stands under 'services'")
    if not document:
        raise SchemaError((), "it has no 'services', a table of lists; was it written to its end?")
    services = as_services(document["services"], ("services",))
    if not services:
        # As a file looks that is half written. A service that is to have no instances has an empty list.
        raise SchemaError(("services",), "services names no service; was it written to its end?")
    return services


def as_services(value: object, path: Path) -> Services:
    """The services of a mapping of names to lists. Raises SchemaError."""
    if not isinstance(value, Mapping):
        kind = f"{told(path)} maps the names of services to lists of their instances"
        raise SchemaError(path, f"{kind}; got {value!r}", value)
    services: Services = {}
    for name, entries in cast("Mapping[object, object]", value).items():
        here = (*path, str(name))
        with _at(here, name):
            service = as_name(f"a service's name in {told(path)}", cast(str, name))
        services[service] = tuple(_instances(service, entries, here))
    return services


def _instances(service: str, entries: object, path: Path) -> Iterator[Instance]:
    if not _is_list(entries):
        text = f"{told(path)} is a list of instances, each an address such as {FORMS} or a table of its own"
        raise SchemaError(path, f"{text}; got {entries!r}", entries)
    seen: dict[tuple[str, ...], Path] = {}
    for number, entry in enumerate(entries):
        here = (*path, number)
        instance = _instance(service, entry, here)
        if (before := seen.setdefault(instance.key, here)) is not here:
            text = f"{told(here)} has the id {instance.id!r} of {told(before)}: give one of them another id"
            raise SchemaError(here, text, entry)
        yield instance


def _is_list(value: object) -> TypeGuard[Iterable[object]]:
    return isinstance(value, Iterable) and not isinstance(value, str | Mapping | Instance)


def _instance(service: str, entry: object, path: Path) -> Instance:
    match entry:
        case Instance():
            if entry.service != service:
                raise SchemaError(path, f"{told(path)} is an instance of another service, {entry.service!r}")
            return entry
        case str():
            with _at(path, entry):
                address = as_address(told(path), entry)
            return Instance(str(address), service, address.host, address.port, scheme=address.scheme)
        case Mapping():
            return _from_table(service, cast("Mapping[object, object]", entry), path)
        case _:
            text = f"{told(path)} is an address such as {FORMS}, or a table with one; got {entry!r}"
            raise SchemaError(path, text, entry)


def _from_table(service: str, table: Mapping[object, object], path: Path) -> Instance:
    for key in table:
        if key not in KEYS:
            raise _unknown(path, key)
    values = cast("Mapping[str, object]", table)
    address = _address(values, path)
    meta = _meta(values, path)
    zone = _text(values, "zone", path)
    if zone is not None and meta.get("zone", zone) != zone:
        where = (*path, "zone")
        raise SchemaError(where, f"{told(where)} is {zone!r}, and its meta's is {meta['zone']!r}: drop one")
    fields: dict[str, Any] = {
        "id": _text(values, "id", path) or str(address),
        "meta": meta,
        "zone": zone or meta.get("zone"),
        "scheme": _text(values, "scheme", path) or address.scheme,
        "datacenter": _text(values, "datacenter", path),
        "node": _text(values, "node", path),
    }
    where = (*path, "tags")
    with _at(where, values.get("tags")):
        fields["tags"] = as_tags(told(where), cast("Iterable[str]", values.get("tags", ())))
    for name in ("weight", "status"):
        if name in values:
            fields[name] = values[name]
            with _at((*path, name), values[name], instead_of=f"Instance.{name}"):
                Instance("-", service, "-", 0, **{name: fields[name]})  # It says what would do.
    return Instance(service=service, host=address.host, port=address.port, **fields)


def _address(values: Mapping[str, object], path: Path) -> Address:
    """From `address`, or from `host` and `port`."""
    if ("address" in values) is ("host" in values):
        raise SchemaError(path, f"{told(path)} has either an address, such as {FORMS}, or a host and a port")
    if "address" in values:
        if "port" in values:
            where = (*path, "port")
            raise SchemaError(where, f"{told(where)} goes with a host: an address has its own")
        where = (*path, "address")
        text = _text(values, "address", path) or ""
        with _at(where, text):
            return as_address(told(where), text)
    if "port" not in values:
        raise SchemaError(path, f"{told(path)} has a host and no port: add port = 80, say")
    host, port = (*path, "host"), (*path, "port")
    with _at(host, values["host"]):
        at = as_host(told(host), _text(values, "host", path) or "")
    with _at(port, values["port"]):
        return Address(at, as_port(told(port), cast(int, values["port"])))


def _meta(values: Mapping[str, object], path: Path) -> dict[str, str]:
    where = (*path, "meta")
    meta = values.get("meta", {})
    if not isinstance(meta, Mapping):
        raise SchemaError(where, f"{told(where)} is a table of strings; got {meta!r}", meta)
    items = cast("Mapping[Any, object]", meta)
    return {str(key): _text(items, key, where) or "" for key in items}


def _text(values: Mapping[Any, object], name: str, path: Path) -> str | None:
    """A string, or None where there is none. YAML takes `no` for a bool, and 1.10 for a number."""
    if name not in values:
        return None
    where, value = (*path, str(name)), values[name]
    if not isinstance(value, str) or not isinstance(name, str):
        wrong = value if isinstance(name, str) else name
        raise SchemaError(where, f"{told(where)} is text; got {wrong!r}: put it in quotes", value)
    with _at(where, value):
        return as_text(told(where), value)


def _unknown(path: Path, key: object) -> SchemaError:
    close = difflib.get_close_matches(str(key), KEYS, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    text = f"{told(path)} has no {key!r}: {hint}it has {', '.join(sorted(KEYS))}"
    return SchemaError((*path, str(key)), text, key)


@contextmanager
def _at(path: Path, value: object, *, instead_of: str = "") -> Generator[None, None, None]:
    """What is wrong with a value, as a SchemaError that knows the path to it."""
    try:
        yield
    except (TypeError, ValueError) as exc:
        text = str(exc)
        if instead_of:
            text = text.replace(instead_of, told(path), 1)
        raise SchemaError(path, text, value) from None
