"""Service discovery and client-side load balancing for asyncio."""

from ._checks import Check, GRPCCheck, Health, HTTPCheck, TCPCheck, TTLCheck
from ._config import Backoff, Limits, Retry
from ._discovery import Discovery, DiscoveryHealth
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
from ._health import HealthCallback, http_status
from ._models import Change, Consistency, Event, Instance, Names, Query, Reply, Snapshot, Status, Trust
from ._names import NamesSubscription, NamesWatcher
from ._poll import WatchHealth
from ._protocols import (
    Backend,
    CatalogBackend,
    Clock,
    Lease,
    ObservingBackend,
    Picker,
    Policy,
    RegistryBackend,
    SnapshotStore,
    StoredSnapshot,
)
from ._reachability import Reachability
from ._registering import Registering
from ._registrar import Registrar
from ._registration import Record, Registration
from ._states import ChangeHook, RegistrationState, StateChange
from ._store import FileStore
from ._subscription import Subscription
from ._values import Meta
from ._watcher import Watcher
from .balance import (
    Balancer,
    BalancerStatistics,
    Held,
    InstanceLoad,
    LeastOutstanding,
    PeakEWMA,
    Random,
    RoundRobin,
)

__all__ = [
    "Backend",
    "BackendError",
    "Backoff",
    "BadRequestError",
    "Balancer",
    "BalancerStatistics",
    "CatalogBackend",
    "Change",
    "ChangeHook",
    "Check",
    "Clock",
    "ClosedError",
    "Consistency",
    "Discovery",
    "DiscoveryError",
    "DiscoveryHealth",
    "Event",
    "FileStore",
    "GRPCCheck",
    "Health",
    "HealthCallback",
    "Held",
    "http_status",
    "HTTPCheck",
    "Instance",
    "InstanceLoad",
    "Lease",
    "LeastOutstanding",
    "Limits",
    "Meta",
    "Names",
    "NamesSubscription",
    "NamesWatcher",
    "NoInstances",
    "NotRegisteredError",
    "ObservingBackend",
    "PeakEWMA",
    "PermissionDeniedError",
    "Picker",
    "Policy",
    "ProtocolError",
    "Query",
    "Random",
    "RateLimitedError",
    "Reachability",
    "Record",
    "Registering",
    "Registrar",
    "Registration",
    "RegistrationState",
    "RegistryBackend",
    "Reply",
    "RetriesExhausted",
    "Retry",
    "RoundRobin",
    "Snapshot",
    "SnapshotStore",
    "StateChange",
    "Status",
    "StoredSnapshot",
    "Subscription",
    "TCPCheck",
    "Trust",
    "TTLCheck",
    "UnreachableError",
    "UnsupportedError",
    "Watcher",
    "WatchHealth",
]

# What is public reads as asyncsd's own in tracebacks and reprs, wherever its code stands.
for _name in __all__:
    if getattr(globals()[_name], "__module__", "").startswith("asyncsd."):
        globals()[_name].__module__ = __name__
