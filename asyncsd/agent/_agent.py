"""The agent: what a program starts and stops."""

import logging
import random
from typing import Self

import anyio
from aiohttp import web

from asyncsd._clock import LoopClock
from asyncsd._protocols import Clock
from asyncsd._tasks import finish

from ._config import AgentConfig
from ._http._faults import Fault, Faults
from ._http._rebinding import is_foreign, refusal
from ._http._routing import Router
from ._http._server import Server
from ._http._tokens import Tokens
from ._registry import Registry
from ._routes import ROUTES

__all__ = ["Agent"]

logger = logging.getLogger("asyncsd.agent")

LINGER, CLOSE = 2.0, 5.0
"""Seconds for the checks to end, and for all of it."""


class Agent:
    """A registry in this process that speaks Consul's HTTP API for discovery.

    >>> async with Agent() as agent:
    ...     sd = Discovery(ConsulBackend(agent.url))

    It keeps its state in memory: what was registered is gone when it closes. It belongs to the loop that
    opened it, listens on loopback unless told otherwise, and may be opened again once it is closed.

    Faults on demand show how a client takes an agent in trouble. A request is late by the sum of the delays
    that concern it, is held while one hangs, and then gets the status of the failure that was set last; those
    that wait in a blocking query get it at once. Faults last until they are healed, over a restart too, and
    spare the page at /ui/.

    On loopback and without a token it refuses requests under a name that somebody may own ("example.com"):
    a web page could otherwise reach it through DNS rebinding.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        node: str = "asyncsd",
        datacenter: str = "dc1",
        advertise: str = "",
        token: str | None = None,
        read_token: str | None = None,
        connections: int = 200,
        deregister_after_min: float = 60.0,
        reap_interval: float = 30.0,
        check_update_interval: float = 300.0,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """`port` 0 takes a free one, and `url` says which.

        `advertise` is the address of services that register without one: `host`, unless it is given. With
        `token`, only who brings it may do anything, and who brings `read_token` may read. A client address
        may hold so many `connections`, as with Consul. An instance that is critical longer than its check
        allows is removed: at least after `deregister_after_min` seconds, looked for each `reap_interval`.
        What a check says while its status stays reaches the catalog by and by, about each
        `check_update_interval`, at once if that is 0. The clock is what checks, waits and delays go by.
        ValueError for what can't be.
        """
        self._config = config = AgentConfig(
            host=host,
            port=port,
            node=node,
            datacenter=datacenter,
            advertise=advertise,
            token=token,
            read_token=read_token,
            connections=connections,
            deregister_after_min=deregister_after_min,
            reap_interval=reap_interval,
            check_update_interval=check_update_interval,
        )
        self._clock = clock or LoopClock()
        self._rng = rng or random.Random()
        tokens = Tokens(token, read_token) if token is not None else None
        self._router = Router(map(tokens.guard, ROUTES) if tokens else ROUTES)
        self._faults = Faults(self._clock)
        self._server = Server(
            self._handle,
            host=config.host,
            port=config.port,
            connections=config.connections,
            body_size=config.body_size,
        )
        self._registry: Registry | None = None
        self._turns = anyio.Lock(fast_acquire=True)  # asyncio's would stay with the first loop.
        self._requests = 0

    def __repr__(self) -> str:
        return f"Agent({self.url}, {self._registry or 'not open'})"

    @property
    def url(self) -> str:
        """Where it listens: "http://127.0.0.1:8500". The port is 0 until a free one was found."""
        host = self._config.reach
        return f"http://{f'[{host}]' if ':' in host else host}:{self._server.port}"

    @property
    def is_open(self) -> bool:
        """Whether it serves."""
        return self._registry is not None

    @property
    def requests(self) -> int:
        """How many requests came, those to /ui/ aside."""
        return self._requests

    async def __aenter__(self) -> Self:
        """Listen.

        OSError if the port is taken, with the remedy; RuntimeError if it is open. On cancellation it isn't
        open, and nothing is left.
        """
        async with self._turns:
            await self._open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop, and cut all connections: takes a tenth of a second at most. Idempotent, from any task.

        It returns once the agent has stopped, whoever began that. A cancellation is raised then, too.
        """
        await finish(self._close_in_turn(), CLOSE, role="close", service="agent")

    def fail(self, status: int = 500, *, text: str = "", path: str = "") -> Fault:
        """Answer every request, or those to paths that begin with `path`, with this status from now on."""
        return self._faults.fail(status, text or f"the agent was told to fail with {status}", path)

    def delay(self, seconds: float, *, path: str = "") -> Fault:
        """Answer so much later from now on; delays add up."""
        return self._faults.delay(seconds, path)

    def hang(self, *, path: str = "") -> Fault:
        """Take requests and answer none, until it is healed; those that wait are held too."""
        return self._faults.hang(path)

    def heal(self) -> None:
        """End all faults. Requests that they hold are answered."""
        self._faults.heal()

    def cut(self) -> None:
        """Cut all connections, without an answer. New ones are taken."""
        self._server.cut()

    def forget(self) -> None:
        """Lose all registrations, as if somebody had removed them: the index goes on."""
        self._opened.forget()

    def reset_index(self) -> None:
        """Let the index begin anew, lower than before, and keep the registrations.

        As with a snapshot that is restored: those that wait are answered at once, with what they knew. Who
        then asks with the old index waits until the new one has passed it, or the wait is over.
        """
        self._opened.catalog.reset()

    async def restart(self) -> None:
        """End and begin anew on the same port, with nothing registered and a lower index.

        Connections are cut. On cancellation it is closed.
        """
        async with self._turns:
            if self._registry is None:
                raise self._not_open()
            await self._close()
            await self._open()

    @property
    def _opened(self) -> Registry:
        if self._registry is None:
            raise self._not_open()
        return self._registry

    @staticmethod
    def _not_open() -> RuntimeError:
        return RuntimeError("this agent isn't open: use it inside `async with Agent() as agent:`")

    async def _open(self) -> None:
        if self._registry is not None:
            raise RuntimeError(f"this agent is open already, at {self.url}: make another one")
        await self._server.open()
        self._registry = Registry(self._config, port=self._server.port, clock=self._clock, rng=self._rng)
        logger.info("agent at %s", self.url)
        if not self._config.is_local and self._config.token is None:
            logger.warning(
                "agent at %s can be reached from other machines, and anybody may register: give it a token, "
                "or let it listen on 127.0.0.1",
                self.url,
            )

    async def _close_in_turn(self) -> None:
        async with self._turns:
            await self._close()

    async def _close(self) -> None:
        registry = self._registry
        if registry is None:
            return
        logger.info("agent at %s stops", self.url)
        try:
            await self._server.aclose()
        finally:
            self._registry = None  # Not before: requests that came meanwhile are answered by it.
            await finish(registry.aclose(), LINGER, role="close", service="checks")

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        host = request.headers.get("Host", "")
        if self._config.is_private and is_foreign(host):
            return refusal(host)
        path = request.rel_url.path
        if path.startswith("/ui/"):
            return await self._answer(request)
        self._requests += 1
        return await self._faults.answer(path, lambda: self._answer(request))

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._router.answer(request, self._opened)
        except ConnectionError:
            return web.Response()  # The client has gone, and nobody gets this.
        except Exception:
            logger.exception("%s %s: a bug of the agent's", request.method, request.rel_url.path)
            return web.Response(status=500, text="Internal error of the agent: its log tells more")
