from collections.abc import Callable
from typing import Any

import pytest

from asyncsd import GRPCCheck, HTTPCheck, Meta, Registration, TCPCheck, TTLCheck

NO: Any = "no"
CHECKS = [HTTPCheck, TCPCheck, TTLCheck, GRPCCheck]


def refused(error: type[Exception], text: str) -> Any:
    return pytest.raises(error, match=text)


class TestRegistration:
    @pytest.mark.parametrize(
        ("values", "error", "text"),
        [
            ({"service": ""}, ValueError, "Registration.service"),
            ({"service": None}, TypeError, "Registration.service is a string"),
            ({"port": -1}, ValueError, "Registration.port is from 0 to 65535"),
            ({"port": 65536}, ValueError, "Registration.port is from 0 to 65535"),
            ({"port": "8080"}, TypeError, "Registration.port is a whole number"),
            ({"host": "0.0.0.0"}, ValueError, "leave host out"),
            ({"host": "::"}, ValueError, "leave host out"),
            ({"host": "http://10.0.0.7"}, ValueError, "use scheme="),
            ({"host": "10.0.0.7:80"}, ValueError, "use port="),
            ({"id": ""}, ValueError, "Registration.id"),
            ({"id": "\udcff"}, ValueError, "Registration.id has a lone surrogate"),
            ({"tags": ("a", "\udcff")}, ValueError, "Registration.tags has a lone surrogate"),
            ({"tags": 5}, TypeError, "Registration.tags is a sequence"),
            ({"meta": {"a": "\udcff"}}, ValueError, "Registration.meta\\['a'\\] has a lone surrogate"),
            ({"meta": Meta({"\udcff": "a"})}, ValueError, "Registration.meta has a lone surrogate"),
            ({"enable_tag_override": "no"}, TypeError, "Registration.enable_tag_override is True or False"),
            ({"tags": "v1"}, TypeError, r"Registration.tags .*write \('v1',\)"),
            ({"tags": ("v1", 2)}, TypeError, "Registration.tags .*write '2'"),
            ({"meta": {"a": 1}}, TypeError, "Registration.meta"),
            ({"weight": 0}, ValueError, "Registration.weight is a whole number from 1"),
            ({"weight": True}, ValueError, "Registration.weight"),
            ({"warning_weight": -1}, ValueError, "Registration.warning_weight"),
            ({"scheme": "http://"}, ValueError, "Registration.scheme"),
            ({"scheme": ""}, ValueError, "Registration.scheme"),
            ({"scheme": 5}, TypeError, "Registration.scheme is a string or None; got int"),
            ({"check": "/health"}, TypeError, "Registration.check is an HTTPCheck"),
            ({"checks": ("/health",)}, TypeError, "Registration.check is an HTTPCheck"),
            ({"checks": TTLCheck()}, TypeError, "use check="),
            ({"check": TTLCheck(), "checks": (TTLCheck(),)}, ValueError, "give one of the two"),
            ({"tagged_addresses": {"wan": ("http://x", 1)}}, ValueError, r"tagged_addresses\['wan'\]"),
            ({"tagged_addresses": {"wan": ("x", 70000)}}, ValueError, r"tagged_addresses\['wan'\]"),
            ({"tagged_addresses": {"lan": "10.0.0.1"}}, TypeError, r"\['lan'\] is \(host, port\), such as"),
            ({"tagged_addresses": {5: ("x", 1)}}, TypeError, "tagged_addresses is a string; got 5"),
            ({"tagged_addresses": "10.0.0.1"}, TypeError, r"tagged_addresses maps names to \(host, port\)"),
        ],
    )
    def test_refuses_a_bad_value_and_names_the_field(
        self, values: dict[str, Any], error: type[Exception], text: str
    ) -> None:
        with refused(error, text):
            Registration(**({"service": "users", "port": 80} | values))

    def test_is_a_value(self) -> None:
        one = Registration(service="users", port=80, tags=["v1"], meta={"zone": "a"}, check=TTLCheck())
        other = Registration(service="users", port=80, tags=("v1",), meta={"zone": "a"}, check=TTLCheck())
        assert one == other
        with refused(AttributeError, "port"):
            one.port = 81  # type: ignore[misc]

    def test_equal_ones_hash_alike_whatever_they_were_made_from(self) -> None:
        one = Registration(service="users", port=80, tagged_addresses={"lan": ["::1", 80]})  # type: ignore[dict-item]
        other = Registration(service="users", port=80, tagged_addresses={"lan": ("[::1]", 80)})
        assert one == other
        assert hash(one) == hash(other)
        assert hash(one.record(id="u", host="h")) == hash(other.record(id="u", host="h"))
        with refused(TypeError, "immutable"):
            one.tagged_addresses["wan"] = ("h", 1)  # type: ignore[index]

    def test_its_repr_shows_just_what_was_given(self) -> None:
        me = Registration(service="users", port=80, check=TTLCheck(ttl=5.0))
        assert repr(me) == "Registration(service='users', port=80, check=TTLCheck(ttl=5.0))"
        assert repr(me.record(id="u", host="h")).startswith(
            "Record(id='u', service='users', host='h', port=80,"
        )

    def test_a_check_that_needs_no_port_goes_with_none(self) -> None:
        for check in (TTLCheck(), TCPCheck("db:5432"), GRPCCheck("db:1"), HTTPCheck("http://db/health")):
            assert Registration(service="worker", check=check).port == 0


class TestRecord:
    def test_completes_the_checks_with_host_and_port(self) -> None:
        registration = Registration(
            service="users",
            port=8080,
            checks=(HTTPCheck("/health"), TCPCheck(), GRPCCheck(), TTLCheck(ttl=5.0)),
        )
        http, tcp, grpc, ttl = registration.record(id="u-1", host="10.0.0.7").checks
        assert isinstance(http, HTTPCheck)
        assert http.url == "http://10.0.0.7:8080/health"
        assert (tcp.target, grpc.target) == ("10.0.0.7:8080", "10.0.0.7:8080")  # type: ignore[union-attr]
        assert ttl == TTLCheck(ttl=5.0)

    def test_brackets_ipv6_in_the_checks(self) -> None:
        registration = Registration(service="users", port=80, checks=(HTTPCheck(), TCPCheck()))
        http, tcp = registration.record(id="u-1", host="::1").checks
        assert http.url == "http://[::1]:80/health"  # type: ignore[union-attr]
        assert tcp.target == "[::1]:80"  # type: ignore[union-attr]

    @pytest.mark.parametrize(("scheme", "used"), [("https", "https"), (None, "http"), ("grpc", "http")])
    def test_http_check_uses_the_registered_scheme(self, scheme: str | None, used: str) -> None:
        registration = Registration(service="users", port=80, scheme=scheme, check=HTTPCheck("/up"))
        (check,) = registration.record(id="u-1", host="h").checks
        assert check.url == f"{used}://h:80/up"  # type: ignore[union-attr]

    def test_leaves_whole_targets_as_they_are(self) -> None:
        checks = (HTTPCheck("https://x.example/up"), TCPCheck("db:1"), GRPCCheck("[::1]:2"))
        assert Registration(service="users", port=80, checks=checks).record(id="u", host="h").checks == checks

    @pytest.mark.parametrize("check", [TCPCheck(), GRPCCheck(), HTTPCheck("/health")])
    def test_a_check_of_a_port_needs_one_by_then(self, check: Any) -> None:
        """Not before: a program may learn its port when it listens."""
        registration = Registration(service="users", check=check)
        with refused(ValueError, f"{type(check).__name__} needs a port"):
            registration.record(id="u", host="h")

    def test_calls_what_may_change_each_time(self) -> None:
        tags, meta, weight = ["v1"], {"load": "1"}, [3]
        registration = Registration(
            service="users", port=80, tags=lambda: tags, meta=lambda: meta, weight=lambda: weight[0]
        )
        before = registration.record(id="u", host="h")
        tags.append("v2")
        meta["load"] = "2"
        weight[0] = 4
        after = registration.record(id="u", host="h")
        assert (before.tags, before.meta, before.weight) == (("v1",), {"load": "1"}, 3)
        assert (after.tags, after.meta, after.weight) == (("v1", "v2"), {"load": "2"}, 4)

    @pytest.mark.parametrize(
        ("values", "error", "text"),
        [
            ({"tags": lambda: "v1"}, TypeError, "Registration.tags"),
            ({"meta": lambda: {"a": 1}}, TypeError, "Registration.meta"),
            ({"weight": lambda: 0}, ValueError, "Registration.weight"),
        ],
    )
    def test_refuses_what_a_callable_may_not_give(
        self, values: dict[str, Any], error: type[Exception], text: str
    ) -> None:
        registration = Registration(service="users", port=80, **values)
        with refused(error, text):
            registration.record(id="u", host="h")

    def test_ttl_is_the_shortest(self) -> None:
        checks = (TTLCheck(ttl=30.0), TTLCheck(ttl=10.0), TCPCheck())
        assert Registration(service="users", port=80, checks=checks).record(id="u", host="h").ttl == 10.0
        assert Registration(service="users").record(id="u", host="h").ttl is None


class TestChecks:
    @pytest.mark.parametrize("kind", CHECKS)
    @pytest.mark.parametrize(
        ("values", "error", "field"),
        [
            ({"deregister_after": 0}, ValueError, "deregister_after"),
            ({"deregister_after": "1m"}, TypeError, "deregister_after"),
            ({"initial_status": "ok"}, ValueError, "initial_status"),
            ({"id": ""}, ValueError, "id"),
        ],
    )
    def test_common_fields(
        self, kind: type[Any], values: dict[str, Any], error: type[Exception], field: str
    ) -> None:
        with refused(error, f"{kind.__name__}.{field}"):
            kind(**values)

    @pytest.mark.parametrize(
        ("make", "error", "text"),
        [
            (lambda: HTTPCheck(tls_skip_verify=NO), TypeError, "HTTPCheck.tls_skip_verify is True or"),
            (lambda: GRPCCheck(tls=NO), TypeError, "GRPCCheck.tls is True or False"),
            (lambda: HTTPCheck("http://h:99999/"), ValueError, "HTTPCheck.url"),
            (lambda: HTTPCheck(body="\udcff"), ValueError, "HTTPCheck.body has a lone surrogate"),
            (lambda: TCPCheck("::1:80"), ValueError, "TCPCheck.target has an IPv6 address in brackets"),
            (lambda: GRPCCheck("::1:80"), ValueError, "GRPCCheck.target has an IPv6 address in brackets"),
        ],
    )
    def test_values_that_would_fail_later(
        self, make: Callable[[], object], error: type[Exception], text: str
    ) -> None:
        with refused(error, text):
            make()

    @pytest.mark.parametrize("kind", [HTTPCheck, TCPCheck, GRPCCheck])
    @pytest.mark.parametrize(
        ("values", "error", "field"),
        [
            ({"interval": 0}, ValueError, "interval"),
            ({"interval": "10s"}, TypeError, "interval"),
            ({"timeout": None}, TypeError, "timeout"),
            ({"success_before_passing": -1}, ValueError, "success_before_passing"),
            ({"failures_before_critical": 1.5}, ValueError, "failures_before_critical"),
        ],
    )
    def test_fields_of_those_that_probe(
        self, kind: type[Any], values: dict[str, Any], error: type[Exception], field: str
    ) -> None:
        with refused(error, f"{kind.__name__}.{field}"):
            kind(**values)

    @pytest.mark.parametrize(
        ("make", "error", "text"),
        [
            (lambda: TTLCheck(ttl=0), ValueError, "TTLCheck.ttl .* more than 0"),
            (lambda: TTLCheck(ttl="15s"), TypeError, "TTLCheck.ttl is a number of seconds"),  # type: ignore[arg-type]
            (lambda: HTTPCheck("health"), ValueError, "HTTPCheck.url is a path such as '/health'"),
            (lambda: HTTPCheck("ftp://x/"), ValueError, "HTTPCheck.url"),
            (lambda: HTTPCheck("http:///up"), ValueError, "HTTPCheck.url"),
            (lambda: HTTPCheck(""), ValueError, "HTTPCheck.url"),
            (lambda: HTTPCheck(method="GET /"), ValueError, "HTTPCheck.method"),
            (lambda: HTTPCheck(headers={"a": 1}), TypeError, "HTTPCheck.headers"),  # type: ignore[dict-item]
            (lambda: HTTPCheck("http://[::1/up"), ValueError, "HTTPCheck.url is a path"),
            (lambda: HTTPCheck(5), TypeError, "HTTPCheck.url is a string; got int"),  # type: ignore[arg-type]
            (lambda: HTTPCheck(method=5), TypeError, "HTTPCheck.method is a string"),  # type: ignore[arg-type]
            (lambda: HTTPCheck(body={}), TypeError, "HTTPCheck.body is a string; got dict"),  # type: ignore[arg-type]
            (lambda: TCPCheck(5), TypeError, "TCPCheck.target is a string or None"),  # type: ignore[arg-type]
            (lambda: GRPCCheck(service=5), TypeError, "GRPCCheck.service is a string"),  # type: ignore[arg-type]
            (lambda: TTLCheck(name=5), TypeError, "TTLCheck.name is a string or None"),  # type: ignore[arg-type]
            (lambda: TCPCheck("db"), ValueError, "TCPCheck.target is 'host:port'"),
            (lambda: TCPCheck("db:x"), ValueError, "TCPCheck.target is 'host:port'"),
            (lambda: TCPCheck("db:70000"), ValueError, "TCPCheck.target"),
            (lambda: GRPCCheck("0.0.0.0:1"), ValueError, "GRPCCheck.target"),
        ],
    )
    def test_fields_of_each(self, make: Any, error: type[Exception], text: str) -> None:
        with refused(error, text):
            make()

    @pytest.mark.parametrize(
        ("check", "shown"),
        [
            (HTTPCheck(headers={"X-Key": "SECRET"}), "HTTPCheck(headers={'X-Key': '***'})"),
            (HTTPCheck("http://me:SECRET@h/up"), "HTTPCheck(url='http://***@h/up')"),
            (HTTPCheck("http://me:SEC@RET@h/up@"), "HTTPCheck(url='http://***@')"),
            (HTTPCheck("/up?key=SECRET"), "HTTPCheck(url='/up?***')"),
            (HTTPCheck(method="POST", body="SECRET"), "HTTPCheck(method='POST', body='***')"),
            (HTTPCheck("/up"), "HTTPCheck(url='/up')"),
        ],
    )
    def test_no_repr_shows_a_secret(self, check: HTTPCheck, shown: str) -> None:
        assert repr(check) == shown
        me = Registration(service="users", port=80, check=check)
        assert shown in repr(me)
        assert "SECRET" not in repr(me.record(id="u", host="h"))

    @pytest.mark.parametrize(
        "values",
        [
            {"url": "ftp://me:SECRET@h/"},
            {"url": "h?key=SECRET"},
            {"headers": {"Authorization": b"SECRET"}},
            {"headers": [("Authorization", "SECRET")]},
            {"body": b"SECRET"},
        ],
    )
    def test_no_error_shows_a_secret(self, values: dict[str, Any]) -> None:
        with pytest.raises((TypeError, ValueError)) as error:
            HTTPCheck(**values)
        assert "SECRET" not in str(error.value)

    def test_ghosts_go_after_a_minute_unless_told_otherwise(self) -> None:
        assert [kind().deregister_after for kind in CHECKS] == [60.0] * 4
        assert TTLCheck(deregister_after=None).deregister_after is None


@pytest.mark.parametrize("headers", [{"A\r\nB": "x"}, {"X-A": "a\nb"}, {"": "x"}, {"a b": "x"}])
def test_a_header_that_cannot_be_sent_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"HTTPCheck\.headers"):
        HTTPCheck("/health", headers=headers)
