"""Which endpoint a request is for."""

import posixpath
import re
from collections.abc import Awaitable, Callable, Iterable
from html import escape
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote

from aiohttp import web

from asyncsd.agent._filter import FilterError
from asyncsd.agent._registry import Registry

from ._call import Call
from ._errors import HTTPError

__all__ = ["Endpoint", "Route", "Router"]

Endpoint: TypeAlias = Callable[[Call], Awaitable[web.StreamResponse]]

NO_ENDPOINT = "Invalid URL path: not a recognized HTTP API endpoint\n"
NO_API = "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'\n"

BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")


class Route(NamedTuple):
    """An endpoint with its path; one that ends in "/" takes all that begins so, the longest first.

    "/" itself is the root alone, and not whatever nobody else takes. Without methods it takes all of them.
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
        raw = request.rel_url.raw_path
        if "%" in raw and BAD_ESCAPE.search(raw):
            return web.Response(status=400, text="400 Bad Request")
        if (moved := self._moved(raw)) is not None:
            return _redirect(request, moved)
        path = unquote(raw, errors="replace")
        if not path.isprintable():
            return web.Response(status=400)
        route = self._find(path)
        if route is None:
            return web.Response(status=404, text=NO_ENDPOINT if "/v1/" in path else NO_API)
        answer = await self._answer(route, Call(request, path.removeprefix(route.path), registry))
        if path.startswith("/v1/") and not answer.prepared:
            answer.headers["Vary"] = "Accept-Encoding"
            policy = "deny" if registry.config.token is not None else "allow"
            answer.headers["X-Consul-Default-ACL-Policy"] = policy
        return answer

    async def _answer(self, route: Route, call: Call) -> web.StreamResponse:
        request = call.request
        query = request.rel_url.raw_query_string
        if ";" in query or ("%" in query and BAD_ESCAPE.search(query)):
            return web.Response(status=500)  # Go's parser of queries takes neither
        allowed = {"Allow": ",".join(("OPTIONS", *route.methods))}
        if request.method == "OPTIONS" and route.methods:
            return web.Response(headers=allowed)
        try:
            if route.methods and request.method not in route.methods:
                raise HTTPError(405, f"method {request.method} not allowed", allowed)
            return await route.endpoint(call)
        except HTTPError as exc:
            return web.Response(status=exc.status, text=exc.text, headers=exc.headers)
        except FilterError as exc:  # too much work
            return web.Response(status=400, text=str(exc))

    def _moved(self, path: str) -> str | None:
        """Where a path is sent that isn't clean ("//", "..") or lacks the "/" at its end."""
        clean = path
        if "//" in path or "/." in path:
            clean = posixpath.normpath("/" + path.lstrip("/"))
            clean += "/" if path.endswith("/") and clean != "/" else ""
        if clean not in self._exact and f"{clean}/" in self._exact:
            clean += "/"
        return clean if clean != path else None

    def _find(self, path: str) -> Route | None:
        if path in self._exact:
            return self._exact[path]
        for prefix in self._prefixes:
            if path.startswith(prefix):
                return self._exact[prefix]
        return None


def _redirect(request: web.BaseRequest, path: str) -> web.Response:
    """As Go answers since its version 1.22; before, it said 301."""
    query = request.rel_url.raw_query_string
    location = f"{path}?{query}" if query else path
    headers = {"Location": location}
    if request.method not in ("GET", "HEAD"):
        return web.Response(status=307, headers=headers)
    text = f'<a href="{escape(location)}">Temporary Redirect</a>.\n\n'
    return web.Response(status=307, text=text, content_type="text/html", headers=headers)
