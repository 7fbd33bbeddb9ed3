"""What the catalog holds, in the fields and under the names of Consul's JSON."""

from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

__all__ = [
    "AgentService",
    "HealthCheck",
    "HealthEntry",
    "Node",
    "Service",
    "Status",
    "TaggedAddress",
    "Weights",
]

Status: TypeAlias = Literal["passing", "warning", "critical", "maintenance"]
"""What a check, or a whole service, may be; a check itself is never "maintenance"."""


class Weights(msgspec.Struct, frozen=True, rename="pascal"):
    """The share of traffic in either state, for those that balance by it."""

    passing: int = 1
    warning: int = 1


class TaggedAddress(msgspec.Struct, frozen=True, rename="pascal"):
    """One of a service's further addresses."""

    address: str
    port: int = 0


class Node(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A machine with an agent, or one that somebody entered by hand."""

    id: str = msgspec.field(name="ID", default="")
    node: str
    address: str
    datacenter: str
    tagged_addresses: dict[str, str] | None = None
    meta: dict[str, str] | None = None
    create_index: int = 0
    modify_index: int = 0


class Service(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """An instance of a service, as it stands in the answers of /v1/health.

    There a port of 0 is left out, and the rest never is: msgspec leaves out what is its field's default, but
    for that of a factory.
    """

    id: str = msgspec.field(name="ID")
    service: str
    tags: list[str] = msgspec.field(default_factory=lambda: list[str]())
    address: str = msgspec.field(default_factory=lambda: "")
    tagged_addresses: dict[str, TaggedAddress] | UnsetType = UNSET
    meta: dict[str, str] | None = msgspec.field(default_factory=lambda: None)
    port: int = 0
    socket_path: str | UnsetType = UNSET
    weights: Weights = msgspec.field(default_factory=Weights)
    enable_tag_override: bool = msgspec.field(default_factory=lambda: False)
    proxy: dict[str, Any] = msgspec.field(
        default_factory=lambda: {"Mode": "", "MeshGateway": {}, "Expose": {}}
    )
    connect: dict[str, Any] = msgspec.field(default_factory=lambda: dict[str, Any]())
    peer_name: str = msgspec.field(default_factory=lambda: "")
    create_index: int = msgspec.field(default_factory=lambda: 0)
    modify_index: int = msgspec.field(default_factory=lambda: 0)


class AgentService(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """An instance of a service, as it stands in the answers of /v1/agent."""

    id: str = msgspec.field(name="ID")
    service: str
    tags: list[str]
    meta: dict[str, str]
    port: int
    address: str
    socket_path: str | UnsetType
    tagged_addresses: dict[str, TaggedAddress] | UnsetType
    weights: Weights
    enable_tag_override: bool
    content_hash: str | UnsetType = UNSET
    datacenter: str


class HealthCheck(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The state of one check, of a service or, without a `service_id`, of the whole node."""

    node: str
    check_id: str = msgspec.field(name="CheckID")
    name: str
    status: Status = "critical"
    notes: str = ""
    output: str = ""
    service_id: str = msgspec.field(name="ServiceID", default="")
    service_name: str = ""
    service_tags: list[str] = []
    type: str = ""
    interval: str = ""
    timeout: str = ""
    exposed_port: int = 0
    definition: dict[str, Any] = {}
    create_index: int = 0
    modify_index: int = 0


class HealthEntry(msgspec.Struct, frozen=True, rename="pascal"):
    """An instance with its node and all checks that speak of it."""

    node: Node
    service: Service
    checks: list[HealthCheck]
