"""What `acquire` and `lease` are: an instance and its endpoint, held while a block runs."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeAlias, TypeVar

if TYPE_CHECKING:
    from asyncsd._models import Instance

    from ._pool import Pool

__all__ = ["Acquired", "Classify", "Held"]

T = TypeVar("T")
Classify: TypeAlias = Callable[[Exception], bool]

# Classes and no generators: those would cost three times as much, and would leave a frame of ours
# suspended while the caller's block runs.


class _Taking(Generic[T]):
    __slots__ = (
        "_classify",
        "_end",
        "_error",
        "_exclude",
        "_key",
        "_pool",
        "_timeout",
        "endpoint",
        "instance",
    )

    instance: "Instance"
    endpoint: T

    def __init__(
        self,
        pool: "Pool[T]",
        key: object,
        exclude: "Sequence[Instance]",
        timeout: float | None,
        classify: Classify | None,
    ) -> None:
        self._pool = pool
        self._key = key
        self._exclude = exclude
        self._timeout = timeout
        self._classify = classify
        self._error: Exception | None = None

    def __repr__(self) -> str:
        instance = getattr(self, "instance", None)
        what = (
            "not entered" if instance is None else f"{instance.service} {instance.id} at {instance.address}"
        )
        return f"<{type(self).__name__} {what}>"

    def _begin(self) -> None:
        pool = self._pool
        if not self._exclude and self._key is None and pool.endpoints is None:
            pool.used = True
            instance, self._end = pool.take()
            self.instance = self.endpoint = instance
        else:
            self.instance = instance = pool.choose(self._exclude, self._key)
            self.endpoint, self._end = pool.begin(instance)

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release(exc)

    def release(self, exc: BaseException | None = None) -> None:
        """End the call, by `exc` if any: for who can't use a block, a callback say. To be called once."""
        outcome = self._error or exc
        try:
            if exc is outcome and self._classify is not None and isinstance(exc, Exception):
                outcome = exc if self._classify(exc) else None
        finally:
            self._end(outcome)


class Acquired(_Taking[T]):
    """The context of `Balancer.acquire`."""

    __slots__ = ()

    async def __aenter__(self) -> T:
        if not self._pool.candidates:
            await self._pool.wait(self._timeout)
        self._begin()
        return self.endpoint


class Held(_Taking[T]):
    """An instance and its endpoint for the time of one call: what `Balancer.lease` gives.

    An async context manager that gives itself, and is entered once. `instance` and `endpoint` are there
    inside the block.
    """

    __slots__ = ()

    async def __aenter__(self) -> Self:
        if not self._pool.candidates:
            await self._pool.wait(self._timeout)
        self._begin()
        return self

    def fail(self, error: Exception) -> None:
        """Count this call as a failure, for what isn't raised: an HTTP 500, say."""
        self._error = error
