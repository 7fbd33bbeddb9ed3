"""TLS on a real server, with certificates of our own."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from asyncsd import PermissionDeniedError, Query, Registration, TTLCheck, UnreachableError
from asyncsd.backends import from_url
from asyncsd.backends.etcd2 import Etcd2Backend
from tests.support.etcd import V2, EtcdServer, call_v2
from tests.support.fake_agent import Certificates, make_certificates
from tests.support.running import fetched, running

pytestmark = pytest.mark.server("etcd34")

ME = Registration(service="greeter", host="10.0.0.7", port=80, id="g1", check=TTLCheck(ttl=30.0))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def server(certificates: Certificates) -> AsyncIterator[EtcdServer]:
    """It wants a certificate of its clients."""
    async with EtcdServer(
        V2,
        *("--cert-file", str(certificates.server), "--key-file", str(certificates.server_key)),
        *("--client-cert-auth", "--trusted-ca-file", str(certificates.ca)),
        scheme="https",
        program="etcd34",
    ) as server:
        yield server


async def test_a_client_with_a_certificate_does_all(server: EtcdServer, certificates: Certificates) -> None:
    options: Any = {
        "ca": certificates.ca,
        "cert": certificates.client,
        "key": certificates.client_key,
    }
    async with Etcd2Backend(server.url, **options) as backend, running(backend, ME) as registrar:
        await registrar.ready()
        reply = await fetched(backend, "greeter", lambda found: [i.status for i in found] == ["passing"])
        assert reply.instances[0].id == "g1"


async def test_a_url_names_the_files(server: EtcdServer, certificates: Certificates) -> None:
    files = f"ca={certificates.ca}&cert={certificates.client}&key={certificates.client_key}"
    async with from_url(f"etcd2://127.0.0.1:{server.port}/?tls=true&{files}") as backend:
        assert (await backend.fetch(Query("greeter"), None)).instances == ()


async def test_a_context_of_the_users_own(server: EtcdServer, certificates: Certificates) -> None:
    context = ssl.create_default_context(cafile=certificates.ca)
    context.load_cert_chain(certificates.client, certificates.client_key)
    async with Etcd2Backend(server.url, ssl=context) as backend:
        assert (await backend.fetch(Query("greeter"), None)).instances == ()


async def test_a_server_that_is_not_trusted_is_told_so(server: EtcdServer) -> None:
    async with Etcd2Backend(server.url) as backend:
        with pytest.raises(UnreachableError, match="its certificate isn't trusted"):
            await backend.fetch(Query("greeter"), None)


async def test_a_client_without_a_certificate_is_refused(
    server: EtcdServer, certificates: Certificates
) -> None:
    async with Etcd2Backend(server.url, ca=certificates.ca) as backend:
        with pytest.raises(UnreachableError, match=server.url):
            await backend.fetch(Query("greeter"), None)


async def test_a_certificate_is_a_login_where_its_name_is_a_users(
    certificates: Certificates, server: EtcdServer
) -> None:
    options: Any = {
        "ca": certificates.ca,
        "cert": certificates.client,
        "key": certificates.client_key,
    }
    admin = ssl.create_default_context(cafile=certificates.ca)
    admin.load_cert_chain(certificates.client, certificates.client_key)

    async def ask(path: str, body: object, user: str | None = None) -> None:
        await asyncio.to_thread(call_v2, "PUT", f"{server.url}/v2/auth/{path}", user, body, {}, admin)

    root = {"user": "root", "password": "root-secret"}
    role = {"role": "writer", "permissions": {"kv": {"read": ["/services/*"], "write": ["/services/*"]}}}
    await ask("users/root", root)
    await ask("users/client", {"user": "client", "password": "unused", "roles": []})
    await ask("roles/writer", role)
    await ask("enable", {})
    guest = {"role": "guest", "revoke": {"kv": {"read": ["/*"], "write": ["/*"]}}}
    await ask("roles/guest", guest, "root:root-secret")
    async with Etcd2Backend(server.url, **options) as backend:
        with pytest.raises(PermissionDeniedError):
            await backend.fetch(Query("greeter"), None)
        await ask("users/client", {"user": "client", "grant": ["writer"]}, "root:root-secret")
        await backend.register(ME.record(id="g1", host="10.0.0.7"))
        assert len((await backend.fetch(Query("greeter"), None)).instances) == 1


async def test_plain_http_to_a_tls_port_is_an_error_that_names_it(server: EtcdServer) -> None:
    async with Etcd2Backend(f"127.0.0.1:{server.port}") as backend:
        with pytest.raises(Exception, match=str(server.port)):
            await backend.fetch(Query("greeter"), None)


@pytest.mark.parametrize("name", ["ca", "cert"])
async def test_a_file_that_is_missing_is_named(name: str) -> None:
    options: Any = {name: Path("/no/such/file")}
    backend = Etcd2Backend("https://127.0.0.1:1", **options)
    with pytest.raises(ValueError, match=rf"{name} /no/such/file: No such file"):
        await backend.__aenter__()
