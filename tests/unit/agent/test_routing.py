"""Routes: each path leads to one endpoint, and the page lists them all."""

import re
from pathlib import Path

import pytest

from asyncsd.agent._http._routing import Router
from asyncsd.agent._routes import ROUTES
from asyncsd.agent._routes.absent import ABSENT

PAGE = Path(__file__).parents[3] / "docs" / "agent-api.md"
ROW = re.compile(r"^\| `(/v1/[^`]*)` \| ([^|]*) \|", re.MULTILINE)


def listed() -> dict[str, str]:
    """The second column of the page's tables of endpoints by the first, without the names at its end."""
    return {path.partition("<")[0]: second for path, second in ROW.findall(PAGE.read_text("utf-8"))}


def test_each_endpoint_is_on_the_page_and_each_on_the_page_is_one() -> None:
    routed = {
        route.path: ", ".join(route.methods)
        for route in ROUTES
        if route.path.startswith("/v1/") and route.path not in ABSENT
    }
    assert {path: second for path, second in listed().items() if path not in ABSENT} == routed


def test_what_is_left_out_is_on_the_page_with_what_it_belongs_to() -> None:
    assert {path: what for path, what in listed().items() if path in ABSENT} == ABSENT


def test_no_path_has_two_endpoints() -> None:
    paths = [route.path for route in ROUTES]
    assert len(paths) == len(set(paths))


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/v1/catalog/service/web", "/v1/catalog/service/"),
        ("/v1/catalog/services", "/v1/catalog/services"),
        ("/v1/agent/service/web", "/v1/agent/service/"),
        ("/v1/agent/service/register", "/v1/agent/service/register"),
        ("/v1/agent/service/registered", "/v1/agent/service/"),
        ("/v1/agent/health/service/id/a/b", "/v1/agent/health/service/id/"),
        ("/v1/kv/a/b", "/v1/kv/"),
        ("/v1/catalog/services/x", None),
        ("/v1/nope", None),
    ],
)
def test_the_longest_path_that_fits_is_taken(path: str, wanted: str | None) -> None:
    route = Router(ROUTES)._find(path)
    assert (route and route.path) == wanted


# What Consul 1.14 has (its agent/http_register.go): "x" stands for a name at the end.
CONSUL = {
    "acl": "policies token/self login",
    "agent": "token/x self host maintenance reload monitor metrics metrics/stream services service/x checks "
    "members join/x leave force-leave/x connect/authorize connect/ca/roots connect/ca/leaf/x",
    "agent/check": "register deregister/x pass/x warn/x fail/x update/x",
    "agent/health/service": "id/x name/x",
    "agent/service": "register deregister/x maintenance/x",
    "catalog": "register deregister datacenters nodes services service/x node/x node-services/x connect/x "
    "gateway-services/x",
    "config": "x",
    "connect": "ca/configuration intentions",
    "coordinate": "datacenters nodes node/x update",
    "discovery-chain": "x",
    "event": "fire/x list",
    "health": "node/x checks/x state/x service/x connect/x ingress/x",
    "internal": "federation-states ui/nodes ui/services acl/authorize",
    "kv": "x",
    "operator": "raft/configuration raft/peer keyring autopilot/health",
    "peering": "token establish x",
    "query": "x",
    "session": "create destroy/x renew/x info/x node/x list",
    "status": "leader peers",
}
WHOLE = ("/v1/config", "/v1/peerings", "/v1/query", "/v1/snapshot", "/v1/txn")
PATHS = [*WHOLE, *(f"/v1/{part}/{name}" for part, names in CONSUL.items() for name in names.split())]


@pytest.mark.parametrize("path", PATHS)
def test_whatever_consul_has_is_answered_or_said_to_be_left_out(path: str) -> None:
    assert Router(ROUTES)._find(path) is not None
