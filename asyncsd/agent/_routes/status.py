"""/v1/status: who leads."""

from aiohttp import web

from asyncsd.agent._http._call import Call
from asyncsd.agent._http._routing import Route

__all__ = ["ROUTES"]


async def leader(call: Call) -> web.Response:
    """The address of the leader: this agent."""
    call.check_datacenter(call.query())
    return call.answer(_address(call))


async def peers(call: Call) -> web.Response:
    """The addresses of all servers: this agent."""
    call.check_datacenter(call.query())
    return call.answer([_address(call)])


def _address(call: Call) -> str:
    return f"{call.registry.node.address}:{call.registry.port}"


ROUTES = (Route("/v1/status/leader", ("GET",), leader), Route("/v1/status/peers", ("GET",), peers))
