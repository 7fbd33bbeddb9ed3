"""The FastAPI extension: an application registers itself, and gets balancers as dependencies."""

import asyncio
import os
import signal
from typing import Annotated, Any

import pytest
import uvicorn
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

import asyncsd.ext.fastapi as sd_fastapi
from asyncsd import Balancer, Discovery, Health, Instance, Registrar, Registration, TTLCheck
from asyncsd.testing import MemoryBackend

ME = Registration(service="greeter", host="127.0.0.1", port=8080, check=TTLCheck(ttl=15.0))
USER = Instance(id="users-1", service="users", host="10.0.0.1", port=8080)

Users = Annotated[Balancer[Instance], Depends(sd_fastapi.balancer("users"))]
Me = Annotated[Registrar, Depends(sd_fastapi.registration)]


def application(registry: MemoryBackend, **options: Any) -> FastAPI:
    app = FastAPI(lifespan=sd_fastapi.lifespan(lambda: Discovery(registry), register=ME, **options))
    app.add_api_route("/health", sd_fastapi.health)

    @app.get("/pick")
    async def pick(users: Users) -> str:
        async with users.acquire() as instance:
            return instance.id

    @app.get("/me")
    async def me(registration: Me) -> str:
        return registration.state

    return app


def test_it_is_registered_while_the_application_runs() -> None:
    registry = MemoryBackend(USER)
    with TestClient(application(registry)) as client:
        assert client.get("/me").json() == "registered"
        assert len(registry.instances("greeter")) == 1
    assert registry.instances("greeter") == ()


def test_a_balancer_is_a_dependency() -> None:
    with TestClient(application(MemoryBackend(USER))) as client:
        assert client.get("/pick").json() == "users-1"


@pytest.mark.parametrize(
    ("said", "status"),
    [(Health("passing"), 200), (Health("warning", "slow"), 429), (Health("critical", "no database"), 503)],
)
def test_the_health_route_says_what_health_says(said: Health, status: int) -> None:
    with TestClient(application(MemoryBackend(), health=lambda: said)) as client:
        response = client.get("/health")
        assert (response.status_code, response.text) == (status, said.note or said.status)


def test_an_application_without_the_lifespan_is_told_what_to_do() -> None:
    app = FastAPI()

    @app.get("/pick")
    async def pick(users: Users) -> str:
        return users.pick().id

    with TestClient(app) as client, pytest.raises(RuntimeError, match=r"lifespan=asyncsd\.ext\.fastapi"):
        client.get("/pick")


async def test_on_a_signal_it_is_deregistered_before_the_server_stops() -> None:
    registry = MemoryBackend(USER)
    told: list[str] = []
    app = application(registry, on_change=lambda change: told.append(change.after))

    started = asyncio.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            started.set()

        async def shutdown(self, sockets: Any = None) -> None:
            told.append("sockets close")
            await super().shutdown(sockets)

    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: told.append("raised again"))  # uvicorn does so at its end
    try:
        server = Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
        serving = asyncio.create_task(server.serve())
        async with asyncio.timeout(10):
            await started.wait()
            os.kill(os.getpid(), signal.SIGTERM)
            await serving
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == ["registered", "deregistered", "sockets close", "raised again"]
