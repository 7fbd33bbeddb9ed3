"""/v1/agent: the services that are registered with this agent, and maintenance."""

from aiohttp import web

from asyncsd.agent._decoding._booleans import boolean
from asyncsd.agent._decoding._registrations import service_of
from asyncsd.agent._filter import AGENT_SERVICE
from asyncsd.agent._http._call import Call
from asyncsd.agent._http._errors import HTTPError
from asyncsd.agent._http._routing import Route
from asyncsd.agent._state._blocking import patience
from asyncsd.agent._state._local import UnknownService
from asyncsd.agent._state._structs import AgentService

from ._agent_common import check_local, decoded, keep_local, runnable
from ._agent_service import agent_service, hashed

__all__ = ["ROUTES"]


async def services(call: Call) -> web.Response:
    """All services, by id."""
    keep = keep_local(call, AGENT_SERVICE)
    local, datacenter = call.registry.local, call.registry.config.datacenter
    every = sorted(local.services.items())
    return call.answer({id: agent_service(one, datacenter) for id, one in every if keep(one)})


async def service(call: Call) -> web.Response:
    """One service; with `hash`, once it says something else than what has this hash, or time is up."""
    wait = call.wait()
    known = call.param("hash")
    found = _hashed(call)
    if known and known == found.content_hash:
        try:
            async with call.clock.timeout(patience(wait, call.rng)):
                while found.content_hash == known:
                    await call.registry.local.waiters.changed((("service", call.rest),))
                    found = _hashed(call)
        except TimeoutError:
            found = _hashed(call)
    return call.answer(found, headers={"X-Consul-ContentHash": str(found.content_hash)})


async def register(call: Call) -> web.Response:
    """Register a service, or change one."""
    check_local(call)
    registration = await decoded(call, service_of)
    runnable(*registration.checks)
    asked = call.flag("replace-existing-checks")
    replace = asked and call.param("replace-existing-checks") in ("", "true")
    call.registry.local.add_service(registration.service, registration.checks, replace_checks=replace)
    return web.Response()


async def deregister(call: Call) -> web.Response:
    """Remove a service."""
    check_local(call)
    try:
        call.registry.local.remove_service(call.rest)
    except UnknownService:
        raise _unknown(call.rest) from None
    return web.Response()


async def service_maintenance(call: Call) -> web.Response:
    """Begin or end the maintenance of a service."""
    check_local(call)
    service_id = call.named("service ID")
    try:
        _maintain(call, service_id)
    except UnknownService:
        raise _unknown(service_id) from None
    return web.Response()


async def node_maintenance(call: Call) -> web.Response:
    """Begin or end the maintenance of the node: of all that stands on it."""
    check_local(call)
    _maintain(call, "")
    return web.Response()


def _maintain(call: Call, service_id: str) -> None:
    if not call.flag("enable"):
        raise HTTPError(400, "Missing value for enable")
    try:
        enable = boolean(call.param("enable"))
    except ValueError:
        raise HTTPError(400, f'Invalid value for enable: "{call.param("enable")}"') from None
    if enable:
        call.registry.local.enter_maintenance(service_id, call.param("reason"))
    else:
        call.registry.local.leave_maintenance(service_id)


def _hashed(call: Call) -> AgentService:
    found = call.registry.local.services.get(call.rest)
    if found is None:
        raise HTTPError(404, f"unknown service ID: {call.rest}")
    return hashed(agent_service(found, call.registry.config.datacenter))


def _unknown(service_id: str) -> HTTPError:
    text = f'Unknown service ID "{service_id}". Ensure that the service ID is passed, not the service name.'
    return HTTPError(404, text)


ROUTES = (
    Route("/v1/agent/maintenance", ("PUT",), node_maintenance),
    Route("/v1/agent/service/", ("GET",), service),
    Route("/v1/agent/service/deregister/", ("PUT",), deregister),
    Route("/v1/agent/service/maintenance/", ("PUT",), service_maintenance),
    Route("/v1/agent/service/register", ("PUT",), register),
    Route("/v1/agent/services", ("GET",), services),
)
