"""/v1/catalog: nodes and services."""

from aiohttp import web

from asyncsd.agent._call import Call
from asyncsd.agent._routing import Route

__all__ = ["ROUTES"]


async def services(call: Call) -> web.Response:
    """The names of all services with their tags."""
    found = await call.found(call.registry.catalog.names)
    return call.answer_found(found, found.value)


ROUTES = (Route("/v1/catalog/services", ("GET",), services),)
