"""Users, roles and tokens on a real server."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncsd import Health, PermissionDeniedError, Query, Registration, TTLCheck
from asyncsd.backends.etcd import EtcdBackend
from tests.etcd.running import both
from tests.support.etcd import EtcdServer, b64
from tests.support.running import fetched, running

pytestmark = both

ME = Registration(service="greeter", host="10.0.0.7", port=80, id="g1", check=TTLCheck(ttl=30.0))


ALL = ("/services/", "/services0")


@pytest.fixture(scope="module")
def guarded() -> Iterator[dict[str, EtcdServer]]:
    """The servers that were started, by the program's name."""
    started: dict[str, EtcdServer] = {}
    yield started
    for server in started.values():
        server.stop()


@pytest.fixture
async def server(program: str, guarded: dict[str, EtcdServer]) -> EtcdServer:
    """It knows who may do all under /services/, who may read there, or a part of it, or nothing."""
    if program not in guarded:
        guarded[program] = server = EtcdServer("--bcrypt-cost", "4", program=program)
        await server.start()
        await server.protect(
            app=("READWRITE", *ALL),
            changing=("READWRITE", *ALL),
            reader=("READ", *ALL),
            losing=("READ", *ALL),
            narrow=("READ", "/services/greeter/", "/services/greeter0"),
            nobody=("READ", "/other/", "/other0"),
        )
    await guarded[program].renew()
    return guarded[program]


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
    assert len(await server.leases()) == 1


async def test_rights_taken_away_are_an_error_of_the_watch(server: EtcdServer) -> None:
    async with login(server, "losing") as backend:
        reply = await backend.fetch(Query("greeter"), None)
        revoked = {"role": "losing", "key": b64(ALL[0]), "range_end": b64(ALL[1])}
        await server.post("/v3/auth/role/revoke", revoked)
        async with asyncio.timeout(20):
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
    file.write_text("changing-secret\n")
    async with EtcdBackend(server.url, user="changing", password_file=file) as backend:
        await backend.fetch(Query("greeter"), None)
        await server.post("/v3/auth/user/changepw", {"name": "changing", "password": "another"})
        file.write_text("another\n")
        await backend.fetch(Query("greeter"), None)


async def test_a_login_where_authentication_is_off_does_no_harm_and_is_used_once_it_is_on(
    program: str,
) -> None:
    async with (
        EtcdServer("--bcrypt-cost", "4", program=program) as server,
        EtcdBackend(server.url, user="root", password="root-secret") as backend,
    ):
        lease = await backend.register(ME.record(id="g1", host="10.0.0.7"))
        await server.protect()
        await backend.renew(lease, Health("passing"))
        await fetched(backend, "greeter", lambda found: [i.status for i in found] == ["passing"])


async def test_many_watches_of_a_user_who_may_not_watch_all_are_alone(
    server: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with login(server, "narrow") as backend:
        before = await backend.fetch(Query("greeter"), None)
        with caplog.at_level(logging.INFO, "asyncsd.etcd"):
            coming = [asyncio.create_task(backend.fetch(Query("greeter"), before.cursor)) for _ in range(12)]
            await server.watched(12)
            await server.put("/services/greeter/g1", "10.0.0.7:80")
            assert [len((await fetch).instances) for fetch in coming] == [1] * 12
    assert len(caplog.records) == 1
