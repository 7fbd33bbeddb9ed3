"""What `acquire` and `lease` hand out: an instance and its endpoint, held while a block runs."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from asyncsd._models import Instance

if TYPE_CHECKING:
    from asyncsd._endpoints import Endpoint

    from ._pool import Pool

__all__ = ["Acquiring", "Held", "Leasing"]

T = TypeVar("T")
Classify = Callable[[Exception], bool]


class Held(Generic[T]):
    """An instance and its endpoint for the time of one call: what `Balancer.lease` gives."""

    __slots__ = ("_end", "_entry", "_error", "_pool", "endpoint", "instance")

    def __init__(
        self,
        pool: "Pool[T]",
        instance: Instance,
        entry: "Endpoint[T] | None",
        end: Callable[[BaseException | None], None] | None,
    ) -> None:
        self.instance = instance
        self.endpoint = cast(T, instance) if entry is None else entry.value
        self._pool = pool
        self._entry = entry
        self._end = end
        self._error: Exception | None = None

    def __repr__(self) -> str:
        return f"<Held {self.instance.service} {self.instance.id} at {self.instance.address}>"

    def fail(self, error: Exception) -> None:
        """Count this call as a failure, for what isn't raised: an HTTP 500, say."""
        self._error = error

    def give_back(self, exc: BaseException | None = None, classify: Classify | None = None) -> None:
        """The call is over, by `exc` if any: end its load, and let go of the endpoint. To be called once."""
        outcome = self._error or exc
        try:
            if classify is not None and self._error is None and isinstance(exc, Exception):
                outcome = exc if classify(exc) else None
        finally:
            self._pool.in_flight -= 1
            if self._entry is not None:
                self._entry.give_back()
            if self._end is not None:
                self._end(outcome)


class _Taking(Generic[T]):
    """A class and no generator: that takes a third of the time, and leaves nothing suspended while the
    caller's block runs."""

    __slots__ = ("_classify", "_exclude", "_held", "_key", "_pool", "_timeout")

    _held: Held[T]

    def __init__(
        self,
        pool: "Pool[T]",
        key: object,
        exclude: Sequence[Instance],
        timeout: float | None,
        classify: Classify | None,
    ) -> None:
        self._pool = pool
        self._key = key
        self._exclude = exclude
        self._timeout = timeout
        self._classify = classify

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held.give_back(exc, self._classify)


class Acquiring(_Taking[T]):
    """The context of `Balancer.acquire`."""

    __slots__ = ()

    async def __aenter__(self) -> T:
        pool = self._pool
        if not pool.candidates:
            await pool.wait(self._timeout)
        self._held = pool.take(self._exclude, self._key)
        return self._held.endpoint


class Leasing(_Taking[T]):
    """The context of `Balancer.lease`."""

    __slots__ = ()

    async def __aenter__(self) -> Held[T]:
        pool = self._pool
        if not pool.candidates:
            await pool.wait(self._timeout)
        self._held = pool.take(self._exclude, self._key)
        return self._held
