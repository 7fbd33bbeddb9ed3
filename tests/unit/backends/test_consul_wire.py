"""Consul's JSON, both ways."""

import json
import logging
from typing import Any

import pytest

from asyncsd import (
    Check,
    GRPCCheck,
    HTTPCheck,
    Instance,
    Meta,
    PermissionDeniedError,
    ProtocolError,
    Query,
    RateLimitedError,
    Registration,
    TCPCheck,
    TTLCheck,
)
from asyncsd.backends.consul._answers import Answer, checked, parse_index
from asyncsd.backends.consul._decode import Decoder, decode_names, decode_service
from asyncsd.backends.consul._wire import check_id, go_duration, health_params, payload

USERS = Query("users")


def entry(id: str = "u1", *statuses: str, node: Any = None, **service: Any) -> dict[str, Any]:
    return {
        "Node": node or {"Node": "n1", "Address": "10.0.0.1", "Datacenter": "dc1", "ModifyIndex": 5},
        "Service": {"ID": id, "Service": "users", "Address": "10.0.0.7", "Port": 80, **service},
        "Checks": [{"CheckID": f"c{n}", "Status": status} for n, status in enumerate(statuses)],
    }


def answer(body: object, **headers: str) -> Answer:
    return Answer(200, headers, json.dumps(body).encode(), "http://127.0.0.1:8500/v1/x")


def decoded(*entries: object) -> tuple[Instance, ...]:
    return Decoder().decode(USERS, answer(list(entries))).instances


def one(*args: Any, **service: Any) -> Instance:
    (found,) = decoded(entry(*args, **service))
    return found


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        ((), "passing"),
        (("passing", "passing"), "passing"),
        (("passing", "warning", "passing"), "warning"),
        (("warning", "critical", "passing"), "critical"),
        (("maintenance",), "critical"),
        (("something new",), "critical"),
    ],
)
def test_the_status_is_the_worst_of_the_checks(statuses: tuple[str, ...], status: str) -> None:
    assert one("u1", *statuses).status == status


@pytest.mark.parametrize(
    ("address", "port", "scheme", "host", "found"),
    [
        ("10.0.0.7", 80, None, "10.0.0.7", 80),
        ("users.internal", 80, None, "users.internal", 80),
        ("", 80, None, "10.0.0.1", 80),
        ("http://10.0.0.7", 80, "http", "10.0.0.7", 80),
        ("HTTPS://10.0.0.7/path?x", 80, "https", "10.0.0.7", 80),
        ("http://10.0.0.7:8080", 0, "http", "10.0.0.7", 8080),
        ("http://10.0.0.7:8080", 80, "http", "10.0.0.7", 80),
        ("10.0.0.7:8080", 0, None, "10.0.0.7", 8080),
        ("::1", 80, None, "::1", 80),
        ("[::1]", 80, None, "::1", 80),
        ("http://[::1]:81", 0, "http", "::1", 81),
    ],
)
def test_an_address_is_read_however_it_was_registered(
    address: str, port: int, scheme: str | None, host: str, found: int
) -> None:
    instance = one(Address=address, Port=port)
    assert (instance.scheme, instance.host, instance.port) == (scheme, host, found)


def test_meta_tells_the_zone_and_goes_before_the_address_for_the_scheme() -> None:
    instance = one(Address="http://10.0.0.7", Meta={"scheme": "https", "zone": "a"})
    assert (instance.scheme, instance.zone) == ("https", "a")


@pytest.mark.parametrize(("status", "weight"), [("passing", 7), ("warning", 2), ("critical", 7)])
def test_the_weight_goes_by_the_status(status: str, weight: int) -> None:
    assert one("u1", status, Weights={"Passing": 7, "Warning": 2}).weight == weight


def test_null_stands_for_nothing_inside_an_instance() -> None:
    raw = entry(Tags=None, Meta=None, Weights=None) | {"Checks": None}
    (found,) = decoded(raw)
    assert (found.tags, found.meta, found.weight, found.status) == ((), {}, 1, "passing")


BAD: list[Any] = [
    7,
    None,
    {},
    entry(Port="80"),
    entry(Port=70_000),
    entry(ID=""),
    entry(Address="", node={"Node": "n1"}),
    entry(Address="http://"),
    entry(Tags=[1]),
    entry(Weights={"Passing": -1}),
    {"Node": {"Node": "n"}, "Checks": []},
]


@pytest.mark.parametrize("bad", BAD)
def test_one_bad_item_costs_only_itself_and_is_counted(bad: Any, caplog: pytest.LogCaptureFixture) -> None:
    decoder = Decoder()
    with caplog.at_level(logging.WARNING, "asyncsd.consul"):
        result = decoder.decode(USERS, answer([entry("a"), bad, entry("b")]))
        again = decoder.decode(USERS, answer([entry("a"), bad, entry("c")]))
    assert [i.id for i in result.instances] == ["a", "b"]
    assert [i.id for i in again.instances] == ["a", "c"]
    assert (result.skipped, again.skipped) == (1, 1)
    assert len(caplog.records) == 1
    assert "users" in caplog.text


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"null", "null"),
        (b"{}", "object"),
        (b'"x"', "str"),
        (b"<html><body>502</body></html>", "HTML, from another server or a proxy"),
        (b"  <!DOCTYPE html>", "HTML"),
        (b'[{"Node": {"Node"', "truncated"),
        (b"[] trailing", "trailing"),
        (b"\xff\xfe", "malformed"),
        (b"", "it is empty"),
        (b"[" * 10_000, "recursion"),
    ],
)
def test_another_shape_is_a_protocol_error_and_never_an_empty_list(body: bytes, says: str) -> None:
    wrong = Answer(200, {}, body, "http://127.0.0.1:8500/v1/health/service/users")
    for decode in (lambda: Decoder().decode(USERS, wrong), lambda: decode_names(_other(wrong, body))):
        with pytest.raises(ProtocolError, match="the answer should be") as error:
            decode()
        assert "http://127.0.0.1:8500/v1/health" in str(error.value)
    with pytest.raises(ProtocolError, match=says):
        Decoder().decode(USERS, wrong)
    with pytest.raises(ProtocolError):
        decode_service(wrong)


def _other(wrong: Answer, body: bytes) -> Answer:
    """An object is right for the names: give them a list."""
    return wrong._replace(body=b"[]") if body == b"{}" else wrong


def test_an_unchanged_item_keeps_its_object() -> None:
    decoder = Decoder()
    first = decoder.decode(USERS, answer([entry("a"), entry("b")])).instances
    second = decoder.decode(USERS, answer([entry("z"), entry("a"), entry("b", "warning")])).instances
    assert second[1] is first[0]
    assert second[2].status == "warning"
    # Only what an Instance doesn't show has changed.
    silent = entry("b", "warning")
    silent["Checks"][0]["Output"] = "another note"
    third = decoder.decode(USERS, answer([silent])).instances
    assert third[0] is second[2]


def test_queries_do_not_share_what_they_remember() -> None:
    decoder = Decoder()
    decoder.decode(USERS, answer([entry("a")]))
    assert decoder.decode(Query("users", tags=("x",)), answer([])).instances == ()
    assert [i.id for i in decoder.decode(USERS, answer([entry("a")])).instances] == ["a"]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncsd.backends.consul._decode.REMEMBERED", 10)
    decoder = Decoder()
    for number in range(50):
        decoder.decode(Query(f"s{number}"), answer([entry("a"), entry("b"), entry("c")]))
    assert sum(len(known.found) for known in decoder._known.values()) <= 13


FILTERED = {"X-Consul-Results-Filtered-By-Acls": "true"}  # As Go writes it.


def test_a_list_that_acls_emptied_is_a_denial_and_no_empty_list() -> None:
    decoder = Decoder()
    for body, decode in (([], lambda a: decoder.decode(USERS, a)), ({}, decode_names)):
        with pytest.raises(PermissionDeniedError, match=r"may read no .*: it needs service:read and node:r"):
            decode(answer(body, **FILTERED))
    assert decode_names(answer({"a": []}, **FILTERED)) == {"a": ()}
    assert decoder.decode(USERS, answer([])).instances == ()


def test_instances_that_acls_took_away_are_a_denial_until_the_token_reads_them_again() -> None:
    decoder = Decoder()
    decoder.decode(USERS, answer([entry("a"), entry("b")]))
    for _ in range(2):
        with pytest.raises(PermissionDeniedError, match="no longer reads all of 'users', 1 instances"):
            decoder.decode(USERS, answer([entry("a", "warning"), entry("c")], **FILTERED))
    again = decoder.decode(USERS, answer([entry("a"), entry("b")])).instances
    assert [i.id for i in again] == ["a", "b"]
    assert [i.id for i in decoder.decode(USERS, answer([entry("a")])).instances] == ["a"]


def test_a_list_that_acls_cut_from_the_start_is_told_once_and_lives_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    decoder = Decoder()
    for ids in ("ab", "b", "bc"):
        found = decoder.decode(USERS, answer([entry(id) for id in ids], **FILTERED)).instances
        assert [i.id for i in found] == list(ids)
    assert [record.getMessage() for record in caplog.records] == [
        "the token may not read all instances of users: Consul leaves some out"
    ]


@pytest.mark.parametrize(
    ("header", "index"),
    [
        ("7", 7),
        ("0", None),
        ("", None),
        ("-1", None),
        ("abc", None),
        ("1.5", None),
        ("٣", None),
        ("9" * 21, None),
        ("18446744073709551615", 2**64 - 1),
    ],
)
def test_an_index_that_is_no_place_to_wait_from_is_none(header: str, index: int | None) -> None:
    assert parse_index(Answer(200, {"X-Consul-Index": header}, b"")) == index
    assert parse_index(Answer(200, {}, b"")) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({}, None),
        (
            {
                "Retry-After": "Sat, 21 Nov 2026 10:00:30 GMT",
                "Date": "Sat, 21 Nov 2026 10:00:00 GMT",
            },
            30.0,
        ),
        ({"Retry-After": "Sat, 21 Nov 2026 10:00:30 GMT"}, None),
    ],
)
def test_retry_after_is_read_in_seconds_and_as_a_date(headers: dict[str, str], seconds: float | None) -> None:
    with pytest.raises(RateLimitedError) as error:
        checked(Answer(429, headers, b"Your IP is issuing too many concurrent connections"))
    assert error.value.retry_after == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(15.0, "15s"), (1.5, "1500ms"), (0.0001, "100us"), (1e-9, "1ns"), (90, "90s"), (0.3, "300ms")],
)
def test_durations_are_gos(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text


def test_a_query_becomes_parameters() -> None:
    query = Query(
        "users",
        tags=("v1", "eu"),
        status="passing",
        datacenter="dc2",
        near="_agent",
        filter="Service.Port == 80",
        node_meta=Meta({"rack": "r1"}),
        consistency="consistent",
        server_filter=True,
    )
    assert health_params(query, 7) == [
        ("tag", "v1"),
        ("tag", "eu"),
        ("passing", "1"),
        ("dc", "dc2"),
        ("near", "_agent"),
        ("filter", "Service.Port == 80"),
        ("node-meta", "rack:r1"),
        ("consistent", ""),
        ("index", "7"),
    ]
    assert health_params(USERS, None) == []
    assert health_params(Query("users", status="critical", server_filter=True), None) == []


def registered(check: Check, **fields: Any) -> dict[str, Any]:
    registration = Registration(service="users", id="u1", port=80, check=check, **fields)
    record = registration.record(id="u1", host="::1")
    return json.loads(payload(record))  # type: ignore[no-any-return]


def test_a_registration_says_everything() -> None:
    body = registered(
        TTLCheck(ttl=15.0),
        tags=("v1",),
        meta={"zone": "a"},
        weight=3,
        warning_weight=2,
        scheme="https",
        enable_tag_override=True,
        tagged_addresses={"wan": ("192.0.2.7", 443)},
    )
    assert body == {
        "ID": "u1",
        "Name": "users",
        "Address": "::1",
        "Port": 80,
        "Tags": ["v1"],
        "Meta": {"zone": "a", "scheme": "https"},
        "Weights": {"Passing": 3, "Warning": 2},
        "TaggedAddresses": {"wan": {"Address": "192.0.2.7", "Port": 443}},
        "EnableTagOverride": True,
        "Checks": [
            {
                "CheckID": "service:u1",
                "Status": "critical",
                "Notes": "",
                "DeregisterCriticalServiceAfter": "60s",
                "TTL": "15s",
            }
        ],
    }


COMMON = {
    "CheckID": "mine",
    "Name": "Mine",
    "Status": "passing",
    "Notes": "n",
    "Interval": "1500ms",
    "Timeout": "2s",
}
PROBING: dict[str, Any] = {
    "id": "mine",
    "name": "Mine",
    "notes": "n",
    "interval": 1.5,
    "timeout": 2.0,
    "deregister_after": None,
    "initial_status": "passing",
}


@pytest.mark.parametrize(
    ("check", "fields"),
    [
        (
            HTTPCheck(
                headers={"X-A": "1"},
                method="POST",
                body="b",
                tls_skip_verify=True,
                tls_server_name="s",
                success_before_passing=2,
                failures_before_critical=3,
                **PROBING,
            ),
            {
                "HTTP": "http://[::1]:80/health",
                "Method": "POST",
                "Header": {"X-A": ["1"]},
                "Body": "b",
                "TLSSkipVerify": True,
                "TLSServerName": "s",
                "SuccessBeforePassing": 2,
                "FailuresBeforeCritical": 3,
            },
        ),
        (TCPCheck(**PROBING), {"TCP": "[::1]:80"}),
        (
            GRPCCheck(service="users.v1", tls=True, tls_server_name="s", **PROBING),
            {"GRPC": "[::1]:80/users.v1", "GRPCUseTLS": True, "TLSSkipVerify": False, "TLSServerName": "s"},
        ),
        (GRPCCheck("h:9", **PROBING), {"GRPC": "h:9", "GRPCUseTLS": False, "TLSSkipVerify": False}),
    ],
)
def test_a_check_says_everything(check: Check, fields: dict[str, Any]) -> None:
    assert registered(check)["Checks"] == [COMMON | fields]


def test_every_check_has_an_id_of_its_own() -> None:
    checks = (TTLCheck(), TTLCheck(id="mine"), TCPCheck())
    named = Registration(service="users", id="u1", port=80, checks=checks).record(id="u1", host="::1")
    assert [check_id(named, n) for n in range(3)] == ["service:u1", "mine", "service:u1:3"]
    # Workers that share a registration draw ids, and an agent keeps one check of an id.
    drawn = Registration(service="users", port=80, checks=checks).record(id="u2", host="::1")
    assert [check_id(drawn, n) for n in range(3)] == ["service:u2", "u2:mine", "service:u2:3"]
    with pytest.raises(ValueError, match=r"Registration\.checks: each check has an id of its own"):
        Registration(service="users", checks=(TTLCheck(id="mine"), TTLCheck(id="mine")))
