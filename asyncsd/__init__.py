"""Service discovery and client-side load balancing for asyncio."""

from ._config import Backoff, Limits, Retry
from ._errors import (
    BackendError,
    BadRequestError,
    ClosedError,
    DiscoveryError,
    NoInstances,
    NotRegisteredError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    RetriesExhausted,
    UnreachableError,
    UnsupportedError,
)
from ._models import Change, Event, Instance, Meta, Names, Query, Reply, Snapshot, Status
from ._protocols import (
    Backend,
    CatalogBackend,
    Clock,
    Lease,
    ObservingBackend,
    Picker,
    Policy,
    RegistryBackend,
)
from ._registration import Check, GRPCCheck, Health, HTTPCheck, Record, Registration, TCPCheck, TTLCheck

__all__ = [
    "Backend",
    "BackendError",
    "Backoff",
    "BadRequestError",
    "CatalogBackend",
    "Change",
    "Check",
    "Clock",
    "ClosedError",
    "DiscoveryError",
    "Event",
    "GRPCCheck",
    "Health",
    "HTTPCheck",
    "Instance",
    "Lease",
    "Limits",
    "Meta",
    "Names",
    "NoInstances",
    "NotRegisteredError",
    "ObservingBackend",
    "PermissionDeniedError",
    "Picker",
    "Policy",
    "ProtocolError",
    "Query",
    "RateLimitedError",
    "Record",
    "Registration",
    "RegistryBackend",
    "Reply",
    "RetriesExhausted",
    "Retry",
    "Snapshot",
    "Status",
    "TCPCheck",
    "TTLCheck",
    "UnreachableError",
    "UnsupportedError",
]

# What is public reads as asyncsd's own in tracebacks and reprs, wherever its code stands.
for _name in __all__:
    if getattr(globals()[_name], "__module__", "").startswith("asyncsd."):
        globals()[_name].__module__ = __name__
