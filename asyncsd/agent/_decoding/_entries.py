"""What somebody enters into the catalog by hand: nodes with services and checks, and their removal.

Nobody runs such checks; their statuses are what was entered.
"""

import re
from dataclasses import dataclass
from typing import Any, cast

from msgspec import UNSET

from asyncsd.agent._state._structs import HealthCheck, Node, Service, Weights

from ._duration import written
from ._json import (
    DecodeError,
    Decoder,
    Shape,
    Where,
    boolean,
    duration,
    integer,
    list_of,
    map_of,
    parse,
    string,
)
from ._services import (
    ADDRESSES,
    NO_MESH,
    PAIRS,
    STRINGS,
    UNSPECIFIED,
    WEIGHTS,
    Fields,
    anything,
    tagged_addresses,
    wants_mesh,
)

__all__ = ["Deregistration", "EntryError", "Registration", "parse_deregistration", "parse_registration"]

UUID_TEXT = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class EntryError(Exception):
    """An entry that makes no sense. Its text is what Consul says."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A node, and a service and checks on it. With `keep_node`, the node that stands there stays as it is."""

    datacenter: str
    node: Node
    services: list[Service]
    checks: list[HealthCheck]
    keep_node: bool


@dataclass(frozen=True, slots=True)
class Deregistration:
    """What is to go: a service, else a check, else the whole node."""

    datacenter: str
    node: str
    service_id: str
    check_id: str


INDEXES = {"CreateIndex": integer, "ModifyIndex": integer}

SERVICE = Shape(
    "structs.NodeService",
    {
        **dict.fromkeys(("Kind", "ID", "Service", "Address", "SocketPath", "PeerName"), string),
        "Tags": STRINGS,
        "TaggedAddresses": ADDRESSES,
        "Meta": PAIRS,
        "Port": integer,
        "Weights": WEIGHTS.decode,
        "EnableTagOverride": boolean,
        "Proxy": anything,
        "Connect": anything,
        **INDEXES,
    },
    struct="NodeService",
    inner="",
)
DEFINITION_FIELDS: dict[str, Decoder] = {
    **dict.fromkeys(
        (
            *("HTTP", "TLSServerName", "Method", "Body", "TCP", "UDP", "H2PING", "OSService"),
            *("DockerContainerID", "Shell", "GRPC", "AliasNode", "AliasService"),
        ),
        string,
    ),
    **dict.fromkeys(("TLSSkipVerify", "DisableRedirects", "H2PingUseTLS", "GRPCUseTLS"), boolean),
    "Header": map_of(STRINGS, "map[string][]string", empty=[]),
    "ScriptArgs": STRINGS,
    "OutputMaxSize": integer,
    **dict.fromkeys(("Interval", "Timeout", "DeregisterCriticalServiceAfter", "TTL"), duration),
}
KNOWN = frozenset(name.lower() for name in DEFINITION_FIELDS)
DEFINITION = Shape("structs.HealthCheckDefinition", DEFINITION_FIELDS)


def _definition(value: Any, where: Where) -> dict[str, Any]:
    """The definition of a check, without the fields that it doesn't know: Consul forgives them here."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        value = {name: item for name, item in fields.items() if name.lower() in KNOWN}
    return DEFINITION.decode(value, where)


CHECK = Shape(
    "structs.HealthCheck",
    {
        **dict.fromkeys(
            (
                *("Node", "CheckID", "Name", "Status", "Notes", "Output", "ServiceID", "ServiceName"),
                *("Type", "Interval", "Timeout", "PeerName"),
            ),
            string,
        ),
        "ServiceTags": STRINGS,
        "ExposedPort": integer,
        "Definition": _definition,
        **INDEXES,
    },
    struct="HealthCheck",
    inner="",
)
REGISTRATION = Shape(
    "structs.RegisterRequest",
    {
        **dict.fromkeys(("Datacenter", "ID", "Node", "Address", "PeerName", "Token"), string),
        "TaggedAddresses": PAIRS,
        "NodeMeta": PAIRS,
        "Service": SERVICE.decode,
        "Check": CHECK.decode,
        "Checks": list_of(CHECK.decode, "[]*structs.HealthCheck", empty={}),
        "SkipNodeUpdate": boolean,
        **INDEXES,
    },
    struct="RegisterRequest",
    inner="",
)
DEREGISTRATION = Shape(
    "structs.DeregisterRequest",
    # An address is taken and says nothing: older clients send it.
    dict.fromkeys(("Datacenter", "Node", "Address", "ServiceID", "CheckID", "PeerName", "Token"), string),
)


def parse_registration(body: bytes, datacenter: str) -> Registration:
    """What a body of /v1/catalog/register enters. DecodeError or EntryError if it can't be entered."""
    fields = _decode(REGISTRATION, body)
    node, service = fields.get("Node", ""), fields.get("Service")
    checks = [*fields.get("Checks", []), *([fields["Check"]] if fields.get("Check") is not None else [])]
    if any(part.get("PeerName") for part in (fields, service or {}, *checks)):
        raise EntryError("cannot register requests with PeerName in them")
    if not node:
        raise EntryError("Must provide node")
    _check_id(fields.get("ID", ""))
    if not fields.get("Address") and not fields.get("SkipNodeUpdate"):
        raise EntryError("Must provide address if SkipNodeUpdate is not set")
    services = [] if service is None else [_service(service)]
    return Registration(
        fields.get("Datacenter") or datacenter,
        Node(
            id=fields.get("ID", ""),
            node=node,
            address=fields.get("Address", ""),
            datacenter=fields.get("Datacenter") or datacenter,
            tagged_addresses=fields.get("TaggedAddresses"),
            meta=fields.get("NodeMeta"),
        ),
        services,
        [_check(check, node) for check in checks],
        fields.get("SkipNodeUpdate", False),
    )


def parse_deregistration(body: bytes, datacenter: str) -> Deregistration:
    """What a body of /v1/catalog/deregister removes. DecodeError or EntryError if it says nothing."""
    fields = _decode(DEREGISTRATION, body)
    if not fields.get("Node"):
        raise EntryError("Must provide node")
    return Deregistration(
        fields.get("Datacenter") or datacenter,
        fields["Node"],
        fields.get("ServiceID", ""),
        fields.get("CheckID", ""),
    )


def _decode(shape: Shape, body: bytes) -> dict[str, Any]:
    try:
        return shape.decode(parse(body))
    except DecodeError as exc:
        if str(exc) == 'json: unknown field "Namespace"':
            raise DecodeError(f"{exc} - Namespaces are a Consul Enterprise feature") from None
        raise


def _check_id(text: str) -> None:
    if text and len(text) != 36:
        raise EntryError("Bad node ID: uuid string is wrong length")
    if text and not UUID_TEXT.fullmatch(text):
        raise EntryError("Bad node ID: uuid is improperly formatted")


def _service(fields: Fields) -> Service:
    if wants_mesh(fields):
        raise DecodeError(NO_MESH)
    name = fields.get("Service", "")
    service_id = fields.get("ID") or name
    if service_id and not name:
        raise EntryError("Must provide service name (Service.Service) when service ID is provided")
    if fields.get("Address") in UNSPECIFIED:
        raise EntryError("Invalid service address")
    return Service(
        id=service_id,
        service=name,
        tags=fields.get("Tags") or [],
        address=fields.get("Address", ""),
        tagged_addresses=tagged_addresses(fields) or UNSET,
        meta=fields.get("Meta"),
        port=fields.get("Port", 0),
        socket_path=fields.get("SocketPath") or UNSET,
        weights=_weights(fields.get("Weights")),
        enable_tag_override=fields.get("EnableTagOverride", False),
    )


def _weights(fields: Fields | None) -> Weights:
    """Those that are no weights count as none given."""
    passing, warning = (fields or {}).get("Passing", 0), (fields or {}).get("Warning", 0)
    return Weights(passing, warning) if passing > 0 and warning >= 0 else Weights()


def _check(fields: Fields, node: str) -> HealthCheck:
    definition = dict(fields.get("Definition") or {})
    for name in ("Interval", "Timeout", "DeregisterCriticalServiceAfter"):
        if name in definition:
            definition[name] = written(definition[name])
    if "TTL" in definition:
        definition["TTL"] = round(definition["TTL"] * 1e9)
    definition = {name: value for name, value in definition.items() if value and value != "0s"}
    check_id = fields.get("CheckID") or fields.get("Name", "")
    if not check_id:
        text = "failed health check lookup: index error: object is missing a value for this index"
        raise EntryError(f'failed inserting check on node "{node}": {text}')
    if (fields.get("Node") or node).lower() != node.lower():
        text = f"Node '{fields['Node']}' for check '{check_id}' doesn't match register request node '{node}'"
        raise EntryError(text)
    return HealthCheck(
        node=node,
        check_id=check_id,
        name=fields.get("Name", ""),
        status=fields.get("Status") or "critical",
        notes=fields.get("Notes", ""),
        output=fields.get("Output", ""),
        service_id=fields.get("ServiceID", ""),
        type=fields.get("Type") or _kind(fields.get("Definition") or {}),
        interval=fields.get("Interval", ""),
        timeout=fields.get("Timeout", ""),
        exposed_port=fields.get("ExposedPort", 0),
        definition=definition,
    )


def _kind(definition: dict[str, Any]) -> str:
    """The kind of check that a definition makes, as Consul orders them."""
    interval = definition.get("Interval", 0) > 0
    kinds: tuple[tuple[str, object], ...] = (
        ("grpc", interval and definition.get("GRPC")),
        ("http", interval and definition.get("HTTP")),
        ("ttl", definition.get("TTL", 0) > 0),
        ("tcp", interval and definition.get("TCP")),
        ("udp", interval and definition.get("UDP")),
        ("alias", definition.get("AliasNode") or definition.get("AliasService")),
    )
    return next((kind for kind, chosen in kinds if chosen), "")
