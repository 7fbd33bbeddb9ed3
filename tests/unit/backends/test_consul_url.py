"""Addresses of agents as people write them."""

import pytest

from asyncsd.backends import consul, from_url
from asyncsd.backends.consul import ConsulBackend
from asyncsd.backends.consul._url import parse_addresses


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:8500", "http://127.0.0.1:8500"),
        ("localhost:8500", "http://localhost:8500"),
        ("localhost", "http://localhost:8500"),
        ("10.0.0.7:18500", "http://10.0.0.7:18500"),
        ("[::1]:8500", "http://[::1]:8500"),
        ("consul://consul.internal", "http://consul.internal:8500"),
        ("consul://consul.internal:81/", "http://consul.internal:81"),
        ("http://consul.internal", "http://consul.internal:80"),
        ("https://consul.internal", "https://consul.internal:443"),
        ("https://consul.internal:8501/", "https://consul.internal:8501"),
        ("http://proxy/consul a/", "http://proxy:80/consul%20a"),
        ("  localhost:8500 ", "http://localhost:8500"),
        ("unix:///run/consul.sock", "unix:///run/consul.sock"),
    ],
)
def test_an_address_is_read(text: str, url: str) -> None:
    (address,) = parse_addresses(text)
    assert str(address) == url


@pytest.mark.parametrize("value", ["a:1,b:2", "a:1, b:2", ["a:1", "b:2"], ("consul://a:1", "http://b:2")])
def test_several_agents_come_as_a_list_or_with_commas(value: "str | list[str]") -> None:
    assert [str(address) for address in parse_addresses(value)] == ["http://a:1", "http://b:2"]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "is empty: give one such as"),
        ("a:1,", "is empty"),
        ([], "names no agent"),
        ("ftp://a", "has the scheme 'ftp'"),
        ("http://", "names no host"),
        ("http://a:port", "is no address"),
        ("http://a:99999", "is no address"),
        ("http://[::1", "is no address"),
        ("unix:run/consul.sock", "'unix:///absolute/path'"),
        ("http://a?token=secret", "a token goes into token="),
        ("a:1,a:1", "names http://a:1 twice"),
        ("http://a_b c", "is a host name"),
        ("http://bob:12/34@a", "a '/' in a user name or a password is written %2F"),
        ("0.0.0.0:8500", "0.0.0.0 is where one listens"),
        ("http://[::]:8500", ":: is where one listens"),
    ],
)
def test_what_is_no_address_is_refused_with_what_would_do(value: "str | list[str]", says: str) -> None:
    with pytest.raises(ValueError, match=r"ConsulBackend\.url") as error:
        ConsulBackend(value)
    assert says in str(error.value)
    assert "secret" not in str(error.value)


def test_no_string_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"ConsulBackend\.url is a string"):
        ConsulBackend([8500])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"ConsulBackend\.url is a string"):
        ConsulBackend(8500)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [
        "http://bob:secret@a:port",
        "http://bob:secret/2@a",
        "http://bob:secret@a:1?x=1",
        "ftp://bob:secret@a",
        "http://bob:secret@",
    ],
)
def test_credentials_are_never_shown(value: str) -> None:
    (address,) = parse_addresses("http://bob:s%40cret@a:1")
    assert address.credentials == ("bob", "s@cret")
    for shown in (repr(address), str(address), repr(ConsulBackend("http://bob:secret@a:1"))):
        assert "bob" not in shown
        assert "cret" not in shown
    with pytest.raises(ValueError) as error:
        parse_addresses(value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("url", ["bob:secret@a:8500", "bob:secret@a", ""])
def test_a_url_without_a_scheme_is_refused_and_not_shown(url: str) -> None:
    for make in (from_url, consul.from_url):
        with pytest.raises(ValueError, match="starts with") as error:
            make(url)
        assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("localhost", True),
        ("127.1.2.3", True),
        ("[::1]", True),
        ("unix:///s", True),
        ("10.0.0.1", False),
        ("a", False),
    ],
)
def test_loopback_is_told_from_a_network(text: str, local: bool) -> None:
    assert parse_addresses(text)[0].is_local is local
