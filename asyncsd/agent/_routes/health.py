"""/v1/health: instances with their checks."""

from aiohttp import web

from asyncsd.agent._call import Call, HTTPError
from asyncsd.agent._routing import Route

__all__ = ["ROUTES"]


async def service(call: Call) -> web.Response:
    """The instances of a service."""
    if not call.rest:
        raise HTTPError(400, "Missing service name")
    found = await call.found(lambda: call.registry.catalog.health(call.rest))
    entries = found.value
    if call.flag("passing"):
        entries = [entry for entry in entries if all(check.status == "passing" for check in entry.checks)]
    return call.answer_found(found, entries)


ROUTES = (Route("/v1/health/service/", ("GET",), service),)
