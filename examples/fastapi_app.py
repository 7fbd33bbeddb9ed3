"""A FastAPI application that registers itself, and calls another service through a balancer.

    PORT=8080 uvicorn --app-dir examples --port 8080 fastapi_app:app

GET /greet asks an instance of "say-hello" (examples/say_hello) for a greeting.
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import aiohttp
from fastapi import Depends, FastAPI, Request

import asyncsd.ext.fastapi as sd_fastapi
from asyncsd import Balancer, Discovery, HTTPCheck, Instance, Registration, Retry
from asyncsd.backends.consul import ConsulBackend

REGISTRY = os.environ.get("REGISTRY", "http://127.0.0.1:8500")
PORT = int(os.environ.get("PORT", "8080"))

ME = Registration(service="greeter", port=PORT, check=HTTPCheck("/health", interval=1.0))
RETRY = Retry(attempts=3, timeout=5.0, attempt_timeout=2.0, on=(aiohttp.ClientError,))


def connect() -> Discovery[ConsulBackend]:
    return Discovery(ConsulBackend(REGISTRY))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[dict[str, Any], None]:
    discovery = sd_fastapi.lifespan(connect, register=ME)
    async with discovery(app) as state, aiohttp.ClientSession() as session:
        yield {**state, "session": session}


app = FastAPI(lifespan=lifespan)
app.add_api_route("/health", sd_fastapi.health)

Greeters = Annotated[Balancer[Instance], Depends(sd_fastapi.balancer("say-hello"))]


@app.get("/greet")
async def greet(request: Request, greeters: Greeters, name: str = "world") -> Any:
    session: aiohttp.ClientSession = request.state.session

    async def ask(instance: Instance) -> Any:
        async with session.get(instance.url("/sayHello"), params={"name": name}) as response:
            response.raise_for_status()
            return await response.json()

    return await greeters.call(ask, retry=RETRY)
