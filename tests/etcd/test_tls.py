"""TLS on a real server, with certificates of our own."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncsd import PermissionDeniedError, Query, Registration, TTLCheck, UnreachableError
from asyncsd.backends import from_url
from asyncsd.backends.etcd import EtcdBackend
from tests.support.etcd import EtcdServer
from tests.support.fake_agent import Certificates, make_certificates
from tests.support.running import fetched, running

pytestmark = pytest.mark.server("etcd")

ME = Registration(service="greeter", host="10.0.0.7", port=80, id="g1", check=TTLCheck(ttl=30.0))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def make_server(certificates: Certificates) -> EtcdServer:
    """It wants a certificate of its clients."""
    return EtcdServer(
        *("--cert-file", str(certificates.server), "--key-file", str(certificates.server_key)),
        *("--client-cert-auth", "--trusted-ca-file", str(certificates.ca)),
        scheme="https",
    )


@pytest.fixture(scope="module")
def server(certificates: Certificates) -> Iterator[EtcdServer]:
    server = make_server(certificates)
    asyncio.run(server.start())
    yield server
    server.stop()


async def test_a_client_with_a_certificate_does_all(server: EtcdServer, certificates: Certificates) -> None:
    options: Any = {"ca": certificates.ca, "cert": certificates.client, "key": certificates.client_key}
    async with EtcdBackend(server.url, **options) as backend, running(backend, ME) as registrar:
        await registrar.ready()
        reply = await fetched(backend, "greeter", lambda found: [i.status for i in found] == ["passing"])
        assert reply.instances[0].id == "g1"


async def test_a_url_names_the_files(server: EtcdServer, certificates: Certificates) -> None:
    files = f"ca={certificates.ca}&cert={certificates.client}&key={certificates.client_key}"
    async with from_url(f"etcd://127.0.0.1:{server.port}/?tls=true&{files}") as backend:
        assert (await backend.fetch(Query("greeter"), None)).instances == ()


async def test_a_context_of_the_users_own(server: EtcdServer, certificates: Certificates) -> None:
    context = ssl.create_default_context(cafile=certificates.ca)
    context.load_cert_chain(certificates.client, certificates.client_key)
    async with EtcdBackend(server.url, ssl=context) as backend:
        assert (await backend.fetch(Query("greeter"), None)).instances == ()


async def test_a_server_that_is_not_trusted_is_told_so(server: EtcdServer) -> None:
    async with EtcdBackend(server.url) as backend:
        with pytest.raises(UnreachableError, match="its certificate isn't trusted"):
            await backend.fetch(Query("greeter"), None)


async def test_a_client_without_a_certificate_is_refused(
    server: EtcdServer, certificates: Certificates
) -> None:
    async with EtcdBackend(server.url, ca=certificates.ca) as backend:
        with pytest.raises(UnreachableError, match=server.url):
            await backend.fetch(Query("greeter"), None)


async def test_a_certificate_with_a_name_and_authentication_is_explained(
    certificates: Certificates,
) -> None:
    options: Any = {"ca": certificates.ca, "cert": certificates.client, "key": certificates.client_key}
    async with make_server(certificates) as server, EtcdBackend(server.url, **options) as backend:
        ask = backend._transport.call
        await ask("/v3/auth/user/add", {"name": "root", "password": "x"}, dict)
        await ask("/v3/auth/role/add", {"name": "root"}, dict)
        await ask("/v3/auth/user/grant", {"user": "root", "role": "root"}, dict)
        await ask("/v3/auth/enable", {}, dict)
        with pytest.raises(PermissionDeniedError, match="a certificate without one"):
            await backend.fetch(Query("greeter"), None)


async def test_plain_http_to_a_tls_port_is_an_error_that_names_it(server: EtcdServer) -> None:
    async with EtcdBackend(f"127.0.0.1:{server.port}") as backend:
        with pytest.raises(Exception, match=str(server.port)):
            await backend.fetch(Query("greeter"), None)


@pytest.mark.parametrize("name", ["ca", "cert"])
async def test_a_file_that_is_missing_is_named(name: str) -> None:
    files: Any = {name: Path("/no/such/file")}
    backend = EtcdBackend("https://127.0.0.1:1", **files)
    with pytest.raises(ValueError, match=rf"{name} /no/such/file: No such file"):
        await backend.__aenter__()
