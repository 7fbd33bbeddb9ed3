"""Users, roles and tokens on a real server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from asyncsd import Health, PermissionDeniedError, Query, Registration, TTLCheck
from asyncsd.backends.etcd import EtcdBackend
from tests.etcd.running import fetched, running
from tests.support.etcd import EtcdServer, b64

pytestmark = pytest.mark.server("etcd")

ME = Registration(service="greeter", host="10.0.0.7", port=80, id="g1", check=TTLCheck(ttl=3.0))


@pytest.fixture
async def server(program: str) -> AsyncIterator[EtcdServer]:
    """Users: root, app (may all under /services/), reader (may read there), nobody (may nothing)."""
    async with EtcdServer(program=program) as server:
        for user in ("root", "app", "reader", "nobody"):
            await server.post("/v3/auth/user/add", {"name": user, "password": f"{user}-secret"})
            await server.post("/v3/auth/role/add", {"name": user})
            await server.post("/v3/auth/user/grant", {"user": user, "role": user})
        for role, kind in (("app", "READWRITE"), ("reader", "READ")):
            permission = {"permType": kind, "key": b64("/services/"), "range_end": b64("/services0")}
            await server.post("/v3/auth/role/grant", {"name": role, "perm": permission})
        await server.post("/v3/auth/enable")
        yield server


def login(server: EtcdServer, user: str, *, timeout: float = 5.0) -> EtcdBackend:
    return EtcdBackend(server.url, user=user, password=f"{user}-secret", timeout=timeout)


async def test_a_user_registers_watches_and_observes(server: EtcdServer) -> None:
    async with login(server, "app") as backend:
        before = await backend.fetch(Query("greeter"), None)
        coming = asyncio.create_task(backend.fetch(Query("greeter"), before.cursor))
        async with running(backend, ME) as registrar:
            await registrar.ready()
            assert [instance.id for instance in (await coming).instances] == ["g1"]
        assert (await fetched(backend, "greeter", lambda found: not found)).instances == ()


async def test_a_restart_forgets_tokens_and_nobody_notices(server: EtcdServer) -> None:
    async with login(server, "app") as backend, running(backend, ME) as registrar:
        await registrar.ready()
        server.kill()
        await server.start()
        await fetched(backend, "greeter", lambda found: [i.status for i in found] == ["passing"])


async def test_a_reader_may_not_register_and_is_told_what_is_missing(server: EtcdServer) -> None:
    async with login(server, "reader") as backend:
        reply = await backend.fetch(Query("greeter"), None)
        with pytest.raises(PermissionDeniedError, match="readwrite on the prefix"):
            await backend.register(ME.record(id="g1", host="10.0.0.7"))
        async with login(server, "app") as writer:
            coming = asyncio.create_task(backend.fetch(Query("greeter"), reply.cursor))
            await writer.register(ME.record(id="g1", host="10.0.0.7"))
            assert len((await coming).instances) == 1
    # What was granted for nothing was given back.
    async with login(server, "root") as root:
        token = await root._transport.token(root._transport.endpoint)
        told = await server.post("/v3/lease/leases", token=token)
        assert len(told["leases"]) == 1


async def test_rights_taken_away_are_an_error_of_the_watch(server: EtcdServer) -> None:
    async with login(server, "reader") as backend, login(server, "root") as root:
        reply = await backend.fetch(Query("greeter"), None)
        token = await root._transport.token(root._transport.endpoint)
        revoked = {"role": "reader", "key": b64("/services/"), "range_end": b64("/services0")}
        await server.post("/v3/auth/role/revoke", revoked, token=token)
        async with asyncio.timeout(5):
            with pytest.raises(PermissionDeniedError, match="permission denied"):
                await backend.fetch(Query("greeter"), reply.cursor)


@pytest.mark.parametrize("user", ["nobody", "stranger"])
async def test_who_may_not_is_refused(server: EtcdServer, user: str) -> None:
    async with login(server, user) as backend:
        with pytest.raises(PermissionDeniedError):
            await backend.fetch(Query("greeter"), None)


async def test_without_a_login_the_error_names_the_parameters(server: EtcdServer) -> None:
    async with EtcdBackend(server.url) as backend:
        with pytest.raises(PermissionDeniedError, match="user= and password="):
            await backend.fetch(Query("greeter"), None)


async def test_a_password_that_is_wrong_is_told_without_it(server: EtcdServer) -> None:
    async with EtcdBackend(server.url, user="app", password="not-this-one") as backend:
        with pytest.raises(PermissionDeniedError, match="password is another") as told:
            await backend.fetch(Query("greeter"), None)
    assert "not-this-one" not in f"{told.value!r} {backend!r}"


async def test_a_changed_password_file_is_read_at_the_next_login(server: EtcdServer, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("app-secret\n")
    async with (
        EtcdBackend(server.url, user="app", password_file=file) as backend,
        login(server, "root") as root,
    ):
        await backend.fetch(Query("greeter"), None)
        token = await root._transport.token(root._transport.endpoint)
        changed = {"name": "app", "password": "another"}
        await server.post("/v3/auth/user/changepw", changed, token=token)
        file.write_text("another\n")
        await backend.fetch(Query("greeter"), None)


async def test_a_login_where_authentication_is_off_does_no_harm_and_is_used_once_it_is_on() -> None:
    async with (
        EtcdServer() as server,
        EtcdBackend(server.url, user="root", password="root-secret") as backend,
    ):
        lease = await backend.register(ME.record(id="g1", host="10.0.0.7"))
        await server.post("/v3/auth/user/add", {"name": "root", "password": "root-secret"})
        await server.post("/v3/auth/role/add", {"name": "root"})
        await server.post("/v3/auth/user/grant", {"user": "root", "role": "root"})
        await server.post("/v3/auth/enable")
        await backend.renew(lease, Health("passing"))
        await fetched(backend, "greeter", lambda found: [i.status for i in found] == ["passing"])
