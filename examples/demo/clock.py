"""A second service: it tells the time, and says itself, by a TTL check, that it is well.

python examples/demo/clock.py --registry http://127.0.0.1:8500

GET /now   the time, with the id of the instance that tells it
"""

import argparse
import asyncio
import os
import sys
import time

from aiohttp import web

import asyncsd.ext.aiohttp as sd_aiohttp
from asyncsd import BackendError, Discovery, Registration, TTLCheck
from asyncsd.backends.consul import ConsulBackend
from asyncsd.ext.aiohttp import REGISTRATION


async def now(request: web.Request) -> web.Response:
    return web.json_response({"now": time.strftime("%H:%M:%S"), "id": request.app[REGISTRATION].id})


async def main() -> None:
    parser = argparse.ArgumentParser(description="A service that tells the time.")
    parser.add_argument("--registry", default="http://127.0.0.1:8500", help="the Consul agent")
    args = parser.parse_args()
    app = web.Application()
    app.router.add_get("/now", now)
    await sd_aiohttp.serve(
        app,
        connect=lambda: Discovery(ConsulBackend(args.registry)),
        register=Registration(
            service="clock",
            meta={"pid": str(os.getpid()), "started": f"{time.time():.3f}"},
            check=TTLCheck(ttl=3.0),
        ),
        required=True,
    )


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (BackendError, OSError) as exc:
        sys.exit(f"could not start: {exc}")
