"""Bodies of registrations, where the comparison with a real Consul doesn't reach."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsd.agent._decoding._duration import seconds, written
from asyncsd.agent._decoding._json import DecodeError, parse
from asyncsd.agent._decoding._registrations import InvalidRegistration, check_of, service_of
from asyncsd.agent._state._structs import TaggedAddress

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("Name", "ID", "Tags", "Meta", "Port", "Weights", "Check", "Checks", "TaggedAddresses", "Address")


def test_a_check_takes_all_that_asyncsd_sends() -> None:
    body = {
        "Name": "web",
        "Check": {
            "HTTP": "https://127.0.0.1/health",
            "Method": "POST",
            "Header": {"X-A": ["1", "2"]},
            "Body": "{}",
            "Interval": "10s",
            "Timeout": "1500ms",
            "TLSSkipVerify": True,
            "TLSServerName": "web.example",
            "SuccessBeforePassing": 2,
            "FailuresBeforeCritical": 3,
            "DeregisterCriticalServiceAfter": "1m30s",
            "OutputMaxSize": 100,
        },
    }
    (check,) = service_of(body).checks
    assert (check.check_id, check.name, check.type) == ("service:web", "Service 'web' check", "http")
    assert (check.method, check.header, check.body) == ("POST", {"X-A": ["1", "2"]}, "{}")
    assert (check.interval, check.timeout, check.deregister_after) == (10, 1.5, 90)
    assert (check.interval_text, check.timeout_text) == ("10s", "1.5s")
    assert (check.success_before_passing, check.failures_before_critical) == (2, 3)
    assert check.failures_before_warning == 3  # as critical, where it isn't said
    assert (check.output_max_size, check.tls_skip_verify, check.tls_server_name) == (100, True, "web.example")


def test_output_is_never_longer_than_consul_keeps_it() -> None:
    assert check_of({"Name": "c", "TTL": "1s", "OutputMaxSize": 10**6}).output_max_size == 4096


@pytest.mark.parametrize(
    ("address", "tags"),
    [
        ("10.0.0.1", {"lan_ipv4", "wan_ipv4"}),
        ("fe80::1", {"lan_ipv6", "wan_ipv6"}),
        ("::ffff:10.0.0.1", {"lan_ipv4", "wan_ipv4"}),
        ("web.example", set[str]()),
        ("", set[str]()),
    ],
)
def test_an_ip_address_stands_under_the_tags_of_its_family(address: str, tags: set[str]) -> None:
    tagged = service_of({"Name": "x", "Address": address, "Port": 5}).service.tagged_addresses or {}
    assert tagged == dict.fromkeys(tags, TaggedAddress(address, 5))


def test_a_second_spelling_counts_where_the_first_says_nothing() -> None:
    assert check_of({"Name": "c", "TTL": "1s", "ServiceID": "", "service_id": "web"}).service_id == "web"
    assert check_of({"Name": "c", "TTL": "1s", "ServiceID": "web", "service_id": "x"}).service_id == "web"


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": 1} more', {"a": 1}),
        (b' \n"\\ud800"', "�"),
        (b'"\xff"', "�"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b"99999999999999999999", 99999999999999999999),
    ],
)
def test_json_is_read_as_go_reads_it(body: bytes, value: Any) -> None:
    assert parse(body) == value


@pytest.mark.parametrize("body", [b"", b"  ", b"{", b'"a', b"[1", b"nan", b"NaN", b"-Infinity", b"[" * 99999])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        parse(body)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with suppress(DecodeError):
        json.dumps(parse(body), ensure_ascii=False).encode()


@given(st.dictionaries(st.sampled_from(FIELDS), JSON) | JSON)
def test_any_value_is_registered_or_refused(body: Any) -> None:
    for make in (service_of, check_of):
        with suppress(DecodeError, InvalidRegistration):
            make(body)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0s", 0),
        ("1.5s", 1.5),
        ("100ms", 0.1),
        ("250µs", 0.00025),
        ("7ns", 7e-9),
        ("1m0s", 60),
        ("1h30m0s", 5400),
        ("-1m30s", -90),
        ("26h0m0.5s", 93600.5),
    ],
)
def test_durations_are_written_and_read_as_go_does(text: str, value: float) -> None:
    assert written(value) == text
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", 'time: invalid duration ""'),
        ("abc", 'time: invalid duration "abc"'),
        ("5", 'time: missing unit in duration "5"'),
        ("1d", 'time: unknown unit "d" in duration "1d"'),
        ("1h5", 'time: missing unit in duration "1h5"'),
        ("-", 'time: invalid duration "-"'),
        ("9999999999h", 'time: invalid duration "9999999999h"'),
    ],
)
def test_a_duration_that_is_none_is_refused_in_go_s_words(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        seconds(text)
    assert str(raised.value) == why
