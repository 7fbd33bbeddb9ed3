"""Requests to a server that the test plays: TLS, and answers that a real one gives seldom."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from asyncsd import BackendError, ProtocolError, Query, RateLimitedError, UnreachableError
from asyncsd.backends.eureka import EurekaBackend
from tests.support.fake_agent import Certificates, make_certificates
from tests.support.process import free_ports

EMPTY = '{"applications":{"versions__delta":"1","apps__hashcode":"","application":[]}}'

Answer = Callable[[], web.Response]


@asynccontextmanager
async def serving(answer: Answer, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that answers all with `answer()`; its port."""

    async def handle(_: web.Request) -> web.Response:
        return answer()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    [port] = free_ports(1)
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    try:
        yield port
    finally:
        await runner.cleanup()


def empty() -> web.Response:
    return web.Response(text=EMPTY, content_type="application/json")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def context(certificates: Certificates) -> ssl.SSLContext:
    """A server's, which wants a certificate of its clients."""
    return certificates.server_context(client_needed=True)


async def test_a_client_with_a_certificate_is_served(
    certificates: Certificates, context: ssl.SSLContext
) -> None:
    files = {"ca": certificates.ca, "cert": certificates.client, "key": certificates.client_key}
    async with (
        serving(empty, context) as port,
        EurekaBackend(f"https://127.0.0.1:{port}", **files) as backend,
    ):
        assert (await backend.fetch(Query("web"), None)).instances == ()


async def test_a_server_that_is_not_trusted_is_told_so(context: ssl.SSLContext) -> None:
    async with serving(empty, context) as port, EurekaBackend(f"https://127.0.0.1:{port}") as backend:
        with pytest.raises(UnreachableError, match="its certificate isn't trusted"):
            await backend.fetch(Query("web"), None)


async def test_a_certificate_that_is_missing_is_named() -> None:
    backend = EurekaBackend("https://127.0.0.1:1", ca=Path("/no/such/file"))
    with pytest.raises(ValueError, match=r"EurekaBackend\.ca /no/such/file: No such file"):
        await backend.__aenter__()


@pytest.mark.parametrize(
    ("answer", "kind", "match"),
    [
        (lambda: web.Response(text="<html>", content_type="text/html"), ProtocolError, "is it a Eureka"),
        (lambda: web.Response(text='{"applications":[]}'), ProtocolError, "isn't what Eureka gives"),
        (lambda: web.Response(status=302, headers={"Location": "/login"}), ProtocolError, "302"),
        (lambda: web.Response(status=404), BackendError, r"its path the right one\?"),
        (lambda: web.Response(status=503), BackendError, "503"),
    ],
)
async def test_another_answer_is_an_error_that_names_the_server(
    answer: Answer, kind: type[BackendError], match: str
) -> None:
    async with serving(answer) as port, EurekaBackend(f"127.0.0.1:{port}") as backend:
        with pytest.raises(kind, match=match) as caught:
            await backend.fetch(Query("web"), None)
        assert f"http://127.0.0.1:{port}/eureka" in str(caught.value)


async def test_a_limit_tells_when_to_come_back() -> None:
    def limited() -> web.Response:
        return web.Response(status=429, headers={"Retry-After": "7"})

    async with serving(limited) as port, EurekaBackend(f"127.0.0.1:{port}") as backend:
        with pytest.raises(RateLimitedError) as caught:
            await backend.fetch(Query("web"), None)
        assert caught.value.retry_after == 7.0


async def test_the_next_server_is_asked_where_one_cannot_serve(caplog: pytest.LogCaptureFixture) -> None:
    def starting() -> web.Response:
        return web.Response(status=403)

    caplog.set_level("INFO", "asyncsd.eureka")
    async with serving(starting) as one, serving(empty) as other:
        async with EurekaBackend(f"127.0.0.1:{one},127.0.0.1:{other}", interval=0.1) as backend:
            for _ in range(3):
                await backend.fetch(Query("web"), None)
    assert [record.message.partition(" now")[0] for record in caplog.records] == [
        f"Eureka is asked at http://127.0.0.1:{other}/eureka"
    ]


async def test_none_of_several_is_one_error_that_names_them_all() -> None:
    one, other = free_ports(2)
    async with EurekaBackend(f"127.0.0.1:{one},127.0.0.1:{other}") as backend:
        with pytest.raises(UnreachableError, match=f"none of 2 Eureka servers.*{one}.*{other}"):
            await backend.fetch(Query("web"), None)
