"""What stands in an error when something else answers where the registry should be."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from asyncsd import BackendError, Discovery, UnreachableError
from asyncsd.backends import from_url

NOT_FOUND = b'{"timestamp":"2026-01-01","status":404,"error":"Not Found","path":"/"}'
"""As Spring's programs say it."""


@asynccontextmanager
async def answering(answer: bytes) -> AsyncGenerator[str, None]:
    """Where a server is that says the same to whatever it is told, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("scheme", ["consul", "consul+direct", "etcd", "etcd2", "eureka"])
@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.0 400 Bad Request\r\n\r\n", r"no TLS is spoken on that port \(\w+\)"),
        (b"", "closed while TLS began: is TLS spoken on that port"),
    ],
)
async def test_tls_to_a_server_without_it(scheme: str, answer: bytes, says: str) -> None:
    async with answering(answer) as where, Discovery.from_url(f"{scheme}://{where}?tls=true") as sd:
        with pytest.raises(UnreachableError, match=f"can't connect: .*{says}") as raised:
            await sd.instances("users")
    assert where in str(raised.value)


@pytest.mark.parametrize(
    ("scheme", "says"),
    [
        ("consul", "404: .*is it a Consul agent"),
        ("consul+direct", "404: .*is it a Consul agent"),
        ("etcd", "404: Not Found: is it etcd's gateway"),
        ("etcd2", "404: is it etcd's v2 API"),
        ("eureka", "is it a Eureka server"),
    ],
)
async def test_another_service_that_speaks_json(scheme: str, says: str) -> None:
    head = f"HTTP/1.0 404 Not Found\r\nContent-Type: text/json\r\nContent-Length: {len(NOT_FOUND)}\r\n\r\n"
    async with (
        answering(head.encode() + NOT_FOUND) as where,
        Discovery.from_url(f"{scheme}://{where}") as sd,
    ):
        with pytest.raises(BackendError, match=says) as raised:
            await sd.instances("users")
    assert where in str(raised.value)


async def test_another_protocol_than_zookeepers() -> None:
    async with (
        answering(b"") as where,
        Discovery.from_url(f"zk://{where}?connect_timeout=2") as sd,
    ):
        with pytest.raises(UnreachableError, match=r"no connection to ZooKeeper within 2 s: \w") as raised:
            await sd.instances("users")
    assert where in str(raised.value)


@pytest.mark.parametrize("scheme", ["consul", "etcd", "etcd2", "eureka", "zk", "dns"])
def test_a_parameter_that_is_no_number_says_so(scheme: str) -> None:
    with pytest.raises(ValueError, match=r"^wait of .* URL is a number; got 'long'$"):
        from_url(f"{scheme}://127.0.0.1/x?wait=long")


@pytest.mark.parametrize("scheme", ["consul", "etcd", "etcd2", "eureka"])
def test_certificates_without_tls_name_the_parameter_for_it(scheme: str) -> None:
    with pytest.raises(ValueError, match="tls=true in a URL"):
        from_url(f"{scheme}://127.0.0.1?ca=ca.pem")
