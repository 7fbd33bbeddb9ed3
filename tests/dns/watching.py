"""A backend that asks often."""

from typing import Any

from asyncsd.backends.dns import DNSBackend

__all__ = ["on"]


def on(*servers: str, **options: Any) -> DNSBackend:
    """It asks again after 50 ms, whatever the TTL."""
    values: dict[str, Any] = {
        "domain": "_http._tcp.{service}.test",
        "min_ttl": 0.05,
        "max_ttl": 0.05,
        "timeout": 10.0,
    }
    return DNSBackend(list(servers), **(values | options))
