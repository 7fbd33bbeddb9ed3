"""Names, passwords and the files that hold them, as every backend has them."""

from pathlib import Path
from typing import Any

import pytest

from asyncsd import BackendError
from asyncsd.backends._shared._credentials import BasicLogin, Credentials
from asyncsd.backends.etcd import EtcdBackend
from asyncsd.backends.etcd2 import Etcd2Backend
from asyncsd.backends.eureka import EurekaBackend
from asyncsd.backends.zookeeper import ZooKeeperBackend

BACKENDS = [EtcdBackend, Etcd2Backend, EurekaBackend, ZooKeeperBackend]

SECRET = "sesame"
APP_SECRET = "Basic YXBwOnNlc2FtZQ=="
APP_OTHER = "Basic YXBwOm90aGVy"


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.__name__)
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"password": SECRET}, "go with user="),
        ({"password_file": SECRET}, "go with user="),
        ({"user": "app"}, "one of password= and password_file="),
        ({"user": "app", "password": SECRET, "password_file": "f"}, "one of password= and password_file="),
        ({"user": "app", "password": ""}, "password is a string that isn't empty"),
        ({"user": "app", "password": SECRET.encode()}, "password is a string"),
        ({"user": "", "password": SECRET}, "user is a string that isn't empty"),
        ({"user": 7, "password": SECRET}, "user is a string"),
    ],
)
def test_what_doesnt_go_together_is_refused(backend: Any, options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        backend(**options)
    assert backend.__name__ in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("backend", BACKENDS[1:], ids=lambda backend: backend.__name__)
def test_a_name_that_a_colon_would_end_is_refused_and_not_shown(backend: Any) -> None:
    with pytest.raises(ValueError, match="without ':'") as caught:
        backend(user=f"app:{SECRET}", password="x")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.__name__)
def test_a_repr_tells_the_user_and_masks_the_password(backend: Any) -> None:
    assert "user='app', password='***'" in repr(backend(user="app", password=SECRET))
    assert "user='app', password_file='/run/secret'" in repr(backend(user="app", password_file="/run/secret"))


async def test_a_file_is_read_each_time(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n")
    credentials = Credentials("EtcdBackend", "app", None, file)
    assert await credentials.password() == SECRET
    file.write_text("other")
    assert await credentials.password() == "other"


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file or directory"), (b"\xff\xfe", "it holds no text"), (b" \n", "it is empty")],
)
async def test_a_file_that_cant_be_used_is_named(tmp_path: Path, content: bytes | None, why: str) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BackendError, match=f"{file} can't be used: {why}"):
        await Credentials("EtcdBackend", "app", None, file).password()


async def test_basic_login_is_made_once_and_again_when_its_file_has_another_password(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(SECRET)
    login = BasicLogin("EurekaBackend", "app", None, file)
    assert await login.header() == APP_SECRET
    assert await login.renewed(APP_SECRET) is None
    file.write_text("other")
    assert await login.header() == APP_SECRET
    assert await login.renewed(APP_SECRET) == APP_OTHER
    # Of two requests that were refused together, the second takes what the first has read.
    file.unlink()
    assert await login.renewed(APP_SECRET) == APP_OTHER


async def test_basic_login_has_no_other_header_without_a_file_and_none_without_a_user() -> None:
    login = BasicLogin("EurekaBackend", "app", SECRET, None)
    assert await login.renewed(await login.header()) is None
    assert await BasicLogin("EurekaBackend", None, None, None).header() is None
