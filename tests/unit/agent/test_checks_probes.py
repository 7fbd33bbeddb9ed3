"""What a single try of a check finds out, on real servers."""

import gzip
import importlib.util
import ssl
import threading

import pytest

from asyncsd._clock import LoopClock
from asyncsd.agent._checks import cannot_run
from asyncsd.agent._state._definitions import CheckDefinition
from tests.support.checked import grpc_server, http_server, raw_server
from tests.support.fake_agent import Certificates, make_certificates
from tests.test_imports import imported_by
from tests.unit.agent.checks import Said, running, said_by

CLOCK = LoopClock()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def trusted(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system trusts the test's authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))


# HTTP


async def test_a_user_header_replaces_ours_however_it_is_written() -> None:
    header = {"user-agent": ["mine"], "ACCEPT": ["a/b"], "X-Both": ["1", "2"]}
    async with http_server() as place:
        said = await said_by(CLOCK, http=f"http://{place}/echo", header=header)
    assert '["User-Agent", "mine"]' in said.output
    assert "Consul Health Check" not in said.output
    assert '["Accept", "a/b"]' in said.output
    assert '["X-Both", "1"], ["X-Both", "2"]' in said.output


async def test_no_cookie_is_kept() -> None:
    async with http_server() as place, running(CLOCK) as checks:
        # By name: of a server without one, no client keeps a cookie.
        url = f"http://{place.replace('127.0.0.1', 'localhost')}/cookie"
        for name in ("a", "b"):
            checks.runners.start(CheckDefinition(check_id=name, name=name, http=url, interval=10.0))
            assert (await checks.heard()).output.endswith("Output: none")


async def test_a_compressed_body_is_shown_as_text() -> None:
    body = gzip.compress(b"readable")
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with raw_server(head + body) as place:
        said = await said_by(CLOCK, http=f"http://{place}/")
    assert said.output == f"HTTP GET http://{place}/: 200 OK Output: readable"


async def test_a_try_is_one_request_though_the_server_hangs_up() -> None:
    async with raw_server(b"") as place:
        said = await said_by(CLOCK, http=f"http://{place}/")
        assert said == Said("it", "critical", f'Get "http://{place}/": EOF')
        assert place.asked == 1


async def test_what_is_no_text_is_replaced_wherever_it_stands() -> None:
    async with raw_server(b"HTTP/1.1 200 G\xfct\r\nContent-Length: 1\r\n\r\n\xff") as place:
        said = await said_by(CLOCK, http=f"http://{place}/")
    assert said.output == f"HTTP GET http://{place}/: 200 G\ufffdt Output: \ufffd"


async def test_a_body_without_end_is_read_until_the_timeout_and_only_its_end_is_kept() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"
    async with raw_server(head + b"x" * 2_000_000 + b"last") as place:
        said = await said_by(CLOCK, http=f"http://{place}/", timeout=5.0, output_max_size=10)
    assert said.status == "passing"
    assert said.output.endswith("Output: xxxxxxlast")


@pytest.mark.usefixtures("trusted")
async def test_a_certificate_of_a_known_authority_passes(certificates: Certificates) -> None:
    async with http_server(certificates.server_context()) as place:
        said = await said_by(CLOCK, http=f"https://{place}/ok")
    assert said.status == "passing"


@pytest.mark.usefixtures("trusted")
async def test_a_certificate_must_be_for_the_server_name_that_the_check_gives(
    certificates: Certificates,
) -> None:
    async with http_server(certificates.server_context()) as place:
        said = await said_by(CLOCK, http=f"https://{place}/ok", tls_server_name="other.example")
    problem = "tls: failed to verify certificate: x509: certificate is not valid for other.example"
    assert said == Said("it", "critical", f'Get "https://{place}/ok": {problem}')


async def test_a_tls_context_is_made_once_and_off_the_loop(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    make = ssl.create_default_context

    def noted() -> ssl.SSLContext:
        threads.append(threading.get_ident())
        return make()

    server = certificates.server_context()
    monkeypatch.setattr(ssl, "create_default_context", noted)
    async with http_server(server) as place, running(CLOCK) as checks:
        for name in ("a", "b"):
            url = f"https://{place}/ok"
            checks.runners.start(
                CheckDefinition(check_id=name, name=name, http=url, interval=10.0, tls_skip_verify=True)
            )
            assert (await checks.heard()).status == "passing"
    assert len(threads) == 1
    assert threads != [threading.get_ident()]


@pytest.mark.parametrize("value", ["line\nbreak", "nul\0"])
async def test_a_header_that_cannot_be_sent_is_critical(value: str) -> None:
    async with http_server() as place:
        said = await said_by(CLOCK, http=f"http://{place}/", header={"X-Bad": [value]})
    assert said.status == "critical"
    assert said.output.startswith(f'Get "http://{place}/": ')


# gRPC


@pytest.mark.usefixtures("trusted")
async def test_grpc_over_tls_of_a_known_authority_passes(certificates: Certificates) -> None:
    async with grpc_server((certificates.server, certificates.server_key)) as place:
        said = await said_by(CLOCK, grpc=f"{place}/up", grpc_use_tls=True)
    assert said == Said("it", "passing", f"gRPC check {place}/up: success")


async def test_grpc_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    check = CheckDefinition(check_id="g", name="g", grpc="127.0.0.1:1", interval=1.0)
    assert cannot_run(check) is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refusal = cannot_run(check)
    assert refusal is not None
    assert "pip install 'asyncsd[grpc]'" in refusal
    assert cannot_run(CheckDefinition(check_id="t", name="t", ttl=1.0)) is None


def test_what_grpc_needs_is_imported_once_a_check_runs() -> None:
    modules = imported_by("import asyncsd.agent")
    assert not modules & {"h2", "hpack", "grpc"}


SETTINGS = b"\0\0\0\4\0\0\0\0\0"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "error reading server preface: http2: frame too large"),
        (b"", "error reading server preface: EOF"),
        (SETTINGS, "error reading from server: EOF"),
        # A frame of 16 MB, that would have to be kept until it is whole.
        (SETTINGS + b"\xff\xff\xff\0\0\0\0\0\1" + b"x" * 200_000, "http2: frame too large"),
        (SETTINGS + b"\0\0\4\3\0\0\0\0\1\0\0\0\x0b", "RST_STREAM with error code: ENHANCE_YOUR_CALM"),
        (SETTINGS + b"\0\0\4\3\0\0\0\0\1\0\0\xff\xff", "RST_STREAM with error code: UNKNOWN"),
        (SETTINGS + b"\0\0\x08\7\0\0\0\0\0\0\0\0\0\0\0\0\0", "the connection is draining"),
        (b"\0\0\1\1\4\0\0\0\1\xff", "error reading server preface"),
    ],
)
async def test_a_grpc_server_that_talks_nonsense_is_critical(answer: bytes, text: str) -> None:
    async with raw_server(answer) as place:
        said = await said_by(CLOCK, grpc=place)
    assert said.status == "critical"
    assert said.output.startswith("rpc error: code = ")
    assert text in said.output


# What was written by hand


@pytest.mark.parametrize(
    "address", ["[::1", "::1", "", ":", "host", "host:1:2", "a:70000", "\0:1", "ä.:1", "." * 300 + ":1"]
)
@pytest.mark.parametrize("kind", ["tcp", "grpc"])
async def test_an_address_that_is_none_is_critical(kind: str, address: str) -> None:
    said = await said_by(CLOCK, **{kind: address or "/"})
    assert said.status == "critical"
    assert "dial tcp" in said.output


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://[",
        "http://[]/",
        "http://a b/",
        "http://\ud83d/",
        "http://" + "a" * 300,
        "http://..",
        "https://%zz/",
    ],
)
async def test_a_url_that_is_none_is_critical(url: str) -> None:
    said = await said_by(CLOCK, http=url)
    assert said.status == "critical"


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ws://127.0.0.1/", "unix:///tmp/x"])
async def test_only_http_and_https_are_asked(url: str) -> None:
    said = await said_by(CLOCK, http=url)
    scheme = url.partition(":")[0]
    assert said.output == f'Get "{url}": unsupported protocol scheme "{scheme}"'
