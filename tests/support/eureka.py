"""Real Eureka servers on loopback, as Spring Cloud makes them, and a Spring program that uses one."""

import asyncio
import atexit
import base64
import json
from functools import cache
from types import TracebackType
from typing import Any, Self
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.support.process import Process, free_ports, http_ready

__all__ = ["EurekaPair", "EurekaServer", "SpringProgram", "call", "guarded_server", "shared_server"]


def call(method: str, url: str, body: object = None, authorization: str | None = None) -> tuple[int, Any]:
    """One blocking request with the standard library: the second witness beside the code under test."""
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    if authorization is not None:
        headers["Authorization"] = authorization
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(url, data=data, headers=headers, method=method), timeout=10) as answer:
            status, text = answer.status, answer.read()
    except HTTPError as error:
        with error:
            status, text = error.code, error.read()
    return status, json.loads(text) if text.startswith((b"{", b"[")) else text


class EurekaServer:
    """One server, which forgets what it knows when it is killed.

    Its lists are a tenth of a second old at most, and what isn't renewed goes half a second after its time,
    unless it `preserves` itself. With `login`, a name and a password, it serves nobody else.
    """

    def __init__(
        self,
        *options: str,
        port: int | None = None,
        host: str = "127.0.0.1",
        peers: tuple[str, ...] = (),
        preserves: bool = False,
        login: tuple[str, str] | None = None,
    ) -> None:
        self.port = port or free_ports(1)[0]
        self.host = host
        self.url = f"http://{host}:{self.port}/eureka"
        self._authorization: str | None = None
        if login is not None:
            self._authorization = f"Basic {base64.b64encode(':'.join(login).encode()).decode()}"
        zone = ",".join(f"{peer}/" for peer in peers or (self.url,))
        self._process = Process(
            "eureka",
            *("server", "--server.address=127.0.0.1", f"--server.port={self.port}"),
            *("--eureka.client.register-with-eureka=false", "--eureka.client.fetch-registry=false"),
            # What stands here is left out of the peers: without it a server replicates to itself.
            *(f"--eureka.instance.hostname={host}", f"--eureka.client.service-url.defaultZone={zone}"),
            *(() if preserves else ("--eureka.server.enable-self-preservation=false",)),
            "--eureka.server.eviction-interval-timer-in-ms=500",
            "--eureka.server.response-cache-update-interval-ms=100",
            # Of a peer that has just started 200 ms are too few: what isn't answered is sent again and again.
            "--eureka.server.peer-node-read-timeout-ms=5000",
            *("--spring.main.banner-mode=off", "--logging.level.root=WARN"),
            *self._asked(login),
            *options,
            ready=self._answers,
            deadline=50.0,
        )

    def __repr__(self) -> str:
        return f"EurekaServer({self.url}, {self._process!r})"

    def _asked(self, login: tuple[str, str] | None) -> tuple[str, ...]:
        if login is None:
            return ()
        user, password = login
        return (
            "--asyncsd.login=true",
            f"--spring.security.user.name={user}",
            f"--spring.security.user.password={password}",
        )

    def _answers(self) -> bool:
        """Whether it answers, be it that it wants a login."""
        try:
            return call("GET", f"{self.url}/apps")[0] in (200, 401)
        except OSError:
            return False

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            self._process.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        return self._process.running

    def launch(self) -> None:
        """Start it, and don't wait."""
        self._process.start()

    async def ready(self) -> None:
        await self._process.ready()

    async def start(self) -> None:
        """Start it, again too, and wait until it serves."""
        self.launch()
        await self.ready()

    def stop(self) -> None:
        self._process.stop()

    def kill(self) -> None:
        """End it with SIGKILL, and all that it knew with it."""
        self._process.kill()

    def freeze(self) -> None:
        """Stop it with its connections open: it takes requests and answers none."""
        self._process.pause()

    def thaw(self) -> None:
        self._process.resume()

    async def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """The status and the JSON of a request, "/apps/GREETER" for one."""
        return await asyncio.to_thread(call, method, self.url + path, body, self._authorization)

    async def instance(self, app: str, id: str) -> dict[str, Any] | None:
        """What stands under an id; None where nothing does."""
        status, told = await self.call("GET", f"/apps/{app}/{id}")
        return told["instance"] if status == 200 else None


class EurekaPair:
    """Two servers that replicate to each other. They are told apart by their hosts' names."""

    def __init__(self) -> None:
        one, two = free_ports(2)
        urls = (f"http://localhost:{one}/eureka", f"http://127.0.0.1:{two}/eureka")
        self.servers = [
            EurekaServer(port=one, host="localhost", peers=urls, preserves=True),
            EurekaServer(port=two, host="127.0.0.1", peers=urls, preserves=True),
        ]
        self.urls = [server.url for server in self.servers]

    async def start(self) -> None:
        """Start those that don't run, and wait until both serve."""
        try:
            for server in self.servers:
                if not server.running:
                    server.launch()
            await asyncio.gather(*(server.ready() for server in self.servers))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        for server in self.servers:
            server.stop()


class SpringProgram:
    """A Spring program, "spring" by name, that registers with a server and calls what it finds there."""

    def __init__(self, url: str) -> None:
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = Process(
            "eureka",
            *("client", "--spring.application.name=spring", f"--server.port={self.port}"),
            "--eureka.client.jersey.enabled=false",  # The server brings half of it along.
            *("--server.address=127.0.0.1", f"--eureka.client.service-url.defaultZone={url}/"),
            *("--eureka.instance.prefer-ip-address=true", "--eureka.instance.ip-address=127.0.0.1"),
            *("--eureka.instance.metadata-map.zone=a", "--eureka.instance.metadata-map.tags=v1, blue"),
            *(
                "--eureka.instance.metadata-map.weight=7",
                "--eureka.instance.metadata-map.management.port=9001",
            ),
            "--eureka.client.registry-fetch-interval-seconds=1",
            "--eureka.client.initial-instance-info-replication-interval-seconds=0",
            "--eureka.instance.lease-renewal-interval-in-seconds=1",
            "--spring.cloud.loadbalancer.cache.enabled=false",
            *("--spring.main.banner-mode=off", "--logging.level.root=WARN"),
            ready=http_ready(self.port, "/hello"),
            deadline=50.0,
        )

    async def __aenter__(self) -> Self:
        try:
            self._process.start()
            await self._process.ready()
        except BaseException:
            self._process.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stop()

    async def get(self, path: str) -> tuple[int, Any]:
        return await asyncio.to_thread(call, "GET", self.url + path)


@cache
def shared_server() -> EurekaServer:
    """One that all tests may use that don't break it: starting one takes longer than they do."""
    server = EurekaServer()
    server.launch()
    atexit.register(server.stop)
    return server


@cache
def guarded_server() -> EurekaServer:
    """One that wants a login: "app", with "secret"."""
    server = EurekaServer(login=("app", "secret"))
    atexit.register(server.stop)
    return server
