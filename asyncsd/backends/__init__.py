"""Registries: a module each, none of them imported before it is asked for."""

import importlib
import inspect
from typing import TYPE_CHECKING, Any

from asyncsd._protocols import Backend

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["from_url"]

_MODULES = {
    "consul": "asyncsd.backends.consul",
    "dns": "asyncsd.backends.dns",
    "etcd": "asyncsd.backends.etcd",
    "etcd2": "asyncsd.backends.etcd2",
    "eureka": "asyncsd.backends.eureka",
    "memory": "asyncsd.backends.memory",
    "static": "asyncsd.backends.static",
    "zk": "asyncsd.backends.zookeeper",
}

_GROUP = "asyncsd.backends"
"""The entry points by which other distributions offer backends, named by their schemes."""

_MEMBERS = ("__aenter__", "__aexit__", "aclose", "fetch", "is_open")


def from_url(url: str) -> Backend:
    """The backend that `url` names, such as "consul://127.0.0.1:8500" or "etcd://10.0.0.5,10.0.0.6/services".

    The schemes are consul, consul+direct, dns, etcd, etcd2, eureka, memory, static and zk; `from_url` of the
    backend's module says what else its URL may hold. One that isn't asyncsd's own is looked for among the
    entry points `asyncsd.backends` of what is installed, which takes some milliseconds of reading files.

    Raises ValueError for a scheme that is no backend's, and for parameters that the backend doesn't know;
    ImportError where the backend needs an extra, and with TypeError for a distribution whose backend is
    broken.
    """
    scheme, separator, _ = url.partition("://")
    name = scheme.partition("+")[0]
    # Asyncsd's own come first: no distribution can put itself in their place.
    if separator and name in _MODULES:
        backend: Backend = importlib.import_module(_MODULES[name]).from_url(url)
        return backend
    offered = _offered()
    if not separator or name not in offered:
        known = ", ".join(f"{each}://" for each in sorted({*_MODULES, *offered}))
        # Without "://" all of it would be shown, a password too.
        got = f"; got {scheme!r}" if separator else ""
        raise ValueError(f"a registry's URL starts with one of {known}{got}")
    return _made(url, name, offered[name])


def _offered() -> "dict[str, list[EntryPoint]]":
    """The entry points of other distributions, by their schemes."""
    from importlib.metadata import entry_points  # It takes longer to import than the rest of this.

    offered: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=_GROUP):
        offered.setdefault(point.name, []).append(point)
    return offered


def _made(url: str, scheme: str, points: "list[EntryPoint]") -> Backend:
    """What the one entry point makes of `url`."""
    if len(points) > 1:
        names = " and ".join(sorted(map(_distribution, points)))
        raise ValueError(f"{scheme}:// is offered by {names}: uninstall all but one")
    (point,) = points
    try:
        loaded = point.load()
    except Exception as exc:
        text = f"can't be loaded: {type(exc).__name__}: {exc}; install what it needs, or uninstall it"
        raise ImportError(f"{_whose(point)} {text}") from exc
    make = getattr(loaded, "from_url", None) if inspect.ismodule(loaded) else loaded
    if not callable(make):
        raise TypeError(f"{_whose(point)} is neither a function from_url(url) nor a module with one")
    made: Any = make(url)
    unawaited: object = made
    if inspect.iscoroutine(unawaited):
        unawaited.close()
    if lacking := [member for member in _MEMBERS if not hasattr(made, member)]:
        text = f"gave no backend but {type(made).__name__}: it has no {', '.join(lacking)}"
        raise TypeError(f"{_whose(point)} {text}")
    backend: Backend = made
    return backend


def _whose(point: "EntryPoint") -> str:
    return f"{point.name}:// of {_distribution(point)} ({point.value})"


def _distribution(point: "EntryPoint") -> str:
    return "an unknown distribution" if point.dist is None else f"{point.dist.name} {point.dist.version}"
