"""Where the targets of SRV records are."""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import anyio
import dns.name
import dns.rdatatype
import dns.rrset

from asyncsd._errors import BackendError, UnreachableError
from asyncsd._protocols import Clock

from ._records import text_of
from ._refresh import Refresh
from ._resolver import Resolver, records_of

__all__ = ["Targets"]

log = logging.getLogger("asyncsd.dns")

KINDS = (dns.rdatatype.A, dns.rdatatype.AAAA)
"""The second where there is none of the first: a target that has both is one instance, not two."""
PARALLEL = 10
"""So many targets are looked up at a time."""
KEPT = 600.0
"""For so many seconds past its TTL an address may stand in for one that can't be looked up."""


class _Addresses(NamedTuple):
    hosts: tuple[str, ...]
    end: float
    """The clock's time until which they hold."""


class Targets:
    """Their addresses: those that came along with the SRV records, else looked up and kept for their TTL."""

    def __init__(self, resolver: Resolver, *, refresh: Refresh, clock: Clock) -> None:
        self._resolver = resolver
        self._refresh = refresh
        self._clock = clock
        self._looked_up: dict[str, _Addresses] = {}

    async def addresses(
        self, targets: Iterable[dns.name.Name], additional: Sequence[dns.rrset.RRset]
    ) -> tuple[Mapping[str, Sequence[str]], float]:
        """The addresses of each target by its text, and the clock's time until which all of them hold.

        Raises UnreachableError where no server answers; a target that a server can't tell has no address.
        """
        found: dict[str, _Addresses] = {}
        missing: dict[str, dns.name.Name] = {}
        came = {(text_of(rrset.name), rrset.rdtype): rrset for rrset in additional}
        now = self._clock.time()
        for text, target in {text_of(target): target for target in targets}.items():
            rrset = next((came[text, kind] for kind in KINDS if (text, kind) in came), None)
            known = self._looked_up.get(text)
            if rrset is not None:
                found[text] = self._held([record.address for record in records_of(rrset)], rrset.ttl)
            elif known is not None and now < known.end:
                found[text] = known
            else:
                missing[text] = target
        if missing:
            found.update(await self._look(missing))
        hosts = {text: addresses.hosts for text, addresses in found.items()}
        return hosts, min((addresses.end for addresses in found.values()), default=float("inf"))

    async def _look(self, targets: Mapping[str, dns.name.Name]) -> Mapping[str, _Addresses]:
        """Several at a time; the first that can't be asked for ends them all."""
        found: dict[str, _Addresses] = {}
        failed: list[UnreachableError] = []
        free = asyncio.Semaphore(PARALLEL)

        async def look(text: str, target: dns.name.Name) -> None:
            async with free:
                try:
                    found[text] = await self._one(text, target)
                except UnreachableError as exc:
                    failed.append(exc)
                    group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for text, target in targets.items():
                group.start_soon(look, text, target)
        if failed:
            raise failed[0]
        oldest = self._clock.time() - KEPT
        kept = {text: known for text, known in self._looked_up.items() if known.end > oldest}
        self._looked_up = {**kept, **found}
        return found

    async def _one(self, text: str, target: dns.name.Name) -> _Addresses:
        ttl: int | None = None
        try:
            for kind in KINDS:
                answer = await self._resolver.ask(target, kind)
                ttl = answer.ttl
                if answer.records:
                    return self._held([record.address for record in answer.records], ttl)
        except UnreachableError:
            raise
        except BackendError as exc:
            log.debug("no address of %s: %s", target, exc)
            known = self._looked_up.get(text)
            if known is not None:
                return self._held(known.hosts, None)
        return self._held((), ttl)

    def _held(self, hosts: Iterable[str], ttl: int | None) -> _Addresses:
        return _Addresses(tuple(sorted(hosts)), self._refresh.end(ttl))
