"""What the parts of the suite share."""

import asyncio
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from asyncsd import Health, Instance, Lease, Meta, Query, Record, RegistryBackend, Reply


@pytest.mark.asyncio
class Suite(ABC):
    """How to make a backend, what it can do, and how to wait for it."""

    pushes: ClassVar[bool] = True
    """A fetch that waits returns when the state changes, without polling."""
    registers: ClassVar[bool] = True
    """It is a RegistryBackend."""
    drains: ClassVar[bool] = True
    """A drained instance is critical for readers."""
    ttl: ClassVar[bool] = True
    """A TTLCheck that isn't renewed takes its instance out of rotation."""
    expires: ClassVar[bool] = False
    """It does so by removing the instance, as a lease does, and not by turning it critical."""
    carries: ClassVar[frozenset[str]] = frozenset({"id", "tags", "meta", "scheme"})
    """What of a record comes back when it is read, beside its address and weight."""
    deadline: ClassVar[float] = 10.0
    """Seconds in which a change has to be seen; less than the `wait` of `make_backend`."""

    @abstractmethod
    def make_backend(self, *, wait: float = 30.0) -> Any:
        """A new backend that isn't open, whose fetches wait at most about `wait` seconds for a change."""

    async def put(self, backend: Any, record: Record) -> Lease:
        """Let `record` stand in the registry, in place of what stood there under its id."""
        lease: Lease = await backend.register(record)
        return lease

    async def drop(self, backend: Any, lease: Lease) -> None:
        """Remove from the registry what `put` put there."""
        await backend.deregister(lease)

    @pytest.fixture
    def service(self) -> str:
        """A name that nobody has used."""
        return f"conformance-{secrets.token_hex(4)}"

    @pytest_asyncio.fixture
    async def backend(self) -> AsyncIterator[RegistryBackend]:
        """An open backend."""
        async with self.make_backend() as backend:
            yield backend

    @pytest_asyncio.fixture
    async def quick(self) -> AsyncIterator[RegistryBackend]:
        """An open backend whose waits end soon."""
        async with self.make_backend(wait=0.5) as backend:
            yield backend

    def needs(self, *features: str) -> None:
        """Skip a test of what this backend can't do."""
        for feature in features:
            if not getattr(self, feature):
                pytest.skip(f"{type(self).__name__}.{feature} is False")

    def needs_carried(self, *fields: str) -> None:
        """Skip a test of what this registry has no place for."""
        for field in fields:
            if field in Suite.carries - self.carries:
                pytest.skip(f"{type(self).__name__}.carries has no {field!r}")

    async def until(
        self,
        backend: Any,
        query: Query | str,
        accept: Callable[[tuple[Instance, ...]], object],
        cursor: Any = None,
    ) -> Reply:
        """Fetch on, from `cursor`, until `accept(instances)`; TimeoutError after the deadline."""
        wanted = Query.of(query)
        async with asyncio.timeout(self.deadline):
            reply: Reply = await backend.fetch(wanted, cursor)
            while not accept(reply.instances):
                reply = await backend.fetch(wanted, reply.cursor)
        return reply

    async def waiting(
        self,
        backend: Any,
        query: Query | str,
        accept: Callable[[tuple[Instance, ...]], object],
    ) -> asyncio.Task[Reply]:
        """`until` as a task that waits in the registry by now, for what isn't so yet."""
        now: Reply = await backend.fetch(Query.of(query), None)
        assert not accept(now.instances), "the change was there before it was made"
        task = asyncio.create_task(self.until(backend, query, accept, now.cursor))
        # Once a later request was answered, the one before it has been sent.
        await backend.fetch(Query.of(query), None)
        assert not task.done()
        return task

    async def renew(self, backend: Any, lease: Lease, status: Any = "passing") -> None:
        await backend.renew(lease, Health(status, "as the test says"))


def record(service: str, number: int = 1, *, meta: Mapping[str, str] | None = None, **values: Any) -> Record:
    """A record with nothing but what has to be there, and `values`."""
    values = {"id": f"{service}-{number}", "host": "10.0.0.1", "port": 80, **values}
    return Record(service=service, meta=Meta(meta or {}), **values)


def ids(instances: tuple[Instance, ...]) -> list[str]:
    return sorted(instance.id for instance in instances)


def only(reply: Reply) -> Instance:
    """The one instance of a reply."""
    (instance,) = reply.instances
    return instance
