"""What is refused before anything is asked, and how instances and errors are read."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsd import (
    BackendError,
    BadRequestError,
    Instance,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    TTLCheck,
)
from asyncsd._registration import Record
from asyncsd._values import Meta
from asyncsd.backends import from_url
from asyncsd.backends.eureka import EurekaBackend
from asyncsd.backends.eureka._answers import AbsentError, UnavailableError, refusal
from asyncsd.backends.eureka._codec import application_of, body_of, instance_of, segment
from asyncsd.backends.eureka._messages import Info, decode_info
from asyncsd.backends.eureka._servers import parse_servers


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("localhost", ["http://localhost:8761/eureka"]),
        ("10.0.0.1:81, 10.0.0.2", ["http://10.0.0.1:81/eureka", "http://10.0.0.2:8761/eureka"]),
        (["https://eureka.example/"], ["https://eureka.example:443/eureka"]),
        ("https://example.org/registry/eureka/", ["https://example.org:443/registry/eureka"]),
        ("[::1]:8761", ["http://[::1]:8761/eureka"]),
        ("localhost:8761/eureka/v2", ["http://localhost:8761/eureka/v2"]),
        ({"b": "b1,b2", "a": ["a1"]}, [f"http://{host}:8761/eureka" for host in ("a1", "b1", "b2")]),
    ],
)
def test_servers(value: Any, expected: list[str]) -> None:
    assert [str(server) for server in parse_servers(value, "a")] == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        [],
        {},
        "ftp://a",
        "http://",
        "http://a:x",
        "http://a:99999",
        "http://a?x=1",
        "a,a",
        "http://a,https://b",
        "http://0.0.0.0:8761",
        "http://me:geheim@a",
    ],
)
def test_bad_servers_name_the_parameter_and_show_no_secret(value: Any) -> None:
    with pytest.raises(ValueError, match=r"EurekaBackend\.urls") as caught:
        EurekaBackend(value)
    assert "geheim" not in str(caught.value)


def test_a_number_is_no_server() -> None:
    with pytest.raises(TypeError, match=r"EurekaBackend\.urls"):
        EurekaBackend([8761])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"password": "x"}, "go with user="),
        ({"user": "app"}, "one of password= and password_file="),
        ({"user": "app", "password": "x", "password_file": "y"}, "one of password= and password_file="),
        ({"user": "app", "password": ""}, r"EurekaBackend\.password"),
        ({"user": "a:b", "password": "x"}, "without ':'"),
        ({"ca": "ca.pem"}, "https://"),
        ({"interval": 0}, r"EurekaBackend\.interval"),
        ({"wait": -1}, r"EurekaBackend\.wait"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        EurekaBackend(**options)


def test_the_repr_masks_what_is_secret() -> None:
    backend = EurekaBackend("localhost", zone="a", prefer_ip=True, user="app", password="geheim")
    assert repr(backend) == (
        "EurekaBackend('http://localhost:8761/eureka', zone='a', prefer_ip=True, user='app', password='***')"
    )


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("eureka://", "EurekaBackend('http://127.0.0.1:8761/eureka')"),
        ("eureka://a:1,b:2", "EurekaBackend('http://a:1/eureka,http://b:2/eureka')"),
        (
            "eureka://a,b:2/x/eureka?zone=z&prefer_ip=true",
            "EurekaBackend('http://a:8761/x/eureka,http://b:2/x/eureka', zone='z', prefer_ip=True)",
        ),
        (
            "eureka://a?tls=true&verify=false&user=me&password_file=/f&interval=5&wait=9&timeout=1",
            "EurekaBackend('https://a:8761/eureka', user='me', password_file='/f')",
        ),
    ],
)
def test_from_url(url: str, expected: str) -> None:
    assert repr(from_url(url)) == expected


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("eureka://a?password=geheim", "password_file"),
        ("eureka://me:geheim@a", "user="),
        ("eureka://a?nope=1", "no parameter 'nope'"),
        ("eureka://a?tls=perhaps", "tls of a Eureka URL"),
        ("eureka://a?interval=soon", "interval of a Eureka URL"),
    ],
)
def test_a_bad_url_says_what_is_wrong_with_it(url: str, match: str) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        from_url(url)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("method", "status", "body", "kind", "match"),
    [
        ("POST", 400, b'{"error":"Missing hostname"}', BadRequestError, "Missing hostname"),
        ("GET", 401, b"", PermissionDeniedError, "user= and password="),
        ("POST", 401, b"", PermissionDeniedError, "CSRF"),
        ("GET", 403, b"", UnavailableError, "doesn't give its list yet"),
        ("POST", 403, b'{"status":403,"error":"Forbidden"}', PermissionDeniedError, "CSRF"),
        ("PUT", 404, b"", AbsentError, "Not Found"),
        ("GET", 429, b"", RateLimitedError, "too many"),
        ("GET", 503, b"<html>", UnavailableError, "503: <html>"),
        ("GET", 302, b"", ProtocolError, "is it a Eureka server"),
    ],
)
def test_refusals(method: str, status: int, body: bytes, kind: type[BackendError], match: str) -> None:
    error = refusal(method, status, body, "http://a/eureka/apps", retry_after=3.0)
    assert type(error) is kind or (kind is PermissionDeniedError and isinstance(error, kind))
    assert match in str(error)
    assert "http://a/eureka/apps" in str(error)


names = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20).map(str.strip)


@given(names, names)
def test_a_segment_is_safe_and_each_name_has_its_own(one: str, other: str) -> None:
    safe = set("~.:_-")
    assert all((c.isascii() and c.isalnum()) or c in safe for c in segment(one))
    assert (segment(one) == segment(other)) == (one == other)


@given(
    id=names.filter(bool),
    service=names.filter(bool),
    host=st.sampled_from(["10.0.0.1", "db.example", "2001:db8::1"]),
    port=st.integers(0, 65535),
    tags=st.lists(names.filter(bool), max_size=4),
    meta=st.dictionaries(names.filter(lambda key: key not in ("tags", "weight", "scheme", "")), st.text()),
    weight=st.integers(1, 65535),
    warning_weight=st.integers(0, 65535),
    scheme=st.sampled_from([None, "http", "https", "grpc"]),
    status=st.sampled_from(["passing", "warning", "critical"]),
)
def test_what_is_registered_is_what_is_read(service: str, status: Any, **values: Any) -> None:
    values["tags"] = tuple(values["tags"])
    values["meta"] = Meta({key: value for key, value in values["meta"].items() if key != "@class"})
    record = Record(service=service, checks=(TTLCheck(),), **values)
    body = body_of(record, status, zone=None, drained=False, dirty=7)
    info = msgspec.json.decode(msgspec.json.encode(body["instance"]), type=Info, strict=False)
    read = instance_of(info, service, prefer_ip=False)
    assert read is not None
    assert (read.id, read.service, read.host, read.port) == (record.id, service, record.host, record.port)
    assert read.tags == record.tags
    # Weight and scheme stand in the metadata, for Spring.
    assert {k: v for k, v in read.meta.items() if k not in ("weight", "scheme")} == dict(record.meta)
    assert (read.status, read.scheme) == (status, record.scheme)
    assert read.weight == (record.warning_weight if status == "warning" else record.weight)
    assert info.app == application_of(service)
    assert info.last_dirty_timestamp == 7


def info_of(text: str) -> Info:
    info = decode_info(msgspec.Raw(text.encode()))
    assert info is not None
    return info


def test_what_cannot_be_called_is_no_instance() -> None:
    assert instance_of(info_of('{"instanceId":"a","status":"UP"}'), "s", prefer_ip=False) is None
    odd = info_of('{"instanceId":"a","hostName":"h","port":{"$":99999,"@enabled":"true"}}')
    assert instance_of(odd, "s", prefer_ip=False) is None


def test_an_instance_with_unusable_fields_is_counted_still() -> None:
    info = info_of('{"instanceId":"a","hostName":"h","status":"UP","port":"x"}')
    assert (info.id, info.status) == ("a", "UP")
    assert instance_of(info, "s", prefer_ip=False) is None
    assert decode_info(msgspec.Raw(b"[]")) is None


def test_an_instance_of_an_old_client_is_known_by_its_host() -> None:
    text = '{"hostName":"h","status":"UP","port":{"$":"80","@enabled":true},"metadata":{"weight":"heavy"}}'
    assert instance_of(info_of(text), "s", prefer_ip=False) == Instance(
        "h", "s", "h", 80, meta={"weight": "heavy"}
    )
