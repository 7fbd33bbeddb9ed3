"""What the backend asks of a client of Consul's HTTP API."""

from collections.abc import Awaitable
from typing import Protocol

from asyncsd._models import Query, Status

from ._answers import Answer

__all__ = ["ConsulClient"]


class ConsulClient(Protocol):
    """A client of one agent. Any object of this shape can be given as `ConsulBackend(client=…)`.

    Each method makes one request and gives the Answer to it, of whatever status: the backend reads status,
    headers (X-Consul-Index among them) and JSON. A request that gets no answer raises UnreachableError. A
    `wait` is how long, in seconds, the agent may hold a blocking query; the client's deadline has to be
    longer by a sixteenth and some seconds. Without a `wait` the agent answers at once. A client belongs to
    whoever made it: the backend neither opens nor closes it.
    """

    @property
    def where(self) -> str:
        """The agent's address without secrets: "http://127.0.0.1:8500"."""
        ...

    async def agent(self) -> Answer:
        """GET /v1/agent/self, for the default host of a registration on this machine's agent."""
        ...

    def health(
        self, query: Query, *, index: int | None = None, wait: float | None = None
    ) -> Awaitable[Answer]:
        """GET /v1/health/service/NAME: `tag` for each tag, dc, near, filter, node-meta, consistency.

        `passing` is asked for only by a query with `server_filter` and the status "passing".
        """
        ...

    async def services(
        self, *, datacenter: str | None = None, index: int | None = None, wait: float | None = None
    ) -> Answer:
        """GET /v1/catalog/services."""
        ...

    async def service(self, id: str, *, content_hash: str | None = None, wait: float | None = None) -> Answer:
        """GET /v1/agent/service/ID, which blocks while what it tells has this hash."""
        ...

    async def register(self, body: bytes, *, replace_checks: bool = True) -> Answer:
        """PUT /v1/agent/service/register with this JSON; `replace_checks` adds replace-existing-checks."""
        ...

    async def deregister(self, id: str) -> Answer:
        """PUT /v1/agent/service/deregister/ID."""
        ...

    async def ttl(self, check_id: str, status: Status, note: str = "") -> Answer:
        """PUT /v1/agent/check/pass/ID, or warn or fail, with a `note`."""
        ...

    async def maintenance(self, id: str, on: bool, reason: str = "") -> Answer:
        """PUT /v1/agent/service/maintenance/ID?enable=true, or false, with a `reason`."""
        ...
