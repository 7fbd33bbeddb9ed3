"""A service that registers itself, and tells what else is registered.

    python examples/say_hello/service.py --port 8081 --client direct

    GET /health                        what its check in the registry asks
    GET /sayHello?name=you             a greeting, with the id of the instance that gives it
    GET /discovery?serviceName=NAME    the passing instances of a service

On SIGINT or SIGTERM it deregisters, finishes the requests in flight, and stops.
"""

import argparse
import asyncio
import logging
import os
import sys
import time

from aiohttp import web

import asyncsd.ext.aiohttp as sd_aiohttp
from asyncsd import BackendError, Discovery, HTTPCheck, Query, Registration
from asyncsd.backends.consul import ConsulBackend
from asyncsd.ext.aiohttp import DISCOVERY, REGISTRATION

routes = web.RouteTableDef()


@routes.get("/sayHello")
async def say_hello(request: web.Request) -> web.Response:
    name = request.query.get("name", "world")
    return web.json_response({"message": f"Hello, {name}!", "id": request.app[REGISTRATION].id})


@routes.get("/discovery")
async def discovery(request: web.Request) -> web.Response:
    try:
        query = Query(request.query.get("serviceName", ""))
    except ValueError:
        raise web.HTTPBadRequest(text="which service? /discovery?serviceName=say-hello") from None
    try:
        instances = await request.app[DISCOVERY].instances(query)
    except BackendError as exc:
        raise web.HTTPBadGateway(text=str(exc)) from exc
    return web.json_response(
        [
            {"id": i.id, "address": i.address, "tags": i.tags, "url": i.url() if i.port else None}
            for i in instances
        ]
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A service that registers itself in Consul.")
    parser.add_argument("--registry", default="http://127.0.0.1:8500", help="the Consul agent")
    parser.add_argument("--client", choices=["aio", "direct"], default="aio", help="which Consul client")
    parser.add_argument("--service", default="say-hello")
    parser.add_argument("--host", help="where others reach it; by default its address towards the registry")
    parser.add_argument("--port", type=int, default=0, help="0 lets the system choose one")
    parser.add_argument("--drain", type=float, default=0.0, help="seconds out of rotation before it goes")
    parser.add_argument(
        "--deregister-after", type=float, default=60.0, help="seconds until the registry removes it once dead"
    )
    return parser.parse_args()


async def main() -> None:
    args = arguments()
    app = web.Application()
    app.add_routes(routes)
    app.router.add_get("/health", sd_aiohttp.health())
    await sd_aiohttp.serve(
        app,
        connect=lambda: Discovery(ConsulBackend(args.registry, client=args.client)),
        register=Registration(
            service=args.service,
            host=args.host,
            port=args.port,
            tags=("say-hello", "v1"),
            meta={"pid": str(os.getpid()), "started": f"{time.time():.3f}"},
            check=HTTPCheck(
                "/health",
                interval=1.0,
                timeout=1.0,
                deregister_after=args.deregister_after,
                initial_status="passing",  # `serve` listens before it registers.
            ),
        ),
        required=True,
        drain=args.drain,
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    try:
        asyncio.run(main())
    except (BackendError, OSError) as exc:
        sys.exit(f"could not start: {exc}")
