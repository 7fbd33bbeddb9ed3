"""Digest authentication, ACLs and TLS, on a real ZooKeeper."""

import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kazoo.security import make_acl, make_digest_acl

from asyncsd import PermissionDeniedError, Query
from tests.support.fake_agent import make_certificates
from tests.support.process import free_ports
from tests.support.zookeeper import ZooKeeper, tls_lines
from tests.zookeeper.watching import ME, PATH, hasty, kazoo, number, patient, read, refused, registered

pytestmark = pytest.mark.server("zookeeper")


async def test_with_a_password_what_is_registered_is_the_users_alone(
    server: ZooKeeper, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = tmp_path / "secret"
    secret.write_text("sesame\n")
    async with patient(server.host, user="me", password="sesame") as mine, registered(mine):
        async with patient(server.host, user="me", password_file=secret) as same:
            assert len((await same.fetch(Query("greeter"), None)).instances) == 1
        for options in ({}, {"user": "me", "password": "guessed"}):
            async with patient(server.host, **options) as other:
                with pytest.raises(PermissionDeniedError, match=r"/services/greeter.*ACL.*zk://"):
                    await other.fetch(Query("greeter"), None)
    assert "sesame" not in caplog.text
    assert "guessed" not in caplog.text


async def test_an_acl_of_ones_own_lets_others_read(server: ZooKeeper) -> None:
    acl = [make_digest_acl("me", "sesame", all=True), make_acl("world", "anyone", read=True)]
    record = ME.record(id="one", host="127.0.0.1")
    async with (
        patient(server.host, user="me", password="sesame", acl=acl) as mine,
        patient(server.host) as other,
    ):
        await mine.register(record)
        [instance] = (await other.fetch(Query("greeter"), None)).instances
        assert instance.id == "one"
        for refused in (record, replace(record, id="two")):
            with pytest.raises(PermissionDeniedError, match=r"/services/greeter/(one|two).*ACL"):
                await other.register(refused)


async def test_a_node_that_may_not_be_read_doesnt_hide_the_others(server: ZooKeeper) -> None:
    def create() -> None:
        with kazoo(server.host) as client:
            acl = [make_digest_acl("me", "sesame", all=True)]
            client.create("/services/greeter/closed", b"10.0.0.1:80", acl=acl)

    async with patient(server.host) as backend, registered(backend):
        await asyncio.to_thread(create)
        reply = await backend.fetch(Query("greeter"), None)
        assert [instance.id for instance in reply.instances] == ["one"]
        assert reply.skipped == 1


async def test_a_service_that_may_not_be_read_doesnt_hide_the_others(server: ZooKeeper) -> None:
    async with (
        patient(server.host, user="me", password="sesame") as mine,
        patient(server.host, wait=0.1) as other,
    ):
        await other.register(ME.record(id="one", host="127.0.0.1"))
        await mine.register(replace(ME, service="closed").record(id="two", host="127.0.0.1"))
        names = await other.fetch_names(None)
        assert dict(names.services) == {"greeter": ()}
        asked = await number(server, "packets_received")
        assert dict((await other.fetch_names(names.cursor)).services) == {"greeter": ()}
        assert await number(server, "packets_received") - asked < 15, "it waits meanwhile"
        assert dict((await mine.fetch_names(None)).services) == {"closed": (), "greeter": ()}


async def test_over_tls_with_certificates_of_both_sides(tmp_path: Path) -> None:
    files = await asyncio.to_thread(make_certificates, tmp_path)
    (port,) = free_ports(1)
    host = f"127.0.0.1:{port}"
    shown: dict[str, Any] = {"tls": True, "cert": files.client, "key": files.client_key}
    async with ZooKeeper(*tls_lines(files, port)) as server:
        async with patient(host, **shown, ca=files.ca) as backend, registered(backend):
            assert await read(server.host, PATH) is not None
        for options, why in (
            (shown, "certificate verify failed"),
            ({"tls": True, "ca": files.ca}, "certificate required|bad certificate|connection"),
            ({}, "connection broken"),
        ):
            async with hasty(host, **options) as backend:
                await refused(backend, f"(?i)({why}).*zk://")
