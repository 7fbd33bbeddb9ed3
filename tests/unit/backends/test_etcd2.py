"""What is refused before anything is asked, and how keys and errors are read."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asyncsd import (
    BackendError,
    BadRequestError,
    PermissionDeniedError,
    ProtocolError,
    UnsupportedError,
)
from asyncsd._registration import Record
from asyncsd.backends import from_url
from asyncsd.backends._shared._value import Readings, value_of
from asyncsd.backends.etcd2 import Etcd2Backend
from asyncsd.backends.etcd2._answers import (
    ClearedError,
    ConflictError,
    MissingError,
    Node,
    UnavailableError,
    decode,
)
from asyncsd.backends.etcd2._keys import Keys
from asyncsd.backends.etcd2._stream import Change

URL = "http://a:2379/v2/keys/services/"


@pytest.mark.parametrize(
    "options",
    [
        {"endpoints": "http://me:geheim@a"},
        {"password": "geheim"},
        {"user": "x"},
        {"user": "x", "password": "geheim", "password_file": "x"},
        {"user": "x:y", "password": "geheim"},
        {"wait": 0},
        {"timeout": -1},
        {"connect_timeout": float("inf")},
        {"ca": "ca.pem"},
        {"verify": False},
        {"endpoints": "https://a", "key": "key.pem"},
        {"prefix": "a/../b"},
    ],
)
def test_options_that_do_not_fit_are_refused_without_showing_secrets(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Etcd2Backend") as told:
        Etcd2Backend(**options)
    assert "geheim" not in str(told.value)


def test_the_repr_shows_what_was_given_and_no_secret() -> None:
    backend = Etcd2Backend("a,b", prefix="apps", user="app", password="geheim")
    assert repr(backend) == (
        "Etcd2Backend('http://a:2379,http://b:2379', prefix='apps', user='app', password='***')"
    )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("etcd2://", "Etcd2Backend('http://127.0.0.1:2379')"),
        ("etcd2://a:1,b:2/apps/eu", "Etcd2Backend('http://a:1,http://b:2', prefix='apps/eu')"),
        ("etcd2://a/?tls=true&ca=x.pem", "Etcd2Backend('https://a:2379')"),
        (
            "etcd2://a/a%20b?user=me&password_file=/run/p",
            "Etcd2Backend('http://a:2379', prefix='a b', user='me', password_file='/run/p')",
        ),
    ],
)
def test_a_url_says_all(url: str, shown: str) -> None:
    assert repr(from_url(url)) == shown


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("etcd2://a?password=geheim", "password_file"),
        ("etcd2://a?nope=geheim", "'nope'"),
        ("etcd2://a?wait=soon", "wait"),
        ("etcd2+grpc://a", "etcd2://"),
        ("etcd2://me:geheim@a", "user= and password="),
    ],
)
def test_a_url_that_is_wrong_is_refused_without_showing_secrets(url: str, text: str) -> None:
    with pytest.raises(ValueError, match=text) as told:
        from_url(url)
    assert "geheim" not in str(told.value)


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(lambda s: s == s.strip())


@given(names, names, names, st.sampled_from(["services", "/a/b/", "", "/"]))
def test_keys_of_any_names_are_told_apart(service: str, other: str, id: str, prefix: str) -> None:
    keys = Keys(prefix)
    key = keys.record(Record(id=id, service=service, host="10.0.0.7", port=80))
    assert keys.split(key) == (service, id)
    change = Change(7, key)
    for name in (service, other):
        assert change.touches(keys.service(name)) is (name == service)
    assert change.touches(keys.root)
    assert change.touches(key)
    assert not change.touches(f"{key}2")
    assert not any(part in (".", "..") or part.startswith("_") for part in key.split("/"))
    assert keys.scopes(key) == [keys.root, keys.service(service), key]
    assert keys.scopes(keys.service(service)) == [keys.root, keys.service(service)]
    assert keys.scopes(keys.root) == [keys.root]


@pytest.mark.parametrize("folder", ["/services", "/services/users", "/services/users/a"])
def test_what_happens_to_a_folder_happens_to_all_in_it(folder: str) -> None:
    for path in ("/services/", "/services/users/", "/services/users/a"):
        assert Change(7, folder).touches(path)
    assert not Change(7, folder).touches("/other/")


@given(st.text())
@example('{"host":"h","x":' + "[" * 10_000)
def test_no_value_breaks_the_reading(value: str) -> None:
    keys = Keys("services")
    nodes = [Node(key="/services/a/b", value=value), Node(key="/services/a/c", value="h:1")]
    readings: Readings[str] = Readings(keys.instance)
    instances, skipped, _ = readings.read("/services/a/", Node(dir=True, nodes=nodes).leaves())
    assert len(instances) + skipped == 2


def test_the_owner_of_a_value_is_told_to_nobody_who_reads_instances() -> None:
    record = Record(id="b", service="a", host="h", port=1)
    for owner in ("", "x"):
        value = value_of(record, "passing", drained=False, owner=owner)
        instance = Keys("services").instance("/services/a/b", value)
        assert instance is not None
        assert dict(instance.meta) == {}


def refused(code: int, message: str = "told") -> bytes:
    return b'{"errorCode":%d,"message":"%s","cause":"/x","index":9}' % (code, message.encode())


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (404, refused(100), MissingError, "told: /x"),
        (412, refused(101), ConflictError, ""),
        (412, refused(105), ConflictError, ""),
        (403, refused(102), BadRequestError, "a folder stands where"),
        (400, refused(104), BadRequestError, "a key stands where"),
        (401, refused(110), PermissionDeniedError, "user=, password="),
        (401, b'{"message":"Insufficient credentials"}', PermissionDeniedError, "Insufficient credentials"),
        (400, refused(210), BadRequestError, "told"),
        (500, refused(300), UnavailableError, "can't serve"),
        (503, b'{"message":"During election"}', UnavailableError, "During election"),
        (503, b"<html>nobody there</html>", UnavailableError, "503"),
        (400, refused(400), UnavailableError, ""),
        (400, refused(401), ClearedError, ""),
        (400, refused(999), BackendError, "told"),
        (404, b"404 page not found\n", UnsupportedError, "--enable-v2=true"),
        (307, b"<html>", ProtocolError, "is it etcd's v2 API"),
        (200, b"<html>", ProtocolError, "isn't what"),
        (200, b"", ProtocolError, "isn't what"),
        (200, b"[]", ProtocolError, "isn't what"),
        (200, b"\xff", ProtocolError, "isn't what"),
        (200, b'{"node":' * 10_000, ProtocolError, "isn't what"),
        (500, b'{"message":' * 10_000, ProtocolError, "is it etcd's v2 API"),
    ],
)
def test_errors_by_their_code(status: int, body: bytes, kind: type[BackendError], text: str) -> None:
    with pytest.raises(BackendError) as told:
        decode(status, "7", body, URL)
    assert type(told.value) is kind
    assert text in str(told.value)
    assert URL in str(told.value)
    if isinstance(told.value, MissingError | ClearedError):
        assert told.value.index == 7


@pytest.mark.parametrize("index", [None, "", "x", "-1"])
def test_an_answer_without_an_index_is_none_of_etcds(index: str | None) -> None:
    with pytest.raises(ProtocolError, match="X-Etcd-Index"):
        decode(200, index, b'{"node":{}}', URL)
    with pytest.raises(MissingError) as told:
        decode(404, index, refused(100), URL)
    assert told.value.index == 9
