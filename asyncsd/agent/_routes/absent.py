"""What of Consul's API this agent leaves out, and says so."""

from aiohttp import web

from asyncsd.agent._http._call import Call
from asyncsd.agent._http._errors import HTTPError
from asyncsd.agent._http._routing import Route

__all__ = ["ABSENT", "ROUTES"]

ABSENT = {
    "/v1/acl/": "the ACL API",
    "/v1/agent/connect/": "Connect",
    "/v1/agent/force-leave/": "the gossip between agents",
    "/v1/agent/host": "what Consul tells of its machine",
    "/v1/agent/join/": "the gossip between agents",
    "/v1/agent/leave": "the gossip between agents",
    "/v1/agent/metrics": "Consul's own metrics",
    "/v1/agent/metrics/stream": "Consul's own metrics",
    "/v1/agent/monitor": "the stream of Consul's log",
    "/v1/agent/reload": "the reloading of a configuration",
    "/v1/agent/token/": "the ACL API",
    "/v1/catalog/connect/": "Connect",
    "/v1/catalog/gateway-services/": "Connect",
    "/v1/config": "configuration entries",
    "/v1/config/": "configuration entries",
    "/v1/connect/": "Connect",
    "/v1/coordinate/": "network coordinates",
    "/v1/discovery-chain/": "Connect",
    "/v1/event/": "events",
    "/v1/health/connect/": "Connect",
    "/v1/health/ingress/": "Connect",
    "/v1/internal/": "the API of Consul's own page",
    "/v1/kv/": "the key/value store",
    "/v1/operator/": "the operator's API",
    "/v1/peering/": "peering",
    "/v1/peerings": "peering",
    "/v1/query": "prepared queries",
    "/v1/query/": "prepared queries",
    "/v1/session/": "sessions",
    "/v1/snapshot": "snapshots",
    "/v1/txn": "transactions",
}
"""The paths, each with what it belongs to."""


def _absent(path: str, what: str) -> Route:
    text = (
        f"asyncsd's agent leaves out {what}: it is a registry for development and tests. "
        'For this, run Consul itself: "consul agent -dev", or a cluster.\n'
    )

    async def answer(call: Call) -> web.Response:
        await call.request.read()
        raise HTTPError(404, text)

    return Route(path, (), answer)


ROUTES = tuple(_absent(path, what) for path, what in ABSENT.items())
