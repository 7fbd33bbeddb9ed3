"""FastAPI and Starlette: an application that registers itself, and balancers as dependencies."""

import asyncio
import signal
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

from asyncsd import Balancer, Discovery, PeakEWMA, Policy, Query, Registrar, Registration, http_status

try:
    from fastapi import FastAPI, Response
    from starlette.requests import HTTPConnection
except ImportError as _missing:
    raise ImportError("asyncsd.ext.fastapi needs FastAPI: pip install 'asyncsd[fastapi]'") from _missing

__all__ = ["balancer", "discovery", "health", "lifespan", "registration"]

Lifespan: TypeAlias = Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]

_DISCOVERY = "asyncsd_discovery"
_REGISTRATION = "asyncsd_registration"


def lifespan(
    connect: Callable[[], Discovery[Any]], *, register: Registration | None = None, **options: Any
) -> Lifespan:
    """A lifespan that opens a Discovery with the application, and registers it if `register` is given.

    `FastAPI(lifespan=sd_fastapi.lifespan(connect, register=ME))`. `options` are those of `Discovery.register`
    (`health=`, `drain=`, `required=`, ...). To have a lifespan of your own too, enter this one in it:
    `async with sd_fastapi.lifespan(connect)(app) as state: yield {**state, "mine": 1}`.

    A server such as uvicorn closes its sockets on SIGTERM or SIGINT, and ends the lifespan after the last
    request. For this order not to lose calls, the signal is held until the registration is gone (after
    `drain=` seconds out of rotation) and then passed on; a second signal is passed on at once.
    """

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncGenerator[dict[str, Any], None]:
        async with AsyncExitStack() as stack:
            sd = await stack.enter_async_context(connect())
            state: dict[str, Any] = {_DISCOVERY: sd}
            if register is not None:
                registering = sd.register(register, **options)
                state[_REGISTRATION] = await stack.enter_async_context(registering)
                stack.enter_context(_SignalsAfter(registering.aclose))
            yield state

    return running


def _from_state(connection: HTTPConnection, name: str, what: str) -> Any:
    try:
        return getattr(connection.state, name)
    except AttributeError:
        raise RuntimeError(
            f"this application has no {what}: give it lifespan=asyncsd.ext.fastapi.lifespan(...), "
            "and under a test client run it inside `with TestClient(app)`"
        ) from None


async def discovery(connection: HTTPConnection) -> Discovery[Any]:
    """A dependency: the application's Discovery."""
    sd: Discovery[Any] = _from_state(connection, _DISCOVERY, "Discovery")
    return sd


async def registration(connection: HTTPConnection) -> Registrar:
    """A dependency: the application's registration."""
    registrar: Registrar = _from_state(connection, _REGISTRATION, "registration")
    return registrar


def balancer(
    query: Query | str, policy: Policy = PeakEWMA(), **options: Any
) -> Callable[[HTTPConnection], Awaitable[Balancer[Any]]]:
    """A dependency: the application's balancer of a service.

    `Users = Annotated[Balancer[Instance], Depends(sd_fastapi.balancer("users"))]`. `options` are those of
    `Discovery.balancer`.
    """
    query = Query.of(query)

    async def dependency(connection: HTTPConnection) -> Balancer[Any]:
        sd = await discovery(connection)
        return sd.balancer(query, policy, **options)

    return dependency


async def health(connection: HTTPConnection) -> Response:
    """A handler for the health route: what `health=` of the registration says, as an HTTPCheck reads it.

    `app.add_api_route("/health", sd_fastapi.health)` answers 200, 429 for a warning, 503 for critical or
    while draining, with the note as its text.
    """
    said = await (await registration(connection)).check_health()
    return Response(said.note or said.status, status_code=http_status(said), media_type="text/plain")


class _SignalsAfter:
    """Holds the server's own handling of SIGINT and SIGTERM back until `leave` has ended."""

    def __init__(self, leave: Callable[[], Awaitable[None]]) -> None:
        self._leave = leave
        self._before: dict[int, Callable[[int, Any], Any]] = {}
        self._leaving: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.getsignal(number)
            # Where no server has set a handler there is nothing to hold back.
            if callable(before) and before is not signal.default_int_handler:
                self._before[number] = before
                signal.signal(number, self._caught)

    def __exit__(self, *exc_info: object) -> None:
        for number, before in self._before.items():
            if signal.getsignal(number) == self._caught:
                signal.signal(number, before)

    def _caught(self, number: int, frame: object) -> None:
        if self._leaving is None:
            self._loop.call_soon_threadsafe(self._start, number)
        else:
            self._before[number](number, frame)

    def _start(self, number: int) -> None:
        if self._leaving is None:
            self._leaving = self._loop.create_task(self._leave_first(number), name="asyncsd:leave:signal")

    async def _leave_first(self, number: int) -> None:
        try:
            await self._leave()
        finally:
            self._before[number](number, None)
