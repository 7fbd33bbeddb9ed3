"""What the parts ask of each other. Any object of the right shape will do; there is nothing to inherit."""

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

from ._checks import Health
from ._models import Instance, Names, Query, Reply
from ._registration import Record

__all__ = [
    "Backend",
    "CatalogBackend",
    "Clock",
    "Lease",
    "ObservingBackend",
    "Picker",
    "Policy",
    "RegistryBackend",
    "SnapshotStore",
    "StoredSnapshot",
]


class Clock(Protocol):
    """Where time comes from."""

    def time(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds; a cancellation ends it at once."""
        ...

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[object]:
        """A context that raises TimeoutError at its end when the body took longer; None never does."""
        ...


class Backend(Protocol):
    """A registry to read from.

    It belongs to the loop that opened it, and is opened once. A call on one that isn't open raises
    ClosedError. Every error that stands for what the registry did is a BackendError.
    """

    @property
    def is_open(self) -> bool:
        """Whether it was opened, and not closed since."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    async def aclose(self) -> None:
        """Close streams and connections. Idempotent; a fetch in flight ends with ClosedError."""
        ...

    async def fetch(self, query: Query, cursor: Any) -> Reply:
        """The instances of `query.service`, of every status unless `query.server_filter`.

        Returns at once for cursor None, and otherwise when the state differs from it or the registry ends
        the wait: then with the same instances. Has a deadline of its own. On cancellation the request is
        given up and nothing is lost: the cursor stays good.
        """
        ...


@runtime_checkable
class CatalogBackend(Protocol):
    """A registry that can list the names of its services."""

    async def fetch_names(self, cursor: Any) -> Names:
        """All services with their tags; waits on a cursor as `fetch` does."""
        ...


@dataclass(frozen=True, slots=True)
class Lease:
    """A registration that a registry took: what `renew` and the rest are called with.

    `where` names the server it stands on, for people. `state` is the backend's own: a lease's id, say.
    """

    record: Record
    where: str
    state: Any = None


class RegistryBackend(Backend, Protocol):
    """A registry to register with."""

    async def local_host(self) -> str:
        """The address by which this machine reaches the registry: the default `host` of a registration."""
        ...

    async def register(self, record: Record, previous: Lease | None = None) -> Lease:
        """Register `record`, or replace what stands under its id, in place.

        `previous` is the lease that this registrar held. Raises UnsupportedError for a check that this
        registry can't run, and names what would do.
        """
        ...

    async def renew(self, lease: Lease, health: Health) -> None:
        """Tell that the process lives, and how it is. Without a TTLCheck: see that the record is there.

        Raises NotRegisteredError when the registry doesn't know the registration.
        """
        ...

    async def drain(self, lease: Lease, on: bool) -> None:
        """Take the instance out of rotation by the registry's own means, or back into it."""
        ...

    async def deregister(self, lease: Lease) -> None:
        """Remove the registration; one that isn't there is no error.

        The lease's `state` is None when `register` was cut off: the registry may have taken it all the same.
        """
        ...


@runtime_checkable
class ObservingBackend(Protocol):
    """A registry that can push what becomes of a registration."""

    async def observe(self, lease: Lease, cursor: Any) -> Any:
        """Wait until what stands under the lease differs from `cursor`, and return the new cursor.

        Returns at once for None. Raises NotRegisteredError once the registry has forgotten it.
        """
        ...


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """The last good list of a query, as a store keeps it.

    `instances` are of every status. `age` is the seconds since the registry told them, as of when this is
    saved or loaded: it goes on to grow while the program doesn't run. `index` is Reply's.
    """

    instances: tuple[Instance, ...]
    age: float = 0.0
    index: int | None = None


class SnapshotStore(Protocol):
    """Where lists outlive the program. FileStore is one.

    What a call raises is logged, once until one works again, and harms nothing else. It mustn't block the
    loop, and is cancelled when it takes more than 2 seconds at the end of a watch.
    """

    @property
    def every(self) -> float:
        """The least seconds between two saves of one query."""
        ...

    async def load(self, query: Query) -> StoredSnapshot | None:
        """What was saved last for an equal query, if it can still be used."""
        ...

    async def save(self, query: Query, stored: StoredSnapshot) -> None:
        """Keep this in the place of what was saved before: wholly, or not at all."""
        ...


class Picker(Protocol):
    """The state of a policy in one balancer: which instance is next.

    All calls are synchronous and atomic. Pickers nest: one may hold another and pass on what it doesn't
    decide itself.
    """

    def update(self, instances: Sequence[Instance]) -> Callable[[], Instance]:
        """Pick from `instances`, ordered by id, from now on; keep what is known of those seen before.

        Returns the function of a plain pick, which the balancer calls until the next update: `self.pick`
        will do, and one that looks nothing up is faster. Of no instances nothing is picked, and this isn't
        called.
        """
        ...

    def pick(self, exclude: Sequence[Instance] = (), key: object = None) -> Instance:
        """The next instance, none of `exclude` if there is another. `key` is the caller's, to hash by."""
        ...

    def begin(self, instance: Instance) -> Callable[[BaseException | None], None] | None:
        """A call to `instance` begins: count its load. `None` where this policy keeps no account.

        The function that comes back ends the call, and is called once: with None for a success, with the
        Exception that counts as a failure, or with the CancelledError (or other BaseException) of a call
        that was given up: that is neither, but took at least so long.
        """
        ...


class Policy(Protocol):
    """A frozen value, compared by value, that makes pickers. Pickers of one policy share nothing."""

    def picker(self, *, clock: Clock, rng: random.Random) -> Picker:
        """A new picker without instances."""
        ...
