"""A real server that wants a login."""

from pathlib import Path

import pytest

from asyncsd import PermissionDeniedError, Query
from asyncsd.backends import from_url
from asyncsd.backends.eureka import EurekaBackend
from tests.eureka.running import me
from tests.support.eureka import EurekaServer
from tests.support.running import fetched

pytestmark = pytest.mark.server("eureka")


async def test_a_user_with_a_password_does_all(guarded: EurekaServer, service: str) -> None:
    async with EurekaBackend(guarded.url, user="app", password="secret", interval=0.1) as backend:
        lease = await backend.register(me(service))
        await fetched(backend, service, bool)
        await backend.deregister(lease)


async def test_a_changed_password_file_is_read_again(
    guarded: EurekaServer, service: str, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("old\n")
    url = f"eureka://127.0.0.1:{guarded.port}?user=app&password_file={file}"
    async with from_url(url) as backend:
        with pytest.raises(PermissionDeniedError):
            await backend.fetch(Query(service), None)
        file.write_text("secret\n")
        assert (await backend.fetch(Query(service), None)).instances == ()


@pytest.mark.parametrize("options", [{}, {"user": "app", "password": "wrong-secret"}])
async def test_a_refused_login_is_explained_and_shows_no_secret(
    guarded: EurekaServer, service: str, options: dict[str, str]
) -> None:
    async with EurekaBackend(guarded.url, **options) as backend:
        for call in (backend.fetch(Query(service), None), backend.register(me(service))):
            with pytest.raises(PermissionDeniedError, match=r"user= and password=") as caught:
                await call
            assert guarded.url in str(caught.value)
            assert "wrong-secret" not in str(caught.value)


async def test_a_password_file_that_is_missing_is_named(guarded: EurekaServer) -> None:
    async with EurekaBackend(guarded.url, user="app", password_file="/no/such/file") as backend:
        with pytest.raises(Exception, match=r"/no/such/file.*No such file"):
            await backend.fetch(Query("greeter"), None)
