"""The client that writes its requests itself."""

from collections.abc import Awaitable

from asyncsd._models import Query, Status

from ._answers import Answer
from ._transport import Agent, segment
from ._wire import health_params

__all__ = ["DirectClient"]

VERBS: dict[Status, str] = {"passing": "pass", "warning": "warn", "critical": "fail"}


class DirectClient:
    """A ConsulClient straight on the transport."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def __repr__(self) -> str:
        return f"DirectClient({self.where})"

    @property
    def where(self) -> str:
        return str(self._agent.address)

    async def agent(self) -> Answer:
        return await self._agent.get("/v1/agent/self")

    def health(
        self, query: Query, *, index: int | None = None, wait: float | None = None
    ) -> Awaitable[Answer]:
        path = f"/v1/health/service/{segment(query.service)}"
        return self._agent.get(path, health_params(query, index), wait=wait)

    async def services(
        self, *, datacenter: str | None = None, index: int | None = None, wait: float | None = None
    ) -> Answer:
        params = [("dc", datacenter)] if datacenter is not None else []
        if index is not None:
            params.append(("index", str(index)))
        return await self._agent.get("/v1/catalog/services", params, wait=wait)

    async def service(self, id: str, *, content_hash: str | None = None, wait: float | None = None) -> Answer:
        params = [("hash", content_hash)] if content_hash is not None else []
        return await self._agent.get(f"/v1/agent/service/{segment(id)}", params, wait=wait)

    async def register(self, body: bytes, *, replace_checks: bool = True) -> Answer:
        params = [("replace-existing-checks", "true")] if replace_checks else []
        return await self._agent.put("/v1/agent/service/register", params, body)

    async def deregister(self, id: str) -> Answer:
        return await self._agent.put(f"/v1/agent/service/deregister/{segment(id)}")

    async def ttl(self, check_id: str, status: Status, note: str = "") -> Answer:
        params = [("note", note)] if note else []
        return await self._agent.put(f"/v1/agent/check/{VERBS[status]}/{segment(check_id)}", params)

    async def maintenance(self, id: str, on: bool, reason: str = "") -> Answer:
        params = [("enable", "true" if on else "false")]
        if reason:
            params.append(("reason", reason))
        return await self._agent.put(f"/v1/agent/service/maintenance/{segment(id)}", params)
