"""Which endpoint a request is for."""

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, TypeAlias

from aiohttp import web

from ._call import Call, HTTPError
from ._registry import Registry

__all__ = ["Endpoint", "Route", "Router"]

Endpoint: TypeAlias = Callable[[Call], Awaitable[web.StreamResponse]]

HEADERS = {"Vary": "Accept-Encoding", "X-Consul-Default-ACL-Policy": "allow"}
"""What Consul sends with the answer of any endpoint."""

NO_ENDPOINT = "Invalid URL path: not a recognized HTTP API endpoint\n"
NO_API = "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'\n"


class Route(NamedTuple):
    """An endpoint with its path; one that ends in "/" takes all that begins so, the longest first.

    "/" itself is the root alone, and not whatever nobody else takes.
    """

    path: str
    methods: tuple[str, ...]
    endpoint: Endpoint


class Router:
    """Finds the endpoint of a path as Go's mux does, and answers for those that there aren't."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._exact = {route.path: route for route in routes}
        self._prefixes = sorted(
            (p for p in self._exact if p.endswith("/") and p != "/"), key=len, reverse=True
        )

    async def answer(self, request: web.BaseRequest, registry: Registry) -> web.StreamResponse:
        """The endpoint's answer, a refusal too."""
        path = request.rel_url.path
        route = self._find(path)
        if route is None:
            return web.Response(status=404, text=NO_ENDPOINT if "/v1/" in path else NO_API)
        try:
            answer = await self._call(route, Call(request, path.removeprefix(route.path), registry))
        except HTTPError as exc:
            answer = web.Response(status=exc.status, text=exc.text, headers=exc.headers)
        if not answer.prepared:
            answer.headers.update(HEADERS)
        return answer

    async def _call(self, route: Route, call: Call) -> web.StreamResponse:
        allowed = ",".join(("OPTIONS", *route.methods))
        if call.request.method == "OPTIONS":
            return web.Response(headers={"Allow": allowed})
        if call.request.method not in route.methods:
            raise HTTPError(405, f"method {call.request.method} not allowed", {"Allow": allowed})
        return await route.endpoint(call)

    def _find(self, path: str) -> Route | None:
        if path in self._exact:
            return self._exact[path]
        for prefix in self._prefixes:
            if path.startswith(prefix):
                return self._exact[prefix]
        return None
