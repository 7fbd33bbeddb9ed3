"""What a program asks for: the checks to run on a service, or on the node."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ._structs import Status

__all__ = ["OUTPUT_SIZE", "CheckDefinition", "CheckType"]

CheckType: TypeAlias = Literal["ttl", "http", "tcp", "grpc", "alias", "maintenance", ""]

OUTPUT_SIZE = 4096
"""Bytes kept of a check's output, as Consul keeps them (`DefaultBufSize`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckDefinition:
    """A check of this agent: what it does, how often, and what follows. Times are seconds.

    Which of the kinds it is, its `type` says: it goes by the fields that are set, in Consul's order.
    """

    check_id: str
    name: str
    notes: str = ""
    status: Status = "critical"
    service_id: str = ""
    ttl: float = 0
    http: str = ""
    header: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    method: str = ""
    body: str = ""
    disable_redirects: bool = False
    tcp: str = ""
    grpc: str = ""
    grpc_use_tls: bool = False
    tls_skip_verify: bool = False
    tls_server_name: str = ""
    alias_node: str = ""
    alias_service: str = ""
    maintenance: bool = False
    interval: float = 0
    timeout: float = 0
    success_before_passing: int = 0
    failures_before_warning: int = 0
    failures_before_critical: int = 0
    deregister_after: float = 0
    output_max_size: int = OUTPUT_SIZE
    interval_text: str = ""
    timeout_text: str = ""
    """As the catalog shows them: Consul writes "0s" where a check was registered by itself, else nothing."""

    @property
    def type(self) -> CheckType:
        """The kind of check."""
        kinds: tuple[tuple[CheckType, object], ...] = (
            ("maintenance", self.maintenance),
            ("grpc", self.grpc),
            ("http", self.http),
            ("ttl", self.ttl),
            ("tcp", self.tcp),
            ("alias", self.alias_node or self.alias_service),
        )
        for kind, chosen in kinds:
            if chosen:
                return kind
        return ""
