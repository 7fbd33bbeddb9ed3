"""/v1/agent/health/service: how the services of this agent are, by the status code alone."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from aiohttp import web

from asyncsd.agent._http._call import Call
from asyncsd.agent._http._errors import HTTPError
from asyncsd.agent._http._routing import Route
from asyncsd.agent._state._structs import HealthCheck, Service, Status

from ._agent_common import check_local
from ._agent_service import agent_service

__all__ = ["ROUTES"]

RANKS: tuple[Status, ...] = ("passing", "warning", "critical", "maintenance")
"""From good to bad."""

CODES: dict[Status, int] = {"passing": 200, "warning": 429, "critical": 503, "maintenance": 503}

DEFINITION: dict[str, Any] = {
    "Interval": "0s",
    "Timeout": "0s",
    "DeregisterCriticalServiceAfter": "0s",
    "HTTP": "",
    "Header": None,
    "Method": "",
    "Body": "",
    "TLSServerName": "",
    "TLSSkipVerify": False,
    "TCP": "",
    "UDP": "",
    "GRPC": "",
    "OSService": "",
    "GRPCUseTLS": False,
}
"""Consul fills in none of it here."""


class Health(NamedTuple):
    """How a service is, and what is said of it."""

    status: Status
    said: dict[str, Any]


async def by_id(call: Call) -> web.Response:
    """One service."""
    check_local(call)
    if not call.rest:
        raise HTTPError(500, "Missing serviceID")
    service = call.registry.local.services.get(call.rest)
    if service is None:
        nobody = {"AggregatedStatus": "critical", "Service": None, "Checks": None}
        return _answer(call, 404, f"ServiceId {call.rest} not found", nobody)
    health = _health(call, service)
    return _answer(call, CODES[health.status], health.status, health.said)


async def by_name(call: Call) -> web.Response:
    """All services of a name: as the worst of them is."""
    check_local(call)
    if not call.rest:
        raise HTTPError(500, "Missing service Name")
    every = [_health(call, service) for service in call.registry.local.named(call.rest)]
    if not every:
        return _answer(call, 404, f"ServiceName {call.rest} Not Found", [])
    worst = _worst(health.status for health in every)
    return _answer(call, CODES[worst], worst, [health.said for health in every])


def _health(call: Call, service: Service) -> Health:
    checks = call.registry.local.checks_of(service.id)
    status = _worst("maintenance" if check.type == "maintenance" else check.status for check in checks)
    said = {
        "AggregatedStatus": status,
        "Service": agent_service(service, call.registry.config.datacenter),
        "Checks": [_said(check) for check in checks],
    }
    return Health(status, said)


def _worst(statuses: Iterable[Status]) -> Status:
    worst: Status = "passing"
    for status in statuses:
        if RANKS.index(status) > RANKS.index(worst):
            worst = status
    return worst


def _said(check: HealthCheck) -> dict[str, Any]:
    return {
        "Node": check.node,
        "CheckID": check.check_id,
        "Name": check.name,
        "Status": check.status,
        "Notes": check.notes,
        "Output": check.output,
        "ServiceID": check.service_id,
        "ServiceName": check.service_name,
        "ServiceTags": check.service_tags or None,
        "Type": "",
        "ExposedPort": 0,
        "Definition": DEFINITION,
        "CreateIndex": 0,
        "ModifyIndex": 0,
    }


def _answer(call: Call, code: int, reason: str, said: object) -> web.Response:
    headers = {"X-Consul-Reason": reason.replace("\r", " ").replace("\n", " ")}
    if _wants_text(call):
        headers["Content-Type"] = "text/plain"
        return web.Response(status=code, body=reason.encode(), headers=headers)
    return call.answer(said, status=code, headers=headers)


def _wants_text(call: Call) -> bool:
    accepts = call.request.headers.get("Accept", "").startswith("text/plain")
    return accepts or call.param("format") == "text"


ROUTES = (
    Route("/v1/agent/health/service/id/", ("GET",), by_id),
    Route("/v1/agent/health/service/name/", ("GET",), by_name),
)
