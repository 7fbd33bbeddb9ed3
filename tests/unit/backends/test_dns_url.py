"""A DNSBackend's values as people write them."""

import sys
from typing import Any

import pytest

from asyncsd.backends import from_url
from asyncsd.backends.dns import DNSBackend
from asyncsd.backends.dns._servers import parse_servers


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("10.0.0.1", "10.0.0.1", 53),
        ("10.0.0.1:8600", "10.0.0.1", 8600),
        ("[2001:db8::1]:8600", "2001:db8::1", 8600),
        ("2001:db8::1", "2001:db8::1", 53),
        ("ns1.example", "ns1.example", 53),
        (" ns1.example:5353 ", "ns1.example", 5353),
    ],
)
def test_a_name_server_is_read(text: str, host: str, port: int) -> None:
    (server,) = parse_servers(text)
    assert (server.host, server.port) == (host, port)
    assert parse_servers(server.short) == (server,)


@pytest.mark.parametrize("value", ["a:1,b", "a:1, b:53", ["a:1", "b"], ("a:1", "b:53")])
def test_several_come_as_a_list_or_with_commas(value: Any) -> None:
    assert [str(server) for server in parse_servers(value)] == ["dns://a:1", "dns://b:53"]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([], "is empty"),
        ("", "is a host name"),
        ("a,a:53", "names dns://a:53 twice"),
        ("dns://a", "an address alone"),
        ("user:secret@a", "an address alone"),
        ("a:port", "is no address"),
        ("a:99999", "is no address"),
        ("0.0.0.0", "nobody can call"),
    ],
)
def test_what_is_no_name_server_is_refused_with_what_would_do(value: Any, says: str) -> None:
    with pytest.raises(ValueError, match=r"DNSBackend\.nameservers") as told:
        DNSBackend(value)
    assert says in str(told.value)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"record": "MX"}, r"DNSBackend\.record is 'SRV', 'A' or 'AAAA'; got 'MX'"),
        ({"record": "SRV", "port": 80}, r"DNSBackend\.port goes with record='A'"),
        ({"record": "A"}, r"DNSBackend\.port is missing"),
        ({"port": 70_000}, r"DNSBackend\.port is from 0 to 65535"),
        ({"domain": "{name}.example"}, r"DNSBackend\.domain has \{service\} where"),
        ({"min_ttl": 0}, r"DNSBackend\.min_ttl"),
        ({"min_ttl": 60}, r"DNSBackend\.max_ttl is min_ttl at least"),
        ({"timeout": -1}, r"DNSBackend\.timeout"),
        ({"wait": float("inf")}, r"DNSBackend\.wait"),
    ],
)
def test_values_that_make_no_sense_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        DNSBackend("10.0.0.1", **values)


@pytest.mark.parametrize("values", [{"tcp": "yes"}, {"resolve": 1}, {"domain": None}, {"nameservers": [1]}])
def test_values_of_another_type_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=rf"DNSBackend\.{next(iter(values))}"):
        DNSBackend(**values)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("dns://", "DNSBackend()"),
        ("dns:///service.consul", "DNSBackend(domain='service.consul')"),
        (
            "dns://ns1:53,ns2:5353/example.com?port=8080",
            "DNSBackend('ns1,ns2:5353', domain='example.com', port=8080)",
        ),
        (
            "dns://[::1]:53/a.b?record=AAAA&port=80",
            "DNSBackend('[::1]', domain='a.b', record='AAAA', port=80)",
        ),
        (
            "dns://10.0.0.1/_http._tcp.%7Bservice%7D.example.com?tcp=true&resolve=false&min_ttl=2&max_ttl=9&wait=5",
            "DNSBackend('10.0.0.1', domain='_http._tcp.{service}.example.com', resolve=False, tcp=True)",
        ),
        ("dns://a/b?record=SRV&timeout=1", "DNSBackend('a', domain='b')"),
    ],
)
def test_a_url_says_what_parameters_say(url: str, shown: str) -> None:
    assert repr(from_url(url)) == shown


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("dns://a/b?nameserver=c", "has no parameter 'nameserver'; it has max_ttl"),
        ("dns://a/b?port=http", "port of a DNS URL is a whole number; got 'http'"),
        ("dns://a/b?port=80&port=81", "twice"),
        ("dns://a/b?tcp=yes", "tcp of a DNS URL is true or false; got 'yes'"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        from_url(url)


def test_without_dnspython_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("asyncsd.backends.dns")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name == "dns" or name.startswith("dns.")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install 'asyncsd\[dns\]'"):
        from_url("dns://10.0.0.1/example.com")
