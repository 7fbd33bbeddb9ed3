"""aiohttp: a server that registers itself, and a client that calls services by their names."""

import asyncio
import inspect
import random
import signal
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any
from weakref import ref

import aiohttp
from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse, hdrs, web
from yarl import URL

from asyncsd import (
    Backoff,
    Balancer,
    Clock,
    ClosedError,
    Discovery,
    Instance,
    NoInstances,
    PeakEWMA,
    Policy,
    Registrar,
    Registration,
    Retry,
    http_status,
)

__all__ = ["DISCOVERY", "REGISTRATION", "NoInstancesClientError", "balanced", "health", "serve", "setup"]

DISCOVERY: web.AppKey[Discovery[Any]] = web.AppKey("asyncsd.discovery", Discovery)
"""`app[DISCOVERY]` is the application's Discovery, between its start and its end."""
REGISTRATION: web.AppKey[Registrar] = web.AppKey("asyncsd.registration", Registrar)
"""`app[REGISTRATION]` is the application's registration, if it has one."""


# -- servers


def setup(
    app: web.Application,
    connect: Callable[[], Discovery[Any]],
    *,
    register: Registration | None = None,
    **options: Any,
) -> None:
    """Open a Discovery with the application, and close it with it.

    `app[DISCOVERY]` is then the Discovery, and `app[REGISTRATION]` the Registrar of `register`, if given.
    `options` are those of `Discovery.register` (`health=`, `drain=`, `required=`, ...).

    aiohttp starts an application just before its sockets listen, and ends it after they are closed. So the
    registration outlives the sockets by the time that the last requests take: `serve` avoids that.
    """

    async def running(app: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            sd = app[DISCOVERY] = await stack.enter_async_context(connect())
            if register is not None:
                app[REGISTRATION] = await stack.enter_async_context(sd.register(register, **options))
            yield

    app.cleanup_ctx.append(running)


async def serve(
    app: web.Application,
    connect: Callable[[], Discovery[Any]],
    *,
    register: Registration,
    host: str | None = None,
    port: int | None = None,
    reuse_port: bool = False,
    shutdown_timeout: float = 30.0,
    **options: Any,
) -> None:
    """Serve until SIGINT or SIGTERM, or cancelled, in the order that loses no request.

    Listen, then register; at the end deregister (after `drain=` seconds out of rotation), finish the requests
    in flight for at most `shutdown_timeout` seconds, then stop. `port` is the registration's unless given;
    with port 0 the one that the system chose is registered. `host` None listens on every address.
    `app[DISCOVERY]` and `app[REGISTRATION]` stand before the first request. `options` are those of
    `Discovery.register`.

    Raises OSError when it can't listen, and what registering raises: a permanent error, or any with
    `required=True`. In a thread other than the main one no signal arrives, and only a cancellation ends it.
    """
    with await _listen(host, register.port if port is None else port, reuse_port=reuse_port) as listening:
        register = replace(register, port=listening.getsockname()[1])
        async with connect() as sd:
            registering = sd.register(register, **options)
            app[DISCOVERY] = sd
            app[REGISTRATION] = registering.registrar
            runner = web.AppRunner(app, shutdown_timeout=shutdown_timeout)
            try:
                await runner.setup()
                await web.SockSite(runner, listening).start()
                with _Signals() as stop:
                    async with registering:
                        await stop.wait()
            finally:
                # Deregistered by now. The sockets close, and the requests in flight end, here.
                await runner.cleanup()


async def _listen(host: str | None, port: int, *, reuse_port: bool) -> socket.socket:
    if host is None:
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        return socket.create_server(("", port), family=family, dualstack_ipv6=dual, reuse_port=reuse_port)
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    return socket.create_server(address[:2], family=family, reuse_port=reuse_port)


class _Signals:
    """An event that SIGINT and SIGTERM set; the handlers that were there before come back afterwards."""

    def __enter__(self) -> asyncio.Event:
        self._loop = asyncio.get_running_loop()
        self._before: dict[signal.Signals, Any] = {}
        stop = asyncio.Event()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.getsignal(number)
                self._loop.add_signal_handler(number, stop.set)
        return stop

    def __exit__(self, *exc_info: object) -> None:
        for number, before in self._before.items():
            self._loop.remove_signal_handler(number)
            signal.signal(number, before)


def health() -> Callable[[web.Request], Awaitable[web.Response]]:
    """A handler for the health route: what `health=` of the registration says, as an HTTPCheck reads it.

    `app.router.add_get("/health", sd_aiohttp.health())` answers 200, 429 for a warning, 503 for critical or
    while draining, with the note as its text.
    """

    async def handler(request: web.Request) -> web.Response:
        said = await request.config_dict[REGISTRATION].check_health()
        return web.Response(status=http_status(said), text=said.note or said.status)

    return handler


# -- clients


class NoInstancesClientError(NoInstances, aiohttp.ClientConnectionError):
    """NoInstances, for who catches aiohttp's ClientError."""


CONNECT_RETRY = Retry(
    attempts=3, on=(aiohttp.ClientConnectorError,), backoff=Backoff(initial=0.01, maximum=0.1)
)
"""A connection that never came about sent nothing, so any request may go to another instance."""

URLS = 256
"""How many URLs, each for one instance, a middleware keeps."""
NAMES = 256
"""Of how many services a middleware remembers which balancer is theirs."""


def balanced(
    sd: Discovery[Any],
    *,
    services: Collection[str] | Callable[[str], bool] | None = None,
    policy: Policy = PeakEWMA(),
    retry: Retry | None = CONNECT_RETRY,
    timeout: float = 5.0,
) -> ClientMiddlewareType:
    """A client middleware that takes the host of a URL for the name of a service: `http://users/path`.

        session = aiohttp.ClientSession(middlewares=(sd_aiohttp.balanced(sd),))

    `services` is a set of names or a predicate; by default each host without a dot that is neither localhost
    nor an address is one. Every other host passes untouched. The scheme is the URL's; one of the
    registration ("https") takes its place. A port in the URL is an error: it is the instance's that counts.

    An exception, or a status of 500 and up, counts as a failure of the instance; its load lasts until the
    response is released. `retry` is for requests whose body can be sent again; by default those whose
    connection failed go to another instance. What is raised in the end is the last attempt's own error; its
    time limits are aiohttp's (`ClientTimeout(total=..., sock_connect=...)`, where total is for all attempts).
    Without an instance for `timeout` seconds it raises NoInstancesClientError. A cancellation gives the load
    back and counts as neither.
    """
    if retry is not None and (retry.timeout is not None or retry.attempt_timeout is not None):
        raise ValueError(
            "balanced(retry=): aiohttp has time limits of its own for requests; leave timeout and "
            "attempt_timeout out, and give the session, or a request, "
            "timeout=ClientTimeout(total=..., sock_connect=...)"
        )
    if services is None:
        chosen: Callable[[str], bool] = _is_name
    else:
        chosen = services if callable(services) else frozenset(services).__contains__

    # A URL keeps what was once worked out of it: the same object again spares aiohttp that.
    aimed = lru_cache(maxsize=URLS)(_aimed)
    rng = random.Random()
    known: dict[str, ref[Balancer[Instance]]] = {}

    def find(service: str) -> Balancer[Instance]:
        balancer = sd.balancer(service, policy)
        if not callable(services):  # A predicate is asked each time.
            if len(known) >= NAMES:
                known.clear()
            known[service] = ref(balancer)
        return balancer

    async def wait(service: str, tried: Sequence[Instance]) -> tuple[Instance, Callable[..., None]]:
        try:
            # Entered by hand: it is left when the response is released, which may be much later.
            held = await find(service).lease(exclude=tried, timeout=timeout).__aenter__()
        except NoInstances as exc:
            raise NoInstancesClientError(exc.service, exc.reason) from exc
        return held.instance, held.release

    async def middleware(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        # Nearly all requests find an instance at once and are answered at the first attempt. On their way
        # each call of a function counts: one is half a percent of what aiohttp takes for a request.
        url = request.url
        service = url.host or ""
        remembered = known.get(service)
        balancer = None if remembered is None else remembered()
        if balancer is None:
            if not service or not chosen(service):
                return await handler(request)
            balancer = find(service)
        if url.explicit_port is not None:
            raise aiohttp.InvalidURL(url, "an instance's own port counts: leave it out of the URL")
        tried: tuple[Instance, ...] = ()
        errors: tuple[Exception, ...] = ()
        try:
            begun = balancer.begin() if balancer.classify is None else None
        except (ClosedError, NoInstances):
            begun = None
        while True:
            instance, end = begun or await wait(service, tried)
            try:
                aim = aimed(url, instance.scheme, instance.host, instance.port)
                request.url, request.headers[hdrs.HOST] = aim
                response = await handler(request)
            except Exception as exc:
                end(exc)
                tried += (instance,)
                errors += (exc,)
                if retry is None or not isinstance(exc, retry.on):
                    raise
                if not await _goes_on(retry, errors, sd.clock, rng):
                    raise
            except BaseException as exc:
                end(exc)
                raise
            else:
                failure = None
                if response.status >= 500:
                    failure = aiohttp.ClientError(f"{instance.address} answered {response.status}")
                connection = response.connection
                if connection is None:  # All of it came at once.
                    end(failure)
                else:
                    connection.add_callback(partial(end, failure))
                return response
            begun = None

    return middleware


async def _goes_on(retry: Retry, errors: Sequence[Exception], clock: Clock, rng: random.Random) -> bool:
    """Whether there is another attempt, once the backoff before it is over."""
    if retry.callback is not None:
        verdict = retry.callback(len(errors), tuple(errors))
        if (await verdict if inspect.isawaitable(verdict) else verdict) is False:
            return False
    if len(errors) >= retry.attempts:
        return False
    await clock.sleep(retry.backoff.delay(len(errors) - 1, rng))
    return True


def _is_name(host: str) -> bool:
    return "." not in host and ":" not in host and host != "localhost"  # An address has either of the two.


def _aimed(url: URL, scheme: str | None, host: str, port: int) -> tuple[URL, str]:
    """`url` with the address of an instance, and its Host."""
    url = url.with_host(host).with_port(port)
    url = url if scheme is None else url.with_scheme(scheme)
    return url, f"{url.host_subcomponent}:{port}"
