from typing import Any

from asyncsd import Lease, Record
from asyncsd.backends.composite import Failover, Merge
from asyncsd.testing import BackendConformance, MemoryBackend


class CompositeConformance(BackendConformance):
    """It only reads: what is to be there is registered with a member."""

    registers = False
    spreads = False
    """Some of the services are with one member and some with the other."""

    async def put(self, backend: Any, record: Record) -> Lease:
        members: dict[str, MemoryBackend] = backend.members
        # Always with the same one, or its replacement would stand beside it.
        name = sorted(members)[sum(record.id.encode()) % len(members)] if self.spreads else "first"
        return await members[name].register(record)

    async def drop(self, backend: Any, lease: Lease) -> None:
        for member in backend.members.values():
            await member.deregister(lease)


class TestMerge(CompositeConformance):
    spreads = True

    def make_backend(self, *, wait: float = 30.0) -> Merge:
        return Merge({"first": MemoryBackend(), "second": MemoryBackend()}, wait=wait)


class TestFailover(CompositeConformance):
    def make_backend(self, *, wait: float = 30.0) -> Failover:
        return Failover({"first": MemoryBackend(), "second": MemoryBackend()}, wait=wait)


class TestFailoverToTheSecond(CompositeConformance):
    async def put(self, backend: Any, record: Record) -> Lease:
        lease: Lease = await backend.members["second"].register(record)
        return lease

    def make_backend(self, *, wait: float = 30.0) -> Failover:
        return Failover({"first": MemoryBackend(), "second": MemoryBackend()}, wait=wait)
