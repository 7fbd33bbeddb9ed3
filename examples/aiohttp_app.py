"""An aiohttp application that registers itself, and calls another service by its name.

    python examples/aiohttp_app.py

GET /greet asks an instance of "say-hello" (examples/say_hello) for a greeting.
"""

import os
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

import asyncsd.ext.aiohttp as sd_aiohttp
from asyncsd import Discovery, HTTPCheck, Registration
from asyncsd.backends.consul import ConsulBackend

REGISTRY = os.environ.get("REGISTRY", "http://127.0.0.1:8500")
PORT = int(os.environ.get("PORT", "8080"))
SESSION = web.AppKey("session", aiohttp.ClientSession)

ME = Registration(service="greeter", port=PORT, check=HTTPCheck("/health", interval=1.0))


def connect() -> Discovery[ConsulBackend]:
    return Discovery(ConsulBackend(REGISTRY))


async def session(app: web.Application) -> AsyncIterator[None]:
    balanced = sd_aiohttp.balanced(app[sd_aiohttp.DISCOVERY])
    async with aiohttp.ClientSession(middlewares=(balanced,)) as app[SESSION]:
        yield


async def greet(request: web.Request) -> web.Response:
    async with request.app[SESSION].get("http://say-hello/sayHello", params=request.query) as response:
        return web.json_response(await response.json(), status=response.status)


def application() -> web.Application:
    app = web.Application()
    sd_aiohttp.setup(app, connect, register=ME)
    app.cleanup_ctx.append(session)
    app.router.add_get("/greet", greet)
    app.router.add_get("/health", sd_aiohttp.health())
    return app


if __name__ == "__main__":
    web.run_app(application(), port=PORT)
