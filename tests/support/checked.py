"""Servers that checks are pointed at."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc.aio
from aiohttp import web
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

__all__ = ["grpc_server", "http_server", "raw_server"]

STATUS = health_pb2.HealthCheckResponse


@asynccontextmanager
async def http_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server whose paths answer in all ways that a check may meet; gives "127.0.0.1:port"."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", _answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _answer(request: web.Request) -> web.StreamResponse:
    match request.path.split("/")[1:]:
        case ["echo"]:
            # Sorted: no client promises an order between names.
            headers = sorted((name.title(), value) for name, value in request.headers.items())
            return web.json_response([request.method, request.path_qs, headers, await request.text()])
        case ["status", code]:
            return web.Response(status=int(code), text="said")
        case ["big"]:
            return web.Response(text="0123456789" * 1_000)
        case ["binary"]:
            return web.Response(body=b"\xff\xfe\xe4\xb8x\xc3\xa9<&>\x00")
        case ["never"]:
            await asyncio.get_running_loop().create_future()
        case ["half", how]:
            response = web.StreamResponse()
            response.content_length = 100
            await response.prepare(request)
            await response.write(b"begun")
            if how == "never":
                await asyncio.get_running_loop().create_future()
            assert request.transport is not None
            request.transport.close()
            return response
        case ["cookie"]:
            answer = web.Response(text=request.headers.get("Cookie", "none"))
            answer.set_cookie("seen", "yes")
            return answer
        case ["loop", code]:
            return web.Response(status=int(code), headers={"Location": request.path})
        case ["to", code, *path]:
            headers = {"Location": "/" + "/".join(path)}
            return web.Response(status=int(code), text="elsewhere", headers=headers)
    return web.Response(text="ok")


class Place(str):
    """ "127.0.0.1:port", and how often it was asked."""

    asked = 0


@asynccontextmanager
async def raw_server(answer: bytes | None) -> AsyncIterator["Place"]:
    """Answers these bytes, whatever is asked, and hangs up; with None it never answers."""
    done = asyncio.Event()
    place: Place

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        place.asked += 1
        if answer is None:
            await done.wait()
        else:
            writer.write(answer)
        writer.close()

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(await asyncio.start_server(serve, "127.0.0.1", 0))
        stack.callback(done.set)
        host, port = server.sockets[0].getsockname()
        place = Place(f"{host}:{port}")
        yield place


@asynccontextmanager
async def grpc_server(tls: tuple[Path, Path] | None = None, *, health: bool = True) -> AsyncIterator[str]:
    """Google's own gRPC server, with health of the services "up", "down" and "unknown".

    `tls` are its certificate and key.
    """
    # Never taken back: else the last of its objects joins its thread, wherever the collector finds that one.
    grpc.aio.init_grpc_aio()
    server = grpc.aio.server()
    if health:
        servicer = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        await servicer.set("", STATUS.SERVING)
        await servicer.set("up", STATUS.SERVING)
        await servicer.set("down", STATUS.NOT_SERVING)
        await servicer.set("unknown", STATUS.UNKNOWN)
    if tls is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        certificate, key = (path.read_bytes() for path in tls)
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
