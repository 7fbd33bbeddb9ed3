"""Records, and the statuses that are waited for."""

from collections.abc import Callable
from typing import Any

from asyncsd import Instance, Record, Registration, TTLCheck


def me(service: str, **values: Any) -> Record:
    """A record as a registrar makes it."""
    values = {"port": 80, "check": TTLCheck(ttl=30.0), **values}
    host = values.pop("host", "10.0.0.7")
    return Registration(service=service, **values).record(id=f"{service}-1", host=host)


def statuses(*wanted: str) -> Callable[[tuple[Instance, ...]], bool]:
    """Whether the instances have these statuses."""
    return lambda found: [instance.status for instance in found] == list(wanted)
