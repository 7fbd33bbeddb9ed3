"""What is refused before anything is asked, and how keys, values and errors are read."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asyncsd import (
    BackendError,
    BadRequestError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    UnreachableError,
)
from asyncsd._registration import Record
from asyncsd._values import Meta
from asyncsd.backends import from_url
from asyncsd.backends._shared._endpoints import parse_endpoints
from asyncsd.backends._shared._value import value_of
from asyncsd.backends.etcd import EtcdBackend
from asyncsd.backends.etcd._answers import (
    LeaseGoneError,
    LoggedOutError,
    UnavailableError,
    refusal,
    watch_refusal,
)
from asyncsd.backends.etcd._keys import Decoder, Keys
from asyncsd.backends.etcd._messages import Event, KeyValue, Range, decode


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("localhost", ["http://localhost:2379"]),
        ("10.0.0.1:4001, 10.0.0.2", ["http://10.0.0.1:4001", "http://10.0.0.2:2379"]),
        (["https://etcd.example/"], ["https://etcd.example:2379"]),
        ("[::1]:2379", ["http://[::1]:2379"]),
    ],
)
def test_endpoints(value: Any, expected: list[str]) -> None:
    assert [str(endpoint) for endpoint in parse_endpoints(value, owner="EtcdBackend")] == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        [],
        "ftp://a",
        "http://",
        "http://a:x",
        "http://a:99999",
        "http://a/path",
        "http://a?x=1",
        "a,a",
        "http://a,https://b",
        "http://0.0.0.0:2379",
        "http://me:geheim@a",
        "http://me:ge[heim@a",
    ],
)
def test_endpoints_that_are_none_are_refused_without_showing_secrets(value: Any) -> None:
    with pytest.raises(ValueError, match=r"EtcdBackend\.endpoints") as told:
        EtcdBackend(value)
    assert "heim" not in str(told.value)


@pytest.mark.parametrize(
    "options",
    [
        {"password": "x"},
        {"password_file": "x"},
        {"user": "x"},
        {"user": "x", "password": "x", "password_file": "x"},
        {"user": "", "password": "x"},
        {"wait": 0},
        {"timeout": -1},
        {"connect_timeout": float("inf")},
        {"ca": "ca.pem"},
        {"verify": False},
        {"endpoints": "https://a", "key": "key.pem"},
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="EtcdBackend"):
        EtcdBackend(**options)


def test_the_repr_shows_what_was_given_and_no_secret() -> None:
    backend = EtcdBackend("a,b", prefix="apps", user="app", password="geheim")
    assert repr(backend) == (
        "EtcdBackend('http://a:2379,http://b:2379', prefix='apps', user='app', password='***')"
    )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("etcd://", "EtcdBackend('http://127.0.0.1:2379')"),
        ("etcd://a:1,b:2/apps/eu", "EtcdBackend('http://a:1,http://b:2', prefix='apps/eu')"),
        ("etcd://a/?tls=true&ca=x.pem", "EtcdBackend('https://a:2379')"),
        (
            "etcd://a/a%20b?user=me&password_file=/run/p",
            "EtcdBackend('http://a:2379', prefix='a b', user='me', password_file='/run/p')",
        ),
    ],
)
def test_a_url_says_all(url: str, shown: str) -> None:
    assert repr(from_url(url)) == shown


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("etcd://a?password=geheim", "password_file"),
        ("etcd://a?nope=geheim", "'nope'"),
        ("etcd://a?wait=soon", "wait"),
        ("etcd://a?tls=maybe", "tls"),
        ("etcd+grpc://a", "etcd://"),
        ("etcd://me:geheim@a", "user= and password="),
    ],
)
def test_a_url_that_is_wrong_is_refused_without_showing_secrets(url: str, text: str) -> None:
    with pytest.raises(ValueError, match=text) as told:
        from_url(url)
    assert "geheim" not in str(told.value)


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(lambda s: s == s.strip())


@given(names, names, names)
def test_keys_of_any_names_are_told_apart(service: str, other: str, id: str) -> None:
    keys = Keys("services")
    record = Record(id=id, service=service, host="10.0.0.7", port=80)
    key = keys.record(record)
    assert keys.split(key) == (service, id)
    for name in (service, other):
        start, end = keys.service(name)
        assert (start <= key < end) is (name == service)
    assert keys.all.key <= key < keys.all.end


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))), st.integers(1, 65535), st.booleans())
def test_a_record_is_read_as_it_was_written(tags: list[str], weight: int, drained: bool) -> None:
    keys = Keys("/a/b/")
    record = Record(
        id="x", service="y", host="h", port=1, tags=tuple(tags), meta=Meta({"zone": "z"}), weight=weight
    )
    found = KeyValue(keys.record(record), value_of(record, "passing", drained=drained))
    [instance], skipped, _ = Decoder(keys).decode(keys.service("y"), [found])
    assert skipped == 0
    assert (instance.tags, instance.weight, instance.zone) == (tuple(tags), weight, "z")
    assert instance.status == ("critical" if drained else "passing")


@given(st.binary())
@example(b'{"host":"h","x":' + b"[" * 10_000)
def test_no_value_breaks_the_reading(value: bytes) -> None:
    keys = Keys("services")
    found = [KeyValue(b"/services/a/b", value), KeyValue(b"/services/a", b"h:1"), KeyValue(b"\xff", b"h:1")]
    instances, skipped, _ = Decoder(keys).decode(keys.service("a"), found)
    assert len(instances) + skipped == 3


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=12), st.data())
def test_what_is_followed_by_its_changes_is_what_a_reading_finds(
    writes: list[tuple[str, int]], data: st.DataObject
) -> None:
    keys = Keys("services")
    span = keys.service("users")
    stays = KeyValue(b"/services/users/stays", b"h:1")
    states = [{stays.key: stays}]
    events: list[Event] = []
    for id, port in writes:
        key = f"/services/users/{id}".encode()
        kv = KeyValue(key, f"h:{port}".encode() if port else b"", mod_revision=len(states))
        after = dict(states[-1])
        if after.pop(key, None) is None and not port:
            continue  # etcd tells nobody of a removal of nothing.
        states.append({**after, key: kv} if port else after)
        events.append(Event(kv, "PUT" if port else "DELETE"))
    decoder, at = Decoder(keys), 0
    decoder.decode(span, [stays])
    for _ in writes:
        # A second watch of the service may be told of changes that the first has taken already.
        since = data.draw(st.integers(0, at))
        upto = data.draw(st.integers(since, len(events)))
        found = decoder.follow(span, since, events[since:upto])
        at = max(at, upto)
        assert found is not None
        assert found.revision == at
        stands = sorted(states[at].values(), key=by_key)
        assert found.instances == Decoder(keys).decode(span, stands).instances


def by_key(found: KeyValue) -> bytes:
    return found.key


def test_what_was_not_read_since_can_not_be_followed() -> None:
    keys = Keys("services")
    span = keys.service("users")
    decoder = Decoder(keys)
    event = Event(KeyValue(b"/services/users/a", b"h:1", mod_revision=8))
    assert decoder.follow(span, 7, [event]) is None
    decoder.decode(span, [KeyValue(b"/services/users/b", b"h:1")], 6)
    assert decoder.follow(span, 7, [event]) is None
    gone = Event(KeyValue(b"/services/users/c", mod_revision=8), "DELETE")
    assert decoder.follow(span, 6, [gone]) is None
    assert decoder.follow(span, 6, [event]) is not None


def test_the_weight_while_it_warns_is_another() -> None:
    keys = Keys("")
    record = Record(id="x", service="y", host="h", port=1, weight=9, warning_weight=2)
    for status, weight in (("passing", 9), ("warning", 2)):
        found = KeyValue(keys.record(record), value_of(record, status, drained=False))  # type: ignore[arg-type]
        [instance] = Decoder(keys).decode(keys.service("y"), [found]).instances
        assert instance.weight == weight


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"code":16,"message":"etcdserver: invalid auth token"}', LoggedOutError),
        (b'{"error":{"code":16,"message":"etcdserver: invalid auth token"}}', LoggedOutError),
        (b'{"code":3,"message":"etcdserver: revision of auth store is old"}', LoggedOutError),
        (b'{"code":7,"message":"etcdserver: permission denied"}', PermissionDeniedError),
        (b'{"code":3,"message":"etcdserver: user name is empty"}', PermissionDeniedError),
        (b'{"code":3,"message":"etcdserver: key is not provided"}', BadRequestError),
        (b'{"code":5,"message":"etcdserver: requested lease not found"}', LeaseGoneError),
        (b'{"code":8,"message":"etcdserver: too many requests"}', RateLimitedError),
        (b'{"code":8,"message":"etcdserver: mvcc: database space exceeded"}', BackendError),
        (b'{"code":14,"message":"etcdserver: no leader"}', UnavailableError),
        (b'{"error":{"grpc_code":1,"http_code":408,"message":"context canceled"}}', UnreachableError),
        (b'{"code":14,"message":"grpc: the client connection is closing"}', UnreachableError),
        (b"<html>not found</html>", ProtocolError),
        (b"", ProtocolError),
        (b"[1]", ProtocolError),
        (b"\xff", ProtocolError),
        (b"[" * 10_000, ProtocolError),
    ],
)
def test_errors_by_their_code(body: bytes, kind: type[BackendError]) -> None:
    error = refusal(400, body, "http://a:2379/v3/kv/range")
    assert type(error) is kind
    assert error.status == 400
    assert "http://a:2379" in str(error)


@pytest.mark.parametrize(
    "body", [b"<html>", b"", b"[]", b"\xff", b'{"kvs":' * 10_000, b'{"header":{"revision":[1]}}']
)
def test_what_is_no_answer_of_the_gateways_is_told(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="isn't what etcd's gateway gives"):
        decode(Range, body, "http://a:2379/v3/kv/range")


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("rpc error: code = PermissionDenied desc = etcdserver: permission denied", PermissionDeniedError),
        ("rpc error: code = Unauthenticated desc = etcdserver: invalid auth token", LoggedOutError),
        ("rpc error: code = Unavailable desc = etcdserver: no leader", UnavailableError),
        ("", BackendError),
    ],
)
def test_a_watch_that_was_cancelled_says_why(reason: str, kind: type[BackendError]) -> None:
    assert type(watch_refusal(reason, "http://a")) is kind
