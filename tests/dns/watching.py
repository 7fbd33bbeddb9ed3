"""A backend that asks often, and what it says."""

import asyncio
from collections.abc import Callable
from typing import Any

from asyncsd import Instance, Query, Reply
from asyncsd.backends.dns import DNSBackend

__all__ = ["fetched", "on"]


def on(*servers: str, **options: Any) -> DNSBackend:
    """It asks again after 50 ms, whatever the TTL."""
    values: dict[str, Any] = {
        "domain": "_http._tcp.{service}.test",
        "min_ttl": 0.05,
        "max_ttl": 0.05,
        "timeout": 0.6,
    }
    return DNSBackend(list(servers), **(values | options))


async def fetched(
    backend: DNSBackend, service: str, accept: Callable[[tuple[Instance, ...]], object]
) -> Reply:
    """Fetch on until `accept(instances)`."""
    async with asyncio.timeout(20):
        reply = await backend.fetch(Query(service), None)
        while not accept(reply.instances):
            reply = await backend.fetch(Query(service), reply.cursor)
    return reply
