"""The instances of a service, looked up."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import dns.name
import dns.rdatatype
from dns.rdatatype import RdataType

from asyncsd._errors import ClosedError
from asyncsd._models import Instance
from asyncsd._tasks import TaskOwner

from ._records import from_addresses, from_srv
from ._refresh import Refresh
from ._resolver import Resolver, name_of
from ._targets import Targets

__all__ = ["Asked", "Known", "Lookups"]


@dataclass(frozen=True, slots=True)
class Known:
    """What was heard of a service, and the clock's time from which on it is to be asked for again."""

    instances: tuple[Instance, ...]
    due: float
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of DNS for a service: the records of `kind` that `name` has, "{service}" filled in.

    `port` goes with addresses. Without `resolve` the targets of SRV records are left as names.
    """

    name: str
    kind: RdataType
    port: int
    resolve: bool


@dataclass(slots=True)
class _Running:
    task: asyncio.Task[Known]
    waiting: int = 0


class Lookups:
    """Looks services up, each once at a time, however many wait for it.

    Instances keep their object while nothing about them changes.
    """

    def __init__(
        self, resolver: Resolver, asked: Asked, *, targets: Targets, refresh: Refresh, tasks: TaskOwner
    ) -> None:
        self._resolver = resolver
        self._asked = asked
        self._targets = targets
        self._refresh = refresh
        self._tasks = tasks
        self._running: dict[str, _Running] = {}
        self._known: dict[str, Known] = {}

    def latest(self, service: str) -> Known | None:
        """What was heard of a service last; None where that was that it has no instances."""
        return self._known.get(service)

    async def look(self, service: str) -> Known:
        """Ask now, or wait with those who do. The last to be cancelled gives the question up."""
        running = self._running.get(service)
        if running is None:
            task = self._tasks.spawn(self._look(service), role="lookup", service=service)
            task.add_done_callback(_seen)
            running = self._running[service] = _Running(task)
        running.waiting += 1
        try:
            await asyncio.wait((running.task,))
        finally:
            running.waiting -= 1
            if running.waiting == 0:
                del self._running[service]
                running.task.cancel()
        if running.task.cancelled():
            raise ClosedError("the DNSBackend was closed")
        return running.task.result()

    async def _look(self, service: str) -> Known:
        asked = self._asked
        name = name_of(asked.name.replace("{service}", service))
        answer = await self._resolver.ask(name, asked.kind)
        end = self._refresh.end(answer.ttl)
        if asked.kind == dns.rdatatype.SRV:
            # A target of "." says that the service is decidedly not available (RFC 2782).
            records = [record for record in answer.records if record.target != dns.name.root]
            hosts: dict[str, Sequence[str]] = {}
            if asked.resolve:
                targets = [record.target for record in records]
                found, until = await self._targets.addresses(targets, answer.additional)
                hosts.update(found)
                end = min(end, until)
            instances, skipped = from_srv(service, records, hosts)
        else:
            addresses = [record.address for record in answer.records]
            instances, skipped = from_addresses(service, addresses, asked.port)
        known = Known(self._same(service, instances), self._refresh.due(end), skipped)
        if known.instances:
            self._known[service] = known
        else:
            self._known.pop(service, None)
        return known

    def _same(self, service: str, instances: Sequence[Instance]) -> tuple[Instance, ...]:
        """`instances` as the objects that are known, where they say the same."""
        known = self._known.get(service)
        before = {} if known is None else {instance.id: instance for instance in known.instances}
        return tuple(
            seen if (seen := before.get(instance.id)) == instance and seen is not None else instance
            for instance in instances
        )


def _seen(task: asyncio.Task[Known]) -> None:
    """An exception that nobody waited for any more is no news."""
    if not task.cancelled():
        task.exception()
