"""Access control in its simple form: a token for everything, another one for reading.

What a caller may not do is refused, or left out of what it reads, as Consul with the default policy "deny"
does with a token for management, one with the policy "read" on all nodes, services and agents, and none.
"""

import hmac
from typing import Any, NamedTuple, cast

import msgspec
from aiohttp import web

from ._call import Call
from ._errors import HTTPError
from ._routing import Endpoint, Route

__all__ = ["Tokens"]


class Caller(NamedTuple):
    """Who asks: by the id that errors name, which is no secret."""

    accessor: str
    may_read: bool = False
    may_write: bool = False

    def refusal(self, right: str, name: str | None) -> HTTPError:
        """What Consul answers to one who lacks `right` ("service:write") on what has this name."""
        on = "" if name is None else f' on "{name}"'
        text = f"Permission denied: token with AccessorID '{self.accessor}' lacks permission '{right}'{on}"
        return HTTPError(403, text)


ANONYMOUS = Caller("00000000-0000-0000-0000-000000000002")  # Consul's own
READER = Caller("00000000-0000-0000-0000-00000000000a", may_read=True)
MANAGER = Caller("00000000-0000-0000-0000-00000000000b", may_read=True, may_write=True)

OPEN = ("/v1/status/leader", "/v1/status/peers", "/v1/catalog/datacenters")
"""What anybody may read, with any token: these don't look at it."""

ONE_SERVICE = ("/v1/agent/service/", "/v1/agent/health/service/id/")
"""What is read of a service by its id."""

BY_CHECK = tuple(f"/v1/agent/check/{what}/" for what in ("deregister", "pass", "warn", "fail", "update"))
BY_SERVICE = tuple(f"/v1/agent/service/{what}/" for what in ("deregister", "maintenance"))


class Tokens:
    """Lets each caller do what its token allows."""

    def __init__(self, token: str, read_token: str | None = None) -> None:
        self._callers = [(token.encode(), MANAGER)]
        if read_token is not None:
            self._callers.append((read_token.encode(), READER))

    def __repr__(self) -> str:
        return f"Tokens({len(self._callers)})"

    def guard(self, route: Route) -> Route:
        """`route`, for those alone who may take it."""
        is_open = route.path in OPEN or not route.methods
        if is_open or not (route.path.startswith("/v1/") or route.path == "/ui/events"):
            return route
        return route._replace(endpoint=self._guarded(route.path, route.endpoint))

    def _guarded(self, path: str, endpoint: Endpoint) -> Endpoint:
        async def guarded(call: Call) -> web.StreamResponse:
            caller = self._caller(call.request)
            if caller.may_write:
                return await endpoint(call)
            needed: _Right | None
            if call.request.method not in ("GET", "HEAD"):
                needed = await _needed_to_write(path, call)
            elif caller.may_read:
                return await endpoint(call)
            else:
                needed = _needed_to_read(path, call)
                if needed is None:
                    return _emptied(path, call, await endpoint(call))
            if needed is _NOT_THERE:
                return await endpoint(call)
            raise caller.refusal(*needed)

        return guarded

    def _caller(self, request: web.BaseRequest) -> Caller:
        """Who brings this token. HTTPError for one that nobody has."""
        given = _token(request)
        if given in ("", "anonymous"):
            return ANONYMOUS
        known = [
            caller
            for token, caller in self._callers
            if hmac.compare_digest(token, given.encode("utf-8", "surrogateescape"))
        ]
        if not known:
            raise HTTPError(403, "ACL not found")
        return known[0]


def _token(request: web.BaseRequest) -> str:
    """The token that a request brings, "" for none: in the URL first, then as Consul looks for it."""
    kind, _, bearer = request.headers.get("Authorization", "").partition(" ")
    return (
        request.query.get("token", "")
        or request.headers.get("X-Consul-Token", "")
        or (bearer.strip() if kind.lower() == "bearer" else "")
    )


class _Right(NamedTuple):
    right: str
    name: str | None = None


_NOT_THERE = _Right("")
"""What is asked for isn't there, which anybody may be told: the endpoint does, and changes nothing."""


def _service(call: Call, service_id: str, right: str) -> _Right:
    service = call.registry.local.services.get(service_id)
    return _Right(right, service.service) if service is not None else _NOT_THERE


def _check(call: Call, check_id: str) -> _Right:
    check = call.registry.local.checks.get(check_id)
    if check is None:
        return _NOT_THERE
    return _service_or_node(call, check.state.service_id)


def _service_or_node(call: Call, service_id: str) -> _Right:
    if service_id:
        return _service(call, service_id, "service:write")
    return _Right("node:write", call.registry.node.node)


async def _needed_to_write(path: str, call: Call) -> _Right:
    if path in BY_SERVICE:
        return _service(call, call.rest, "service:write")
    if path in BY_CHECK:
        return _check(call, call.rest)
    if path == "/v1/agent/maintenance":
        return _Right("node:write", call.registry.node.node)
    fields = _fields(await call.body())
    if path == "/v1/agent/service/register":
        return _Right("service:write", _text(fields, "name"))
    if path == "/v1/agent/check/register":
        service_id = _text(fields, "serviceid") or _text(fields, "service_id")
        needed = _service_or_node(call, service_id)
        if needed is _NOT_THERE:
            raise HTTPError(404, f'ServiceID "{service_id}" does not exist')
        return needed
    return _needed_in_catalog(call, fields)


def _needed_in_catalog(call: Call, fields: dict[str, Any]) -> _Right:
    """For /v1/catalog/register and deregister."""
    node = _text(fields, "node")
    found = call.registry.catalog.node(node).value
    names = {service.id: service.service for service in found[1]} if found else {}
    if service := _fields(fields.get("service")):
        return _Right("service:write", _text(service, "service"))
    service_id = _text(fields, "serviceid")
    for check in call.registry.catalog.checks_of_node(node).value:
        if check.check_id == _text(fields, "checkid"):
            service_id = check.service_id
    return _Right("service:write", names[service_id]) if service_id in names else _Right("node:write", node)


def _fields(body: Any) -> dict[str, Any]:
    """The fields of a JSON object, by their names in lower case: Consul's decoder takes any."""
    if not isinstance(body, dict):
        return {}
    return {name.lower(): value for name, value in cast(dict[str, Any], body).items()}


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _needed_to_read(path: str, call: Call) -> _Right | None:
    """What is refused to one who may not read; None for what is only emptied."""
    if path in ("/v1/agent/self", "/v1/agent/metrics"):
        return _Right("agent:read", call.registry.node.node)
    if path in ONE_SERVICE:
        return _service(call, call.rest, "service:read")
    if path == "/v1/agent/health/service/name/":
        return _Right("service:read", call.rest)
    if path == "/ui/events":
        return _Right("service:read")
    return None


def _emptied(path: str, call: Call, answer: web.StreamResponse) -> web.StreamResponse:
    """An answer without the nodes, services and checks in it."""
    if answer.status != 200 or not isinstance(answer, web.Response) or not isinstance(answer.body, bytes):
        return answer
    held = msgspec.json.decode(answer.body or b"null")
    if path == "/v1/catalog/node/":
        empty: object = None
    elif path == "/v1/catalog/node-services/":
        empty = {"Node": None, "Services": None}
    else:
        empty = [] if isinstance(held, list) else {}
    answer.body = call.answer(empty).body
    # Consul tells this only to who has brought a token, be it the anonymous one.
    if held != empty and _token(call.request):
        answer.headers["X-Consul-Results-Filtered-By-ACLs"] = "true"
    return answer
