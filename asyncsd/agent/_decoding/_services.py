"""What a service has in common, whether it is registered with the agent or entered into the catalog."""

from typing import Any, TypeAlias

from asyncsd.agent._state._structs import TaggedAddress

from ._json import Shape, Where, integer, list_of, map_of, string

__all__ = [
    "ADDRESSES",
    "NO_MESH",
    "PAIRS",
    "STRINGS",
    "UNSPECIFIED",
    "WEIGHTS",
    "Fields",
    "anything",
    "tagged_addresses",
    "wants_mesh",
]

Fields: TypeAlias = dict[str, Any]

UNSPECIFIED = ("0.0.0.0", "::", "[::]")  # noqa: S104 - refused, not listened on
"""Addresses that no client could call."""

NO_MESH = "the service mesh (Kind, Proxy, Connect) isn't part of this agent: register with a Consul for that"


def anything(value: Any, _: Where) -> Any:
    """What is there, as it is."""
    return value


STRINGS = list_of(string, "[]string")
PAIRS = map_of(string, "map[string]string")
WEIGHTS = Shape("structs.Weights", {"Passing": integer, "Warning": integer}, struct="Weights", inner="")
ADDRESS = Shape(
    "structs.ServiceAddress", {"Address": string, "Port": integer}, struct="ServiceAddress", inner=""
)
ADDRESSES = map_of(ADDRESS.decode, "map[string]structs.ServiceAddress", empty={})


def wants_mesh(fields: Fields) -> bool:
    """Whether a service is to be part of a service mesh."""
    return bool(fields.get("Kind") or fields.get("Proxy") or fields.get("Connect"))


def tagged_addresses(fields: Fields) -> dict[str, TaggedAddress]:
    """The further addresses of a service, by their tags."""
    return {
        tag: TaggedAddress(address.get("Address", ""), address.get("Port", 0))
        for tag, address in fields.get("TaggedAddresses", {}).items()
    }
