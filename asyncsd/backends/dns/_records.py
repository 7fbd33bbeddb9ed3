"""Records as instances."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dns.name

from asyncsd._models import Instance
from asyncsd._values import Meta, as_host, url_host

__all__ = ["from_addresses", "from_srv", "text_of"]


def text_of(name: dns.name.Name) -> str:
    """A name as a host's; in DNS they don't differ by case. (Name's own way takes ten times as long.)"""
    return b".".join(name.labels[:-1]).decode("latin-1").lower()


def from_addresses(service: str, addresses: Iterable[str], port: int) -> tuple[tuple[Instance, ...], int]:
    """An instance an address, and how many were left out as no addresses of anybody."""
    found: dict[str, Instance] = {}
    skipped = 0
    for address in addresses:
        try:
            id = f"{url_host(address)}:{port}"
            found[id] = Instance(id=id, service=service, host=as_host("address", address), port=port)
        except ValueError:
            skipped += 1
    return _sorted(found), skipped


def from_srv(
    service: str, records: Sequence[Any], addresses: Mapping[str, Sequence[str]]
) -> tuple[tuple[Instance, ...], int]:
    """An instance a target and port, and how many were left out as malformed.

    A target with several addresses is as many instances; one without any has its name as the host, which
    the caller's own system may know. RFC 2782: who has the lowest priority serves, and the others stand by,
    with the status "warning". A weight of 0 is to have a very small chance: drawn as the RFC says, that is 1
    among the others' weights, and so it is here.
    """
    usable: dict[str, tuple[str, Any]] = {}
    skipped = 0
    # The same one twice counts with its better priority, and there with its greater weight.
    for record in sorted(records, key=lambda record: (record.priority, -record.weight)):
        target = text_of(record.target)
        hosts = addresses.get(target) or (target,)
        for host in hosts:
            id = f"{target}:{record.port}" + (f"/{host}" if len(hosts) > 1 else "")
            try:
                usable.setdefault(id, (as_host("host", host), record))
            except ValueError:
                skipped += 1
    best = min((record.priority for _, record in usable.values()), default=0)
    found = {
        id: Instance(
            id=id,
            service=service,
            host=host,
            port=record.port,
            meta=Meta({"priority": str(record.priority)}),
            weight=max(1, record.weight),
            node=text_of(record.target),
            status="passing" if record.priority == best else "warning",
        )
        for id, (host, record) in usable.items()
    }
    return _sorted(found), skipped


def _sorted(found: Mapping[str, Instance]) -> tuple[Instance, ...]:
    """In one order, whatever the server's: many shuffle their answers."""
    return tuple(found[id] for id in sorted(found))
