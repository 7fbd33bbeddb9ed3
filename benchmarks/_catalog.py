"""Instances in the catalog of a Consul, of a node that no agent looks after: thousands in seconds."""

import asyncio
from collections.abc import Iterable
from typing import Any

import aiohttp

__all__ = ["Catalog"]

WIDE = 64
"""Writes at a time."""


class Catalog:
    """Writes to the catalog of the agent at `url`."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def write(self, service: str, number: int, port: int = 8080) -> None:
        """Register an instance, or change its port."""
        item = _item(service, number, port)
        async with self._session.put(f"{self.url}/v1/catalog/register", json=item) as response:
            response.raise_for_status()

    async def fill(self, services: Iterable[str], instances: int) -> None:
        """Register so many instances of each of `services`."""
        missing = [(service, number) for service in services for number in range(instances)]
        for first in range(0, len(missing), WIDE):
            await asyncio.gather(*(self.write(*each) for each in missing[first : first + WIDE]))


def _item(service: str, number: int, port: int) -> dict[str, Any]:
    id = f"{service}-{number:04}"
    return {
        "Node": "elsewhere",
        "Address": "10.0.0.1",
        "Service": {
            "ID": id,
            "Service": service,
            "Tags": ["v1", "blue"],
            "Meta": {"zone": "a", "version": "1.2.3"},
            "Address": f"10.0.{number // 250}.{number % 250}",
            "Port": port,
        },
        "Check": {"CheckID": f"service:{id}", "Name": "alive", "ServiceID": id, "Status": "passing"},
    }
