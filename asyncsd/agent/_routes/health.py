"""/v1/health: instances with their checks."""

from collections.abc import Callable

from aiohttp import web

from asyncsd.agent._decoding._booleans import boolean
from asyncsd.agent._filter import CHECK_SERVICE_NODE, HEALTH_CHECK
from asyncsd.agent._http._call import Call, found_headers
from asyncsd.agent._http._errors import HTTPError
from asyncsd.agent._http._query import Query
from asyncsd.agent._http._routing import Route
from asyncsd.agent._state._found import Found
from asyncsd.agent._state._structs import HealthCheck, HealthEntry

from ._selection import chosen, has_tags, near_first

__all__ = ["ROUTES"]


async def service(call: Call) -> web.Response:
    """The instances of a service."""
    query = call.query()
    name = call.named("service name")
    keep = call.keep(query, CHECK_SERVICE_NODE, {})
    found = await call.found(lambda: call.registry.catalog.health(name), query)
    # Consul's agent answers from its own view of the service, which a stream keeps, where it has one.
    streaming = (
        (query.cached or query.wait.index > 0) and not query.near and not call.flag("merge-central-config")
    )
    only_passing = _only_passing(call, found_headers(found, query, streaming=streaming))
    tags, peer = call.params("tag"), call.param("peer")

    def choose() -> list[HealthEntry]:
        entries = chosen(
            found.value,
            (lambda entry: has_tags(entry.service, tags)) if tags else None,
            (lambda entry: query.has_meta(entry.node.meta)) if query.node_meta else None,
            _is_passing if only_passing else None,
            (lambda _: False) if peer else None,  # nothing is imported from one
            keep if query.filter else None,
        )
        return near_first(call, query, entries, lambda entry: entry.node.node)

    asked = (*tags, None, *query.node_meta.items(), only_passing, peer, query.filter, query.near)
    return call.answer_found(found, found.answer(asked, choose), query, cache=True, streaming=streaming)


async def node(call: Call) -> web.Response:
    """All checks that stand on a node."""
    query = call.query()
    name = call.named("node name")
    return await _checks(call, query, lambda: call.registry.catalog.checks_of_node(name))


async def checks(call: Call) -> web.Response:
    """The checks of a service."""
    query = call.query()
    name = call.named("service name")
    return await _checks(call, query, lambda: call.registry.catalog.checks_of_service(name))


async def state(call: Call) -> web.Response:
    """The checks in a state, or in any."""
    query = call.query()
    wanted = call.named("check state")
    return await _checks(
        call,
        query,
        lambda: call.registry.catalog.checks(),
        lambda check: wanted == "any" or wanted.lower() == check.status,
    )


async def _checks(
    call: Call,
    query: Query,
    read: Callable[[], Found[list[HealthCheck]]],
    wanted: Callable[[HealthCheck], bool] = lambda _: True,
) -> web.Response:
    keep = call.keep(query, HEALTH_CHECK)
    found = await call.found(read, query)
    chosen = [check for check in found.value if wanted(check) and keep(check)]
    if query.node_meta:
        chosen = [check for check in chosen if query.has_meta(_meta(call, check.node))]
    return call.answer_found(found, near_first(call, query, chosen, lambda check: check.node), query)


def _meta(call: Call, node: str) -> dict[str, str] | None:
    found = call.registry.catalog.node(node).value
    return found[0].meta if found else None


def _is_passing(entry: HealthEntry) -> bool:
    return all(check.status == "passing" for check in entry.checks)


def _only_passing(call: Call, headers: dict[str, str]) -> bool:
    value = call.param("passing")
    if not call.flag("passing"):
        return False
    try:
        return not value or boolean(value)
    except ValueError:
        raise HTTPError(400, "Invalid value for ?passing", headers) from None


ROUTES = (
    Route("/v1/health/service/", ("GET",), service),
    Route("/v1/health/node/", ("GET",), node),
    Route("/v1/health/checks/", ("GET",), checks),
    Route("/v1/health/state/", ("GET",), state),
)
