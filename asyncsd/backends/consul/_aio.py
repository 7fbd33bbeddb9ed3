"""The client on `consul.aio`: the library writes the requests, the pooled transport sends them.

Works with python-consul2 and with py-consul, which share the import name. What their methods lack (weights,
several checks or tags, filters, consistency of health reads, hashes) goes to the transport straight. The
backend decodes the answers: the library's own decoding takes five times as long, and fails where the index
is missing.
"""

from collections.abc import Awaitable, Sequence
from typing import Any

from consul import aio, base

from asyncsd._models import Query, Status

from ._answers import Answer
from ._direct import DirectClient
from ._transport import Agent, quoted

__all__ = ["AioClient"]


class AioClient(DirectClient):
    """A ConsulClient on `consul.aio`; inherited is what the library has no means for."""

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent)
        self._consul: Any = _Consul(_Connection(agent))

    def __repr__(self) -> str:
        return f"AioClient({self.where})"

    async def agent(self) -> Answer:
        answer: Answer = await self._consul.agent.self()
        return answer

    def health(
        self, query: Query, *, index: int | None = None, wait: float | None = None
    ) -> Awaitable[Answer]:
        if (
            _is_odd(query.service)
            or len(query.tags) > 1
            or query.filter is not None
            or query.consistency != "default"
        ):
            return super().health(query, index=index, wait=wait)
        answer: Awaitable[Answer] = self._consul.health.service(
            query.service,
            index=index,
            wait=wait,
            passing=query.server_filter and query.status == "passing",
            tag=query.tags[0] if query.tags else None,
            dc=query.datacenter,
            near=query.near,
            node_meta=query.node_meta,
        )
        return answer

    async def services(
        self, *, datacenter: str | None = None, index: int | None = None, wait: float | None = None
    ) -> Answer:
        answer: Answer = await self._consul.catalog.services(index=index, wait=wait, dc=datacenter)
        return answer

    async def deregister(self, id: str) -> Answer:
        if _is_odd(id):
            return await super().deregister(id)
        answer: Answer = await self._consul.agent.service.deregister(id)
        return answer

    async def ttl(self, check_id: str, status: Status, note: str = "") -> Answer:
        if _is_odd(check_id):
            return await super().ttl(check_id, status, note)
        check = self._consul.agent.check
        tell = {"passing": check.ttl_pass, "warning": check.ttl_warn, "critical": check.ttl_fail}[status]
        answer: Answer = await tell(check_id, note)
        return answer

    async def maintenance(self, id: str, on: bool, reason: str = "") -> Answer:
        if _is_odd(id):
            return await super().maintenance(id, on, reason)
        answer: Answer = await self._consul.agent.service.maintenance(id, "true" if on else "false", reason)
        return answer


def _is_odd(name: str) -> bool:
    """Whether a server would take `name` for another path: the library doesn't quote what it puts there."""
    return not {"", ".", ".."}.isdisjoint(name.split("/"))


class _Connection:
    """Stands where the library has its HTTP client, which opens a session for each request.

    The library gives a callback that would decode the answer; the Answer goes to the backend as it is.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def get(
        self, callback: object, path: str, params: Sequence[tuple[str, Any]] | None = None, **_: object
    ) -> Awaitable[Answer]:
        # `wait` comes through the library as the number of seconds that it was given.
        wait = next((value for name, value in params or () if name == "wait"), None)
        rest = [(name, str(value)) for name, value in params or () if name != "wait"]
        return self._agent.get(quoted(path), rest, wait=wait)

    async def put(
        self, callback: object, path: str, params: Sequence[tuple[str, Any]] | None = None, **_: object
    ) -> Answer:
        return await self._agent.put(quoted(path), [(name, str(value)) for name, value in params or ()])


class _Consul(aio.Consul):  # type: ignore[misc]
    """The library's client without its constructor.

    That reads CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN and others from the environment, and fails on an address
    without a port there. What asyncsd does is what its user wrote.
    """

    def __init__(self, http: _Connection) -> None:
        self.http = http
        self.token = None
        self.dc = None
        self.consistency = "default"
        self.agent = _part("Agent")(self)
        self.catalog = _part("Catalog")(self)
        self.health = _part("Health")(self)


def _part(name: str) -> Any:
    """A class of the library's: within its Consul in python-consul2, beside it in py-consul."""
    return getattr(base.Consul, name, None) or getattr(base, name)
