"""Users and roles on a real server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from asyncsd import PermissionDeniedError, Query, Registration, TTLCheck
from asyncsd.backends.etcd2 import Etcd2Backend
from tests.support.etcd import V2, EtcdServer
from tests.support.running import fetched, running

pytestmark = pytest.mark.server("etcd34")

ME = Registration(service="greeter", host="10.0.0.7", port=80, id="g1", check=TTLCheck(ttl=60.0))
ROOT = "root:root-secret"
RIGHTS = {"app": "/services/*", "greeter": "/services/greeter/*", "key": "/services/greeter/g1"}


async def prepare(server: EtcdServer) -> None:
    for user in ("root", "reader", "nobody", *RIGHTS):
        await server.v2("PUT", f"/auth/users/{user}", body={"user": user, "password": f"{user}-secret"})
    reading = {"read": ["/services/*"], "write": []}
    rights = {user: {"read": [keys], "write": [keys]} for user, keys in RIGHTS.items()}
    for role, kv in (("reader", reading), *rights.items()):
        body = {"role": role, "permissions": {"kv": kv}}
        await server.v2("PUT", f"/auth/roles/{role}", body=body)
        await server.v2("PUT", f"/auth/users/{role}", body={"user": role, "grant": [role]})
    await server.v2("PUT", "/auth/enable")
    revoke = {"role": "guest", "revoke": {"kv": {"read": ["/*"], "write": ["/*"]}}}
    await server.v2("PUT", "/auth/roles/guest", user=ROOT, body=revoke)


@pytest.fixture(scope="module")
def guarded() -> Iterator[EtcdServer]:
    """Users: root, app (may all under the prefix), greeter (in that service), key (that), reader, nobody."""

    server = EtcdServer(V2, program="etcd34")
    server.launch()
    server.wait_ready()
    asyncio.run(prepare(server))
    yield server
    server.stop()


@pytest.fixture
async def server(guarded: EtcdServer) -> AsyncIterator[EtcdServer]:
    yield guarded
    for key in await guarded.keys_v2("/services", user=ROOT):
        await guarded.v2("DELETE", f"/keys{key}", user=ROOT)


def login(server: EtcdServer, user: str) -> Etcd2Backend:
    return Etcd2Backend(server.url, user=user, password=f"{user}-secret")


@pytest.mark.parametrize("user", ["app", "greeter"])
async def test_a_user_registers_watches_and_observes(server: EtcdServer, user: str) -> None:
    async with login(server, user) as backend:
        before = await backend.fetch(Query("greeter"), None)
        coming = asyncio.create_task(backend.fetch(Query("greeter"), before.cursor))
        async with running(backend, ME) as registrar:
            await registrar.ready()
            assert [instance.id for instance in (await coming).instances] == ["g1"]
            await fetched(backend, "greeter", lambda found: [i.status for i in found] == ["passing"])
            # By one long poll: of the prefix, or where that is refused of the service.
            now = await backend.fetch(Query("greeter"), None)
            waiting = asyncio.create_task(backend.fetch(Query("greeter"), now.cursor))
            await server.listened()
            assert not waiting.done()
        assert (await waiting).instances == ()


async def test_a_user_of_one_key_registers_and_observes_it(server: EtcdServer) -> None:
    async with login(server, "key") as backend, running(backend, ME) as registrar:
        await registrar.ready()
        await server.listened()
        await server.v2("DELETE", "/keys/services/greeter/g1", user=ROOT)
        async with login(server, "reader") as reader:
            await fetched(reader, "greeter", lambda found: [i.status for i in found] == ["passing"])
    assert await server.keys_v2("/services", user=ROOT) == {}


async def test_what_a_role_lacks_is_refused_and_the_rest_works(server: EtcdServer) -> None:
    async with login(server, "greeter") as backend:
        reply = await backend.fetch(Query("greeter"), None)
        with pytest.raises(PermissionDeniedError):
            await backend.fetch(Query("users"), None)
        with pytest.raises(PermissionDeniedError):
            await backend.fetch(Query("users"), reply.cursor)
        with pytest.raises(PermissionDeniedError):
            await backend.fetch_names(None)
        coming = asyncio.create_task(backend.fetch(Query("greeter"), reply.cursor))
        await backend.register(ME.record(id="g1", host="10.0.0.7"))
        assert len((await coming).instances) == 1


async def test_a_reader_may_not_register_and_is_told_what_may_be_missing(server: EtcdServer) -> None:
    async with login(server, "reader") as backend:
        await backend.fetch(Query("greeter"), None)
        with pytest.raises(PermissionDeniedError, match="its role lacks read or write of the prefix"):
            await backend.register(ME.record(id="g1", host="10.0.0.7"))


@pytest.mark.parametrize("user", ["nobody", "stranger"])
async def test_who_may_not_is_refused(server: EtcdServer, user: str) -> None:
    async with login(server, user) as backend:
        for cursor in (None, 1):
            with pytest.raises(PermissionDeniedError):
                await backend.fetch(Query("greeter"), cursor)


async def test_rights_taken_away_and_given_back(server: EtcdServer) -> None:
    async with login(server, "reader") as backend:
        reply = await backend.fetch(Query("greeter"), None)
        change = {"kv": {"read": ["/services/*"], "write": []}}
        await server.v2("PUT", "/auth/roles/reader", user=ROOT, body={"role": "reader", "revoke": change})
        try:
            with pytest.raises(PermissionDeniedError):
                await backend.fetch(Query("greeter"), reply.cursor)
        finally:
            await server.v2("PUT", "/auth/roles/reader", user=ROOT, body={"role": "reader", "grant": change})
        coming = asyncio.create_task(backend.fetch(Query("greeter"), reply.cursor))
        async with login(server, "app") as writer:
            await writer.register(ME.record(id="g1", host="10.0.0.7"))
            assert len((await coming).instances) == 1
            # And the widest long poll is the one again.
            names = asyncio.create_task(backend.fetch_names((await backend.fetch_names(None)).cursor))
            await server.listened()
            await writer.register(ME.record(id="g2", host="10.0.0.7"))
            assert list((await names).services) == ["greeter"]


async def test_without_a_login_the_error_names_the_parameters(server: EtcdServer) -> None:
    async with Etcd2Backend(server.url) as backend:
        with pytest.raises(PermissionDeniedError, match="user=, password="):
            await backend.fetch(Query("greeter"), None)


async def test_a_password_that_is_wrong_is_told_without_it(server: EtcdServer) -> None:
    async with Etcd2Backend(server.url, user="app", password="not-this-one") as backend:
        with pytest.raises(PermissionDeniedError, match="the password may be another") as told:
            await backend.fetch(Query("greeter"), None)
    assert "not-this-one" not in f"{told.value!r} {backend!r}"


async def test_a_changed_password_file_is_read_once_the_old_one_is_refused(
    server: EtcdServer, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("app-secret\n")
    async with Etcd2Backend(server.url, user="app", password_file=file) as backend:
        await backend.fetch(Query("greeter"), None)
        body = {"user": "app", "password": "another"}
        await server.v2("PUT", "/auth/users/app", user=ROOT, body=body)
        try:
            with pytest.raises(PermissionDeniedError):
                await backend.fetch(Query("greeter"), None)
            file.write_text("another\n")
            await backend.fetch(Query("greeter"), None)
        finally:
            body["password"] = "app-secret"
            await server.v2("PUT", "/auth/users/app", user=ROOT, body=body)


async def test_a_login_where_authentication_is_off_does_no_harm() -> None:
    async with EtcdServer(V2, program="etcd34") as server, login(server, "app") as backend:
        await backend.register(ME.record(id="g1", host="10.0.0.7"))
        assert len((await backend.fetch(Query("greeter"), None)).instances) == 1
