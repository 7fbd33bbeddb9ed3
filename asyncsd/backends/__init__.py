"""Registries: a module each, none of them imported before it is asked for."""

import importlib

from asyncsd._protocols import Backend

__all__ = ["from_url"]

_MODULES = {
    "consul": "asyncsd.backends.consul",
    "dns": "asyncsd.backends.dns",
    "etcd": "asyncsd.backends.etcd",
    "etcd2": "asyncsd.backends.etcd2",
    "eureka": "asyncsd.backends.eureka",
    "memory": "asyncsd.backends.memory",
    "zk": "asyncsd.backends.zookeeper",
}


def from_url(url: str) -> Backend:
    """The backend that `url` names: "consul://127.0.0.1:8500", "consul+direct://…", "memory://".

    What stands before a "+" chooses the backend, and its module says what else the URL may hold. Raises
    ValueError for a scheme that is no backend's, and for parameters that the backend doesn't know.
    """
    scheme, separator, _ = url.partition("://")
    module = _MODULES.get(scheme.partition("+")[0])
    if not separator or module is None:
        known = ", ".join(f"{name}://" for name in _MODULES)
        # Without "://" all of it would be shown, a password too.
        got = f"; got {scheme!r}" if separator else ""
        raise ValueError(f"a registry's URL starts with one of {known}{got}")
    backend: Backend = importlib.import_module(module).from_url(url)
    return backend
