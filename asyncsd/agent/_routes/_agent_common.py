"""What the endpoints of /v1/agent have in common: they read no catalog, and most parameters say nothing."""

from collections.abc import Callable
from typing import Any, TypeVar

from asyncsd.agent._checks import cannot_run
from asyncsd.agent._decoding._json import DecodeError
from asyncsd.agent._decoding._registrations import InvalidRegistration
from asyncsd.agent._filter import FilterError, Keep, Kind, create_filter
from asyncsd.agent._http._call import Call
from asyncsd.agent._http._errors import HTTPError
from asyncsd.agent._http._query import check_enterprise
from asyncsd.agent._state._definitions import CheckDefinition

__all__ = ["check_local", "decoded", "keep_local", "runnable"]

T = TypeVar("T")


def check_local(call: Call) -> None:
    """HTTPError for what no agent here has: namespaces and partitions."""
    check_enterprise(call.request.query, call.request.headers)


def keep_local(call: Call, kind: Kind, *, late: bool = False) -> Keep:
    """What `filter` keeps. HTTPError for one that doesn't fit.

    `late`: where Consul sees only when it filters whether a selector fits, it says so in fewer words.
    """
    check_local(call)
    try:
        return create_filter(call.param("filter"), kind)
    except FilterError as exc:
        text = str(exc)
        if late and "Selector" in text:
            text = text[text.index("Selector") :]
        raise HTTPError(500, text) from None


async def decoded(call: Call, make: Callable[[Any], T]) -> T:
    """What `make` makes of the body's JSON. HTTPError if it can't."""
    body = await call.body()
    try:
        return make(body)
    except DecodeError as exc:
        raise HTTPError(400, f"Request decode failed: {exc}") from None
    except InvalidRegistration as exc:
        raise HTTPError(exc.status, exc.text) from None


def runnable(*checks: CheckDefinition) -> None:
    """HTTPError if this agent can't run one of them."""
    for check in checks:
        if (why := cannot_run(check)) is not None:
            raise HTTPError(400, f"Invalid check: {why}")
