"""What a static list may look like, and what is said of one that doesn't."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsd import Instance, Query
from asyncsd.backends import from_url
from asyncsd.backends.static import StaticBackend
from asyncsd.backends.static._file import ListFile
from asyncsd.backends.static._schema import Services

TOML = """\
# Who there is.
[services]
users = ["10.0.0.1:80", "[::1]:80", "https://users.example"]
multi = [
    "10.0.0.1:80",
    { host = "db", port = 5432, weight = 3 },
]

[[services.orders]]
id = "orders-1"
address = "http://10.0.0.3:8080"
tags = ["v1", "blue"]
meta = { zone = "a", owner = "Zoë" }
status = "warning"
"""

YAML = """\
services:
  users: ["10.0.0.1:80", "[::1]:80", "https://users.example"]
  multi:
    - 10.0.0.1:80
    - host: db
      port: 5432
      weight: 3
  orders:
    - id: orders-1
      address: http://10.0.0.3:8080
      tags: [v1, blue]
      meta: {zone: a, owner: Zoë}
      status: warning
"""

SERVICES = {
    "users": (
        Instance("10.0.0.1:80", "users", "10.0.0.1", 80),
        Instance("[::1]:80", "users", "::1", 80),
        Instance("users.example:443", "users", "users.example", 443, scheme="https"),
    ),
    "multi": (
        Instance("10.0.0.1:80", "multi", "10.0.0.1", 80),
        Instance("db:5432", "multi", "db", 5432, weight=3),
    ),
    "orders": (
        Instance(
            "orders-1",
            "orders",
            "10.0.0.3",
            8080,
            ("v1", "blue"),
            {"zone": "a", "owner": "Zoë"},
            zone="a",
            status="warning",
            scheme="http",
        ),
    ),
}


def read(path: Path, content: str | bytes) -> Services | str:
    """What a file says, or the error without the folder."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    found = ListFile(path).read()
    assert found is not None
    return str(found[1]).removeprefix(f"{path.parent}/") if isinstance(found[1], Exception) else found[1]


@pytest.mark.parametrize("text", [TOML, TOML.replace("\n", "\r\n"), "\ufeff" + TOML], ids=["", "CRLF", "BOM"])
def test_toml_says_all_that_an_instance_has(tmp_path: Path, text: str) -> None:
    assert read(tmp_path / "a.toml", text) == SERVICES


@pytest.mark.parametrize("name", ["a.yaml", "a.yml", "A.YAML"])
def test_yaml_says_the_same(tmp_path: Path, name: str) -> None:
    assert read(tmp_path / name, YAML) == SERVICES


def test_a_service_may_have_no_instances(tmp_path: Path) -> None:
    assert read(tmp_path / "a.toml", "[services]\nusers = []\n") == {"users": ()}


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("port = 5432", 'port = "5432"', "line 6: services.multi[1].port is a whole number; got '5432'"),
        ("port = 5432", "port = 99999", "line 6: services.multi[1].port is from 0 to 65535; got 99999"),
        ("port = 5432", "prot = 5432", "line 6: services.multi[1] has no 'prot': did you mean 'port'?"),
        (", port = 5432", "", "lines 4-7: services.multi[1] has a host and no port: add port = 80"),
        ("weight = 3", "weight = 1.5", "line 6: services.multi[1].weight is a whole number, 0 or more; got"),
        (
            '    "10.0.0.1:80"',
            '    "10.0.0.1"',
            "line 5: services.multi[0] is an address with a port, such as",
        ),
        ('    "10.0.0.1:80"', "    80", "lines 4-7: services.multi[0] is an address such as '10.0.0.1:80'"),
        ('"[::1]:80"', '"0.0.0.0:80"', "line 3: services.users[1] is where an instance can be called"),
        ('"[::1]:80"', '"10.0.0.1:80"', "services.users[1] has the id '10.0.0.1:80' of services.users[0]"),
        (
            '"warning"',
            '"up"',
            "line 14: services.orders[0].status is 'passing', 'warning' or 'critical'; got",
        ),
        ('["v1", "blue"]', '"v1"', "line 12: services.orders[0].tags is a sequence of strings; got the one"),
        ('"Zoë"', "1.10", "line 13: services.orders[0].meta.owner is text; got 1.1: put it in quotes"),
        (
            "status =",
            'zone = "b"\nstatus =',
            "services.orders[0].zone is 'b', and its meta's is 'a': drop one",
        ),
        ("address =", "port = 1\naddress =", "services.orders[0].port goes with a host"),
        ('address = "http://10.0.0.3:8080"', "", "services.orders[0] has either an address, such as"),
        (
            "[[services.orders]]",
            "[orders]",
            "line 9: orders is unknown: all of the file stands under 'services'",
        ),
        ("[services]", "[service]", "service is unknown: all of the file stands under 'services'"),
        ('"blue"]', '"blue"', "it is no TOML"),
        ("[services]", "[services]\nusers = []", "it is no TOML: Cannot overwrite a value"),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_key(tmp_path: Path, old: str, new: str, error: str) -> None:
    assert TOML.count(old) == 1
    said = read(tmp_path / "a.toml", TOML.replace(old, new))
    assert isinstance(said, str)
    assert said.startswith("a.toml")
    assert error in said


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("port: 5432", "prot: 5432", "line 6: services.multi[1] has no 'prot': did you mean 'port'?"),
        ("host: db", "host: no", "line 5: services.multi[1].host is text; got False: put it in quotes"),
        ("owner: Zoë", "owner: 1.10", "line 12: services.orders[0].meta.owner is text; got 1.1: put it in"),
        ("    - 10.0.0.1:80", "    - ::1:80", "line 4: services.multi[0] is an address such as"),
        ("  multi:", "  users:", "line 3: it is no YAML: 'users' stands there twice"),
        ("  multi:", "  7:", "line 3: a service's name in services is a string; got 7"),
        ("      port:", "     port:", "it is no YAML: "),
        ("status: warning", "status: !!python/name:os.system", "line 13: it is no YAML: could not determine"),
        ("services:", "---\na: 1\n---\nservices:", "it is no YAML: but found another document"),
        ("id: orders-1", "id: 2026-13-45", "it is no YAML: ValueError: month must be in 1..12"),
        ("id: orders-1", "id: !!bool x", "it is no YAML: KeyError: 'x'"),
        ("id: orders-1", "id: !!timestamp x", "it is no YAML: AttributeError: "),
        ("id: orders-1", "id: \x07", "line 9: it is no YAML: special characters are not allowed"),
    ],
)
def test_yaml_is_read_as_strictly(tmp_path: Path, old: str, new: str, error: str) -> None:
    assert YAML.count(old) == 1
    said = read(tmp_path / "a.yaml", YAML.replace(old, new))
    assert isinstance(said, str)
    assert error in said


@pytest.mark.parametrize("content", ["", "\n", "[services]\n"])
def test_a_file_that_was_just_begun_is_no_empty_list(tmp_path: Path, content: str) -> None:
    said = read(tmp_path / "a.toml", content)
    assert isinstance(said, str)
    assert "was it written to its end?" in said


@given(length=st.integers(0, len(TOML)))
def test_a_half_written_file_is_refused_or_has_no_more_than_it_says(
    tmp_path_factory: pytest.TempPathFactory, length: int
) -> None:
    said = read(tmp_path_factory.getbasetemp() / "half.toml", TOML[:length])
    if not isinstance(said, str):
        assert all(said[service] == SERVICES[service] for service in said if service != "orders")


@given(
    old=st.binary(max_size=40), kind=st.sampled_from(["toml", "yaml"]), at=st.integers(0, len(TOML.encode()))
)
def test_no_garbage_is_more_than_an_error(
    tmp_path_factory: pytest.TempPathFactory, old: bytes, kind: str, at: int
) -> None:
    content = (TOML if kind == "toml" else YAML).encode()
    said = read(tmp_path_factory.getbasetemp() / f"garbage.{kind}", content[:at] + old + content[at:])
    assert isinstance(said, str | dict)


@pytest.mark.parametrize("kind", ["toml", "yaml"])
def test_nesting_without_an_end_is_an_error_too(tmp_path: Path, kind: str) -> None:
    text = ("a=" if kind == "toml" else "") + "[" * (1_000 if kind == "yaml" else 20_000)
    assert isinstance(read(tmp_path / f"a.{kind}", text), str)


def test_a_long_file_is_searched_in_little_time(tmp_path: Path) -> None:
    entries = "".join(f'  "10.0.{n // 250}.{n % 250 + 1}:80",\n' for n in range(3000))
    said = read(
        tmp_path / "a.toml", f'[services]\na = [\n{entries}]\nb = [\n  "10.0.0.1", "10.0.0.2:80",\n]\n'
    )
    assert isinstance(said, str)
    assert said.startswith("a.toml, line 3005: services.b[0] is an address with a port")


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.toml").mkdir()
    found = ListFile(tmp_path / "a.toml").read()
    assert found is not None
    assert "it is a folder: name the file in it" in str(found[1])
    found = ListFile(tmp_path / "b.toml").read()
    assert found is not None
    assert str(found[1]) == f"{tmp_path}/b.toml: there is no such file: create it, or mend the path"


def test_what_is_written_to_while_it_is_read_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, fstat = tmp_path / "a.toml", os.fstat
    file.write_text(TOML)

    def written(descriptor: int) -> os.stat_result:
        file.write_text("[services]")
        return fstat(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", written)
        assert ListFile(file).read() is None
    assert ListFile(file).read() is not None


# In the program, and by a URL.


def test_a_list_takes_addresses_tables_and_instances() -> None:
    mine = Instance("mine", "users", "10.0.0.9", 80)
    backend = StaticBackend({"users": ["10.0.0.1:80", {"host": "::1", "port": 80}, mine], "orders": ()})
    assert repr(backend) == "StaticBackend(3 instances of 2 services)"


@pytest.mark.parametrize(
    ("services", "error"),
    [
        ({"users": "10.0.0.1:80"}, "StaticBackend.services.users is a list of instances, each an address"),
        (
            {"users": [Instance("a", "orders", "h", 1)]},
            "users.0. is an instance of another service, 'orders'",
        ),
        ({"users": [7]}, "users.0. is an address such as '10.0.0.1:80'"),
        ({" users": []}, "a service's name in StaticBackend.services is a name without spaces"),
        (["10.0.0.1:80"], "StaticBackend.services maps the names of services to lists"),
    ],
)
def test_a_bad_list_names_the_entry(services: Any, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        StaticBackend(services)


def test_a_list_and_a_file_are_one_too_many() -> None:
    for arguments in ({}, {"services": {}, "file": "a.toml"}):
        with pytest.raises(TypeError, match="a mapping of services, or file=: one of the two"):
            StaticBackend(**arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"StaticBackend.interval is in seconds"):
        StaticBackend(file="a.toml", interval=0.0)
    with pytest.raises(ValueError, match=r"StaticBackend.file ends in .toml, .yaml or .yml; got 'a.conf'"):
        StaticBackend(file="a.conf")


def test_yaml_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ImportError, match=r"pip install 'asyncsd\[yaml\]'"):
        StaticBackend(file="a.yaml")
    StaticBackend(file="a.toml")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("static://10.0.0.1:80,10.0.0.2:80?service=users", "StaticBackend(2 instances of 1 service)"),
        ("static://[::1]:80?service=users&tags=a,b&zone=z&scheme=https&wait=3", "(1 instance of 1 service)"),
        ("static:///etc/app/services.toml", "StaticBackend(file='/etc/app/services.toml')"),
        (
            "static:///etc/my%20app/services.yaml?interval=0.5",
            "StaticBackend(file='/etc/my app/services.yaml')",
        ),
        ("static://./services.toml?wait=3", "StaticBackend(file='services.toml')"),
    ],
)
def test_a_url_has_hosts_or_a_file(url: str, shown: str) -> None:
    assert shown in repr(from_url(url))


async def test_hosts_of_a_url_share_its_parameters() -> None:
    async with from_url("static://h:1,h:2?service=users&tags=a,b&zone=z&scheme=https") as backend:
        instances = (await backend.fetch(Query("users"), None)).instances
    assert [(each.port, each.tags, each.zone, each.scheme) for each in instances] == [
        (1, ("a", "b"), "z", "https"),
        (2, ("a", "b"), "z", "https"),
    ]


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("static://", "has hosts or a file"),
        ("static://10.0.0.1:80", "says of which service they are: static://"),
        ("static://services.toml", "static:///etc/app/services.toml for a file"),
        ("static://10.0.0.1?service=users", r"users.0..address is an address with a port"),
        ("static://10.0.0.1:80?service=users&interval=1", "of a list has no parameter 'interval'"),
        ("static:///a.toml?service=users", "of a file has no parameter 'service'"),
        ("static:///a.toml?interval=often", "interval of a static URL of a file is a number; got 'often'"),
    ],
)
def test_a_url_that_will_not_do_says_what_would(url: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        from_url(url)


def test_a_login_in_a_url_is_not_shown() -> None:
    with pytest.raises(ValueError, match="without a login before an @") as caught:
        from_url("static://me:hunter2@10.0.0.1:80?service=users")
    assert "hunter2" not in str(caught.value)
