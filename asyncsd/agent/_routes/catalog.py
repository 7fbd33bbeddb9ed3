"""/v1/catalog: nodes and services."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from asyncsd.agent._decoding._entries import (
    Deregistration,
    EntryError,
    Registration,
    parse_deregistration,
    parse_registration,
)
from asyncsd.agent._decoding._json import DecodeError
from asyncsd.agent._filter import NODE, NODE_SERVICE, SERVICE_NODE
from asyncsd.agent._http._call import CACHED, Call
from asyncsd.agent._http._errors import HTTPError
from asyncsd.agent._http._routing import Route
from asyncsd.agent._state._catalog import Catalog
from asyncsd.agent._state._found import Found
from asyncsd.agent._state._structs import Node, Service, TaggedAddress, Weights

from ._selection import chosen, has_tags, near_first

__all__ = ["ROUTES"]

E = TypeVar("E", Registration, Deregistration)


class ServiceNode(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """An instance of a service with its node, in one."""

    id: str = msgspec.field(name="ID")
    node: str
    address: str
    datacenter: str
    tagged_addresses: dict[str, str] | None
    node_meta: dict[str, str] | None
    service_kind: str = ""
    service_id: str = msgspec.field(name="ServiceID")
    service_name: str
    service_tags: list[str]
    service_address: str
    service_tagged_addresses: dict[str, TaggedAddress] | UnsetType
    service_weights: Weights
    service_meta: dict[str, str]
    service_port: int
    service_socket_path: str
    service_enable_tag_override: bool
    service_proxy: dict[str, Any]
    service_connect: dict[str, Any]
    create_index: int
    modify_index: int


async def services(call: Call) -> web.Response:
    """The names of all services with their tags."""
    query = call.query()
    keep = call.keep(query, SERVICE_NODE)
    catalog = call.registry.catalog
    found = await call.found(catalog.names, query)
    names = found.value
    if query.filter or query.node_meta:
        names = {}
        for name in found.value:
            pairs = [p for p in catalog.service(name).value if query.has_meta(p[0].meta) and keep(p)]
            if pairs:
                names[name] = sorted({tag for _, service in pairs for tag in service.tags})
    return call.answer_found(found, names, query, cache=True)


async def service(call: Call) -> web.Response:
    """The instances of a service."""
    query = call.query()
    name = call.named("service name")
    keep = call.keep(query, SERVICE_NODE)
    catalog = call.registry.catalog
    found = await call.found(lambda: catalog.service(name), query)
    tags = call.params("tag")
    pairs = chosen(
        found.value,
        (lambda pair: has_tags(pair[1], tags)) if tags else None,
        (lambda pair: query.has_meta(pair[0].meta)) if query.node_meta else None,
        keep if query.filter else None,
    )
    pairs = near_first(call, query, pairs, lambda pair: pair[0].node)
    return call.answer_found(found, [_flat(*pair) for pair in pairs], query, cache=True)


async def nodes(call: Call) -> web.Response:
    """All nodes."""
    query = call.query()
    keep = call.keep(query, NODE)
    found = await call.found(call.registry.catalog.nodes, query)
    chosen = [node for node in found.value if query.has_meta(node.meta) and keep(node)]
    return call.answer_found(found, near_first(call, query, chosen, lambda node: node.node), query)


async def node(call: Call) -> web.Response:
    """A node with its services by their ids, or null."""
    query = call.query()
    name = call.named("node name")
    keep = call.keep(query, NODE_SERVICE)
    found = await call.found(lambda: _node_of(call.registry.catalog, name), query)
    if found.value is None:
        return call.answer_found(found, None, query)
    node, services = found.value
    by_id = {service.id: service for service in services if keep(service)}
    return call.answer_found(found, {"Node": node, "Services": by_id}, query)


async def node_services(call: Call) -> web.Response:
    """A node with the list of its services."""
    query = call.query()
    name = call.named("node name")
    keep = call.keep(query, NODE_SERVICE)
    found = await call.found(lambda: _node_of(call.registry.catalog, name), query)
    node, services = found.value or (None, None)
    chosen = None if services is None else [service for service in services if keep(service)]
    return call.answer_found(found, {"Node": node, "Services": chosen}, query)


async def datacenters(call: Call) -> web.Response:
    """The datacenters that there are: this one."""
    headers = CACHED if call.flag("cached") else None
    return call.answer([call.registry.config.datacenter], headers=headers)


async def register(call: Call) -> web.Response:
    """Enter a node, and a service and checks on it."""
    entry = await _entry(call, parse_registration)
    catalog = call.registry.catalog
    standing = catalog.node(entry.node.node).value if entry.keep_node else None
    node = entry.node if standing is None else standing[0]
    known = catalog.services_on(node.node)
    entered = {service.id for service in entry.services}
    for check in entry.checks:
        if check.service_id and check.service_id not in entered and check.service_id not in known:
            text = f"Unknown service ID '{check.service_id}' for check ID '{check.check_id}'"
            raise HTTPError(500, text)
    catalog.register(node, entry.services, entry.checks)
    return call.answer(True)


async def deregister(call: Call) -> web.Response:
    """Remove a service with its checks, or a check, or a node with all that it has."""
    entry = await _entry(call, parse_deregistration)
    call.registry.catalog.deregister(
        entry.node, service_id=entry.service_id or None, check_id=entry.check_id or None
    )
    return call.answer(True)


def _node_of(catalog: Catalog, name: str) -> Found[tuple[Node, list[Service]] | None]:
    """The node of this name, or with an id that begins so, if there is one such."""
    found = catalog.node(name)
    if found.value is None:
        same = [node.node for node in catalog.nodes().value if node.id.startswith(name)]
        if len(same) == 1:
            return catalog.node(same[0])
    return found


async def _entry(call: Call, make: Callable[[bytes, str], E]) -> E:
    """What `make` makes of the body. HTTPError if it can't, and for another datacenter."""
    here = call.registry.config.datacenter
    try:
        entry = make(await call.request.read(), here)
    except DecodeError as exc:
        raise HTTPError(400, f"Request decode failed: {exc}") from None
    except EntryError as exc:
        raise HTTPError(500, str(exc)) from None
    if entry.datacenter != here:
        raise HTTPError(500, "No path to datacenter")
    return entry


def _flat(node: Node, service: Service) -> ServiceNode:
    return ServiceNode(
        id=node.id,
        node=node.node,
        address=node.address,
        datacenter=node.datacenter,
        tagged_addresses=node.tagged_addresses,
        node_meta=node.meta,
        service_id=service.id,
        service_name=service.service,
        service_tags=service.tags,
        service_address=service.address,
        service_tagged_addresses=service.tagged_addresses,
        service_weights=service.weights,
        service_meta=service.meta or {},
        service_port=service.port,
        service_socket_path="" if service.socket_path is UNSET else service.socket_path,
        service_enable_tag_override=service.enable_tag_override,
        service_proxy=service.proxy,
        service_connect=service.connect,
        create_index=service.create_index,
        modify_index=service.modify_index,
    )


ROUTES = (
    Route("/v1/catalog/register", ("PUT",), register),
    Route("/v1/catalog/deregister", ("PUT",), deregister),
    Route("/v1/catalog/services", ("GET",), services),
    Route("/v1/catalog/service/", ("GET",), service),
    Route("/v1/catalog/nodes", ("GET",), nodes),
    Route("/v1/catalog/node/", ("GET",), node),
    Route("/v1/catalog/node-services/", ("GET",), node_services),
    Route("/v1/catalog/datacenters", ("GET",), datacenters),
)
