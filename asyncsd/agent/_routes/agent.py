"""/v1/agent: what is registered with this agent."""

from aiohttp import web

from asyncsd.agent._call import Call, HTTPError, seconds
from asyncsd.agent._definitions import CheckDefinition
from asyncsd.agent._local import UnknownService
from asyncsd.agent._routing import Route
from asyncsd.agent._structs import Service

__all__ = ["ROUTES"]


async def register(call: Call) -> web.Response:
    """Register a service."""
    body = await call.body()
    if not body.get("Name"):
        raise HTTPError(400, "Missing service name")
    service_id = body.get("ID") or body["Name"]
    checks = [
        CheckDefinition(
            check_id=check.get("CheckID") or f"service:{service_id}",
            name=check.get("Name") or f"Service '{body['Name']}' check",
            status=check.get("Status") or "critical",
            service_id=service_id,
            ttl=seconds(check.get("TTL") or "0"),
        )
        for check in ([body["Check"]] if body.get("Check") else [])
    ]
    service = Service(
        id=service_id,
        service=body["Name"],
        tags=body.get("Tags") or [],
        address=body.get("Address") or "",
        port=body.get("Port") or 0,
        meta=body.get("Meta") or {},
    )
    call.registry.local.add_service(service, checks)
    return web.Response()


async def deregister(call: Call) -> web.Response:
    """Remove a service."""
    try:
        call.registry.local.remove_service(call.rest)
    except UnknownService:
        text = (
            f'Unknown service ID "{call.rest}". Ensure that the service ID is passed, not the service name.'
        )
        raise HTTPError(404, text) from None
    return web.Response()


ROUTES = (
    Route("/v1/agent/service/register", ("PUT",), register),
    Route("/v1/agent/service/deregister/", ("PUT",), deregister),
)
