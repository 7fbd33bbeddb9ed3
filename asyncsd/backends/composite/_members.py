"""The members of a composite: their names, and who opens and closes them."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from asyncsd._protocols import Backend
from asyncsd._tasks import TaskOwner
from asyncsd._values import as_name

__all__ = ["Given", "Members"]

Given = Backend | Mapping[str, Backend]
"""A backend, or several by their names."""


class Members:
    """Backends by their names, in order. `what` is the composite's name, for errors."""

    def __init__(self, given: Sequence[Given], what: str) -> None:
        self.backends: Mapping[str, Backend] = MappingProxyType(_named(given, what))
        self._opened: list[Backend] = []

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{name!r}: {backend!r}' for name, backend in self.backends.items())}}}"

    async def open(self) -> None:
        """Open those that aren't open. On an error or a cancellation, those opened here are closed again."""
        try:
            for backend in self.backends.values():
                if not backend.is_open:
                    await backend.__aenter__()
                    self._opened.append(backend)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close what `open` has opened, all at once; raises what a closing raised, once all are done.

        A cancellation ends those that hang.
        """
        opened, self._opened = self._opened, []
        tasks = TaskOwner()
        closing = [tasks.spawn(backend.aclose(), role="close", service="member") for backend in opened]
        try:
            if closing:
                await asyncio.wait(closing)
        finally:
            await tasks.aclose()
        for task in closing:
            task.result()


def _named(given: Sequence[Given], what: str) -> dict[str, Backend]:
    unnamed: list[str] = []
    found: list[tuple[str | None, Backend]] = []
    for each in given:
        if isinstance(each, Mapping):
            found += each.items()
        else:
            found.append((None, each))
            unnamed.append(_own_name(each))
    if not found:
        raise ValueError(f"{what} is made of backends: give it one at least, better two")
    several = {name for name, count in Counter(unnamed).items() if count > 1}
    numbers: Counter[str] = Counter()
    named: dict[str, Backend] = {}
    for name, backend in found:
        if not hasattr(backend, "fetch") or isinstance(backend, type):
            raise TypeError(f"{what} is made of backends, such as ConsulBackend(); got {backend!r}")
        if any(backend is other for other in named.values()):
            raise ValueError(f"{what}: {backend!r} is in it twice; each member is a backend of its own")
        if name is None:
            name = _own_name(backend)
            if name in several:
                numbers[name] += 1
                name = f"{name}-{numbers[name]}"
        as_name(f"{what}: a member's name", name)
        if "/" in name:
            raise ValueError(f"{what}: a member's name has no '/', which parts names; got {name!r}")
        if name in named:
            raise ValueError(f"{what}: two members are called {name!r}: give them names, by a mapping")
        named[name] = backend
    return named


def _own_name(backend: Backend) -> str:
    """A backend's datacenter, where it has one, else its kind: "dc1", "etcd"."""
    datacenter: object = getattr(backend, "datacenter", None)
    if isinstance(datacenter, str):
        return datacenter
    return type(backend).__name__.removesuffix("Backend").lower()
