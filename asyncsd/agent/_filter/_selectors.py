"""The selectors that Consul knows for each kind of result."""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final

from msgspec import UNSET

from ._kinds import BOOL, INT, TEXT, TEXTS, Field, Items, Kind, Map, Record

__all__ = ["AGENT_SERVICE", "CHECK_SERVICE_NODE", "HEALTH_CHECK", "NODE", "NODE_SERVICE", "SERVICE_NODE"]


def _of(name: str) -> Callable[[Any], Any]:
    """The attribute; None where it is unset."""
    get = attrgetter(name)

    def value(record: Any) -> Any:
        found = get(record)
        return None if found is UNSET else found

    return value


def _always(value: object) -> Callable[[Any], Any]:
    return lambda _: value


def _texts(*names: str) -> dict[str, Field]:
    """What is always empty here: it speaks of the service mesh, or of what only Consul Enterprise has."""
    return {name: Field(TEXT, _always("")) for name in names}


def _through(get: Callable[[Any], Any], fields: Mapping[str, Field], prefix: str = "") -> dict[str, Field]:
    """The fields of a part, as fields of the whole."""

    def via(field: Field) -> Field:
        return Field(field.kind, lambda whole: field.get(get(whole)))

    return {prefix + name: via(field) for name, field in fields.items()}


NO_PORT = Field(INT, _always(0))
NO_FLAG = Field(BOOL, _always(False))
GATEWAY = Record(_texts("Mode"))
PATHS = Items(
    _texts("Path", "Protocol")
    | {"ListenerPort": NO_PORT, "LocalPathPort": NO_PORT, "ParsedFromCheck": NO_FLAG}
)
UPSTREAMS = Items(
    _texts(
        *("DestinationType", "DestinationNamespace", "DestinationPartition", "DestinationPeer"),
        *("DestinationName", "Datacenter", "LocalBindAddress", "LocalBindSocketPath", "LocalBindSocketMode"),
    )
    | {"LocalBindPort": NO_PORT, "MeshGateway": Field(GATEWAY, _always(None))}
)
PROXY: Final[Kind] = Record(
    _texts(
        *("DestinationServiceName", "DestinationServiceID", "LocalServiceAddress", "LocalServiceSocketPath"),
        "Mode",
    )
    | {
        "LocalServicePort": NO_PORT,
        "Upstreams": Field(UPSTREAMS, _always(())),
        "MeshGateway": Field(GATEWAY, _always(None)),
        "Expose": Field(
            Record({"Checks": NO_FLAG, "Paths": Field(PATHS, _always(()))}),
            _always(None),
        ),
        "TransparentProxy": Field(
            Record({"OutboundListenerPort": NO_PORT, "DialedDirectly": NO_FLAG}), _always(None)
        ),
    }
)
CONNECT: Final[Kind] = Record({"Native": NO_FLAG})
WEIGHTS: Final[Kind] = Record({"Passing": Field(INT, _of("passing")), "Warning": Field(INT, _of("warning"))})
ADDRESSES: Final[Kind] = Map(
    Record({"Address": Field(TEXT, _of("address")), "Port": Field(INT, _of("port"))})
)

NODE: Final = Record(
    {
        "ID": Field(TEXT, _of("id")),
        "Node": Field(TEXT, _of("node")),
        "Address": Field(TEXT, _of("address")),
        "Datacenter": Field(TEXT, _of("datacenter")),
        "TaggedAddresses": Field(Map(TEXT), _of("tagged_addresses")),
        "Meta": Field(Map(TEXT), _of("meta")),
        **_texts("Partition", "PeerName"),
    }
)
"""A node, as in /v1/catalog/nodes."""

_SERVICE = {
    "ID": Field(TEXT, _of("id")),
    "Tags": Field(TEXTS, _of("tags")),
    "Address": Field(TEXT, _of("address")),
    "TaggedAddresses": Field(ADDRESSES, _of("tagged_addresses")),
    "Meta": Field(Map(TEXT), _of("meta")),
    "Port": Field(INT, _of("port")),
    "SocketPath": Field(TEXT, lambda service: _of("socket_path")(service) or ""),
    "Weights": Field(WEIGHTS, _of("weights")),
    "EnableTagOverride": Field(BOOL, _of("enable_tag_override")),
    "Proxy": Field(PROXY, _always(None)),
}

NODE_SERVICE: Final = Record(
    {
        **_SERVICE,
        "Service": Field(TEXT, _of("service")),
        "Connect": Field(CONNECT, _always(None)),
        **_texts("Kind", "PeerName"),
    }
)
"""A service, as in /v1/catalog/node and /v1/agent/services."""

AGENT_SERVICE: Final = NODE_SERVICE

SERVICE_NODE: Final = Record(
    {
        **_through(
            lambda pair: pair[0],
            {name: NODE.fields[name] for name in ("ID", "Node", "Address", "Datacenter", "TaggedAddresses")},
        ),
        **_through(lambda pair: pair[0], {"NodeMeta": NODE.fields["Meta"]}),
        **_through(lambda pair: pair[1], _SERVICE, "Service"),
        **_through(lambda pair: pair[1], {"ServiceName": Field(TEXT, _of("service"))}),
        "ServiceConnect": Field(CONNECT, _always(None)),
        **_texts("ServiceKind", "PeerName"),
    }
)
"""A pair of a node and a service, as in /v1/catalog/service and /v1/catalog/services."""

HEALTH_CHECK: Final = Record(
    {
        "Node": Field(TEXT, _of("node")),
        "CheckID": Field(TEXT, _of("check_id")),
        "Name": Field(TEXT, _of("name")),
        "Status": Field(TEXT, _of("status")),
        "Notes": Field(TEXT, _of("notes")),
        "Output": Field(TEXT, _of("output")),
        "ServiceID": Field(TEXT, _of("service_id")),
        "ServiceName": Field(TEXT, _of("service_name")),
        "ServiceTags": Field(TEXTS, _of("service_tags")),
        "Type": Field(TEXT, _of("type")),
        "Interval": Field(TEXT, _of("interval")),
        "Timeout": Field(TEXT, _of("timeout")),
        "ExposedPort": Field(INT, _of("exposed_port")),
        **_texts("PeerName"),
    }
)
"""A check, as in /v1/health/checks and /v1/agent/checks."""

CHECK_SERVICE_NODE: Final = Record(
    {
        "Node": Field(NODE, _of("node")),
        "Service": Field(NODE_SERVICE, _of("service")),
        "Checks": Field(Items(HEALTH_CHECK.fields), _of("checks")),
    }
)
"""An instance with its node and checks, as in /v1/health/service."""
