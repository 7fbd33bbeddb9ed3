"""The agent: what a program starts and stops."""

import logging
import random
from typing import Self

from aiohttp import web

from asyncsd._clock import LoopClock
from asyncsd._protocols import Clock

from ._call import HTTPError
from ._config import AgentConfig
from ._faults import Fault, Faults
from ._registry import Registry
from ._routes import ROUTES
from ._routing import Router
from ._server import Server

__all__ = ["Agent"]

logger = logging.getLogger("asyncsd.agent")


class Agent:
    """A registry in this process that speaks Consul's HTTP API for discovery.

    >>> async with Agent() as agent:
    ...     sd = Discovery(ConsulBackend(agent.url))

    It keeps its state in memory: what was registered is gone when it closes.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        node: str = "asyncsd",
        datacenter: str = "dc1",
        token: str | None = None,
        read_token: str | None = None,
        connections: int = 200,
        deregister_after_min: float = 60.0,
        reap_interval: float = 30.0,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """`port` 0 takes a free one, and `url` says which.

        With `token`, only who brings it may do anything, and who brings `read_token` may read. A client
        address may hold so many `connections`, as with Consul. An instance that is critical longer than its
        check allows is removed: at least after `deregister_after_min` seconds, looked for each
        `reap_interval`. The clock is what checks and waits go by.
        """
        self._config = config = AgentConfig(
            host=host,
            port=port,
            node=node,
            datacenter=datacenter,
            token=token,
            read_token=read_token,
            connections=connections,
            deregister_after_min=deregister_after_min,
            reap_interval=reap_interval,
        )
        self._clock = clock or LoopClock()
        self._rng = rng or random.Random()
        self._router = Router(ROUTES)
        self._faults = Faults(self._clock)
        self._server = Server(
            self._handle,
            host=config.host,
            port=config.port,
            connections=config.connections,
            body_size=config.body_size,
        )
        self._registry: Registry | None = None

    def __repr__(self) -> str:
        return f"Agent({self.url}, {self._registry or 'not open'})"

    @property
    def url(self) -> str:
        """Where it listens: "http://127.0.0.1:8500"."""
        host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
        return f"http://{host}:{self._server.port}"

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop, and cut all connections. Idempotent."""
        await self._server.aclose()
        if self._registry is not None:
            await self._registry.aclose()

    def fail(self, status: int = 500, *, text: str = "", path: str = "") -> Fault:
        """Answer every request, or those to paths that begin with `path`, with this status from now on."""
        return self._faults.fail(status, text, path)

    def delay(self, seconds: float, *, path: str = "") -> Fault:
        """Answer so much later from now on."""
        return self._faults.delay(seconds, path)

    def hang(self, *, path: str = "") -> Fault:
        """Take requests and answer none, until it is healed."""
        return self._faults.hang(path)

    def heal(self) -> None:
        """End all faults."""
        self._faults.heal()

    def cut(self) -> None:
        """Cut all connections, without an answer. New ones are taken."""
        self._server.cut()

    def forget(self) -> None:
        """Lose all registrations, as if somebody had removed them."""
        self._opened.forget()

    async def restart(self) -> None:
        """End and begin anew on the same port, with nothing registered and a lower index."""
        await self.aclose()
        await self._open()

    @property
    def _opened(self) -> Registry:
        if self._registry is None:
            raise RuntimeError("this agent isn't open: use it inside `async with Agent() as agent:`")
        return self._registry

    async def _open(self) -> None:
        await self._server.open()
        self._registry = Registry(self._config, port=self._server.port, clock=self._clock, rng=self._rng)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.rel_url.path
        if (answer := await self._faults.meet(path)) is not None:
            return answer
        try:
            return await self._router.answer(request, self._opened)
        except HTTPError as exc:
            return web.Response(status=exc.status, text=exc.text, headers=exc.headers)
