"""/v1/agent/check: the checks that are registered with this agent, and what clients say of theirs."""

from typing import Any

from aiohttp import web

from asyncsd.agent._checks import NoTTL
from asyncsd.agent._decoding._json import Shape, string
from asyncsd.agent._decoding._registrations import STATUSES, InvalidRegistration, check_of
from asyncsd.agent._filter import HEALTH_CHECK
from asyncsd.agent._http._call import Call
from asyncsd.agent._http._errors import HTTPError
from asyncsd.agent._http._routing import Endpoint, Route
from asyncsd.agent._state._local import UnknownCheck, UnknownService
from asyncsd.agent._state._structs import Status

from ._agent_common import check_local, decoded, keep_local, runnable

__all__ = ["ROUTES"]

UPDATE = Shape("agent.checkUpdate", {"Status": string, "Output": string}, struct="checkUpdate", inner="")


async def checks(call: Call) -> web.Response:
    """All checks, by id."""
    keep = keep_local(call, HEALTH_CHECK, late=True)
    every = sorted(call.registry.local.checks.items())
    return call.answer({id: check.state for id, check in every if keep(check.state)})


async def register(call: Call) -> web.Response:
    """Register a check, or change one."""
    check_local(call)
    check = await decoded(call, check_of)
    runnable(check)
    try:
        call.registry.local.add_check(check)
    except UnknownService:
        raise HTTPError(404, f'ServiceID "{check.service_id}" does not exist') from None
    return web.Response()


async def deregister(call: Call) -> web.Response:
    """Remove a check."""
    check_local(call)
    try:
        call.registry.local.remove_check(call.rest)
    except UnknownCheck:
        raise _unknown(call.rest) from None
    return web.Response()


def _say(status: Status) -> Endpoint:
    """The endpoint that lets a client say so of its check, with `note` as its output."""

    async def endpoint(call: Call) -> web.Response:
        return _heard(call, status, call.param("note"))

    return endpoint


async def update(call: Call) -> web.Response:
    """Let a client say in the body how its check went."""
    status, output = await decoded(call, _update)
    return _heard(call, status, output)


def _update(body: Any) -> tuple[Status, str]:
    fields = UPDATE.decode(body)
    for status in STATUSES:
        if fields.get("Status") == status:
            return status, fields.get("Output", "")
    raise InvalidRegistration(f"Invalid check status: '{fields.get('Status', '')}'")


def _heard(call: Call, status: Status, output: str) -> web.Response:
    check_local(call)
    if call.rest not in call.registry.local.checks:
        raise _unknown(call.rest)
    try:
        call.registry.runners.heard(call.rest, status, output)
    except NoTTL as exc:
        raise HTTPError(500, str(exc)) from None
    return web.Response()


def _unknown(check_id: str) -> HTTPError:
    text = f'Unknown check ID "{check_id}". Ensure that the check ID is passed, not the check name.'
    return HTTPError(404, text)


ROUTES = (
    Route("/v1/agent/check/deregister/", ("PUT",), deregister),
    Route("/v1/agent/check/fail/", ("PUT",), _say("critical")),
    Route("/v1/agent/check/pass/", ("PUT",), _say("passing")),
    Route("/v1/agent/check/register", ("PUT",), register),
    Route("/v1/agent/check/update/", ("PUT",), update),
    Route("/v1/agent/check/warn/", ("PUT",), _say("warning")),
    Route("/v1/agent/checks", ("GET",), checks),
)
