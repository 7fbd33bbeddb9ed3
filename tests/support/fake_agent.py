"""An HTTP server in an agent's place, that answers what the test says."""

import asyncio
import ssl
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple, Self

from aiohttp import web

from tests.support.process import free_ports

__all__ = ["Asked", "Certificates", "FakeAgent", "Handler", "make_certificates"]


class Asked(NamedTuple):
    """One request, as it came."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: str
    peer: object


Handler = Callable[[Asked], Awaitable[web.StreamResponse]]


class FakeAgent:
    """`async with FakeAgent() as agent:` answers every request alike, and keeps them in `agent.asked`.

    `say` sets the answer, `handle` is a coroutine function that makes it, and `never` holds every request
    until the client gives up.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, socket: Path | None = None) -> None:
        self._tls = tls
        self._socket = socket
        self.port = free_ports(1)[0]
        self.url = f"unix://{socket}" if socket else f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        self.asked: list[Asked] = []
        self.requests: list[web.Request] = []
        self.arrived = asyncio.Semaphore(0)
        self.handle: Handler = self._answer
        self.say("[]")

    def say(self, body: str | bytes, status: int = 200, **headers: str) -> None:
        """Answer so from now on; `X_Consul_Index="7"` is the header X-Consul-Index."""
        self._body = body.encode() if isinstance(body, str) else body
        self._status = status
        self._headers = {"X-Consul-Index": "7"} | {n.replace("_", "-"): v for n, v in headers.items()}

    def never(self) -> None:
        """Take requests and answer none."""

        async def hold(_: Asked) -> web.StreamResponse:
            await asyncio.get_running_loop().create_future()
            raise AssertionError

        self.handle = hold

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, again too."""
        app = web.Application(client_max_size=10**8)
        app.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01, handler_cancellation=True)
        await self._runner.setup()
        if self._socket is not None:
            await web.UnixSite(self._runner, self._socket).start()
        else:
            await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls).start()

    async def stop(self) -> None:
        """Refuse connections, and close those that stand."""
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        query = tuple(request.query.items())
        peer = None if request.transport is None else request.transport.get_extra_info("peername")
        asked = Asked(request.method, path, query, request.headers, await request.text(), peer)
        self.asked.append(asked)
        self.requests.append(request)
        self.arrived.release()
        return await self.handle(asked)

    async def _answer(self, _: Asked) -> web.StreamResponse:
        return web.Response(body=self._body, status=self._status, headers=self._headers)


class Certificates(NamedTuple):
    """Files of a certificate authority, and of a server (127.0.0.1) and a client that it vouches for."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path

    def server_context(self, *, client_needed: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca)
        context.load_cert_chain(self.server, self.server_key)
        if client_needed:
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def make_certificates(folder: Path) -> Certificates:
    """Have openssl make them in `folder`."""

    def make(name: str, *options: str) -> tuple[Path, Path]:
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        new = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        files = ("-subj", f"/CN={name}", "-days", "2", "-out", str(certificate), "-keyout", str(key))
        subprocess.run([*new, *files, *options], check=True, capture_output=True)
        return certificate, key

    ca, ca_key = make("ca", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    signed = ("-CA", str(ca), "-CAkey", str(ca_key), "-addext", "basicConstraints=critical,CA:FALSE")
    server = make("server", *signed, "-addext", "subjectAltName=IP:127.0.0.1")
    return Certificates(ca, *server, *make("client", *signed))
