"""Instances in the catalog of a Consul, of a node that no agent looks after: thousands in seconds."""

from collections.abc import Iterable
from typing import Any

import aiohttp

__all__ = ["Catalog"]

NODE = "elsewhere"
AT_ONCE = 31
"""Instances in a transaction: Consul takes 64 operations, of which one is the node, and two each instance."""


class Catalog:
    """Writes to the catalog of the agent at `url`."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def fill(self, services: Iterable[str], instances: int) -> None:
        """Register so many instances of each of `services`."""
        missing = [(service, number) for service in services for number in range(instances)]
        for first in range(0, len(missing), AT_ONCE):
            operations: list[Any] = [{"Node": {"Verb": "set", "Node": _node()}}]
            for service, number in missing[first : first + AT_ONCE]:
                operations += [
                    {"Service": {"Verb": "set", "Node": NODE, "Service": _service(service, number)}},
                    {"Check": {"Verb": "set", "Check": {"Node": NODE, **_check(service, number)}}},
                ]
            await self._put("txn", operations)

    async def change(self, service: str, number: int, port: int) -> None:
        """Give an instance another port."""
        changed = {**_service(service, number), "Port": port}
        await self._put("catalog/register", {**_node(), "Service": changed, "Check": _check(service, number)})

    async def _put(self, path: str, body: object) -> None:
        async with self._session.put(f"{self.url}/v1/{path}", json=body) as response:
            response.raise_for_status()


def _node() -> dict[str, Any]:
    return {"Node": NODE, "Address": "10.0.0.1"}


def _service(service: str, number: int) -> dict[str, Any]:
    return {
        "ID": f"{service}-{number:04}",
        "Service": service,
        "Tags": ["v1", "blue"],
        "Meta": {"zone": "a", "version": "1.2.3"},
        "Address": f"10.0.{number // 250}.{number % 250}",
        "Port": 8080,
    }


def _check(service: str, number: int) -> dict[str, Any]:
    id = f"{service}-{number:04}"
    return {"CheckID": f"service:{id}", "Name": "alive", "ServiceID": id, "Status": "passing"}
