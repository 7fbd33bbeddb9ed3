"""What checks say of real servers: the same on our agent and on a real Consul."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.agent.parity import Answer, Both
from tests.support.checked import grpc_server, http_server, raw_server
from tests.support.fake_agent import Certificates, make_certificates
from tests.support.process import free_ports

pytestmark = pytest.mark.server("consul")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def refused() -> str:
    """An address where nobody listens."""
    return f"127.0.0.1:{free_ports(1)[0]}"


@pytest.fixture
async def servers() -> AsyncIterator[AsyncExitStack]:
    """Enter servers here."""
    async with AsyncExitStack() as stack:
        yield stack


@dataclass
class Checked:
    """Registers checks on both servers, all at once, and reads what they say."""

    both: Both

    async def __call__(self, checks: dict[str, dict[str, Any]]) -> dict[str, tuple[str, str]]:
        """Status and output of each check, by name, once all have run; equal on both."""
        for name, check in checks.items():
            body = {"Name": name, "Interval": "1s", "Timeout": "1s", **check}
            await self.both.put("/v1/agent/check/register", body)

        def all_ran(answer: Answer) -> bool:
            return all(check["Output"] for check in answer.json.values())

        answer = await self.both.until("/v1/agent/checks", all_ran)
        return {name: (check["Status"], check["Output"]) for name, check in answer.json.items()}


@pytest.fixture
def checked(both: Both) -> Checked:
    return Checked(both)


async def test_http_status_is_passing_for_2xx_warning_for_429_and_else_critical(
    checked: Checked, servers: AsyncExitStack
) -> None:
    place = await servers.enter_async_context(http_server())
    codes = (200, 201, 204, 299, 304, 400, 401, 404, 429, 500, 503)
    said = await checked({f"s{code}": {"HTTP": f"http://{place}/status/{code}"} for code in codes})
    passing, warning = {200, 201, 204, 299}, {429}
    for code in codes:
        expected = "passing" if code in passing else "warning" if code in warning else "critical"
        assert said[f"s{code}"][0] == expected
    assert said["s503"][1] == f"HTTP GET http://{place}/status/503: 503 Service Unavailable Output: said"


async def test_http_request_has_the_method_headers_host_and_body_of_the_check(
    checked: Checked, servers: AsyncExitStack
) -> None:
    place = await servers.enter_async_context(http_server())
    url = f"http://{place}/echo"
    said = await checked(
        {
            "plain": {"HTTP": url},
            "post": {
                "HTTP": f"{url}?a=b%20c",
                "Method": "POST",
                "Body": "hëllo",
                "Header": {
                    "Host": ["me.example"],
                    "X-Two": ["1", "2"],
                    "Accept": ["a/b"],
                    "User-Agent": ["me"],
                },
            },
            "empty post": {"HTTP": url, "Method": "POST"},
            "head": {"HTTP": url, "Method": "HEAD"},
            "password": {"HTTP": f"http://user:secret@{place}/echo"},
            "fragment": {"HTTP": f"{url}#part"},
            "space": {"HTTP": f"{url}/a b"},
            "no path": {"HTTP": f"http://{place}"},
        }
    )
    assert '["Host", "me.example"]' in said["post"][1]
    assert '["User-Agent", "Consul Health Check"]' in said["plain"][1]


async def test_http_body_keeps_its_last_4_kb_or_less_where_the_check_says_so(
    checked: Checked, servers: AsyncExitStack
) -> None:
    place = await servers.enter_async_context(http_server())
    url = f"http://{place}/big"
    said = await checked(
        {
            "4 KB": {"HTTP": url},
            "15": {"HTTP": url, "OutputMaxSize": 15},
            "no more than 4 KB": {"HTTP": url, "OutputMaxSize": 9000},
            "bytes that are no text": {"HTTP": f"http://{place}/binary"},
        }
    )
    assert said["15"][1] == f"HTTP GET {url}: 200 OK Output: 567890123456789"
    assert len(said["4 KB"][1]) == len(f"HTTP GET {url}: 200 OK Output: ") + 4096
    assert said["4 KB"] == said["no more than 4 KB"]


async def test_http_redirects_are_followed_unless_the_check_says_no(
    checked: Checked, servers: AsyncExitStack
) -> None:
    place = await servers.enter_async_context(http_server())
    said = await checked(
        {
            "followed": {"HTTP": f"http://{place}/to/302/status/204"},
            "kept": {"HTTP": f"http://{place}/to/307/status/200", "Method": "POST", "Body": "b"},
            "nowhere": {"HTTP": f"http://{place}/to/302/status/404"},
            "not followed": {"HTTP": f"http://{place}/to/302/status/204", "DisableRedirects": True},
            "twice": {"HTTP": f"http://{place}/to/301/to/303/status/200"},
        }
    )
    assert said["followed"] == (
        "passing",
        f"HTTP GET http://{place}/to/302/status/204: 204 No Content Output: ",
    )
    assert said["not followed"][0] == "critical"


async def test_http_that_does_not_answer_is_critical(
    checked: Checked, servers: AsyncExitStack, refused: str
) -> None:
    place = await servers.enter_async_context(http_server())
    closes = await servers.enter_async_context(raw_server(b""))
    odd = await servers.enter_async_context(raw_server(b"HTTP/1.1 200 Fine by me\r\n\r\nuntil the end"))
    said = await checked(
        {
            "refused": {"HTTP": f"http://{refused}/x?y=z"},
            "refused post": {"HTTP": f"http://{refused}/", "Method": "POST"},
            "password": {"HTTP": f"http://user:secret@{refused}/"},
            "late": {"HTTP": f"http://{place}/never"},
            "late body": {"HTTP": f"http://{place}/half/never"},
            "broken off": {"HTTP": f"http://{place}/half/cut"},
            "hangs up": {"HTTP": f"http://{closes}/"},
            "odd": {"HTTP": f"http://{odd}/"},
        }
    )
    assert said["refused"] == (
        "critical",
        f'Get "http://{refused}/x?y=z": dial tcp {refused}: connect: connection refused',
    )
    assert said["late body"] == ("passing", f"HTTP GET http://{place}/half/never: 200 OK Output: begun")


async def test_http_urls_that_cannot_be_asked_are_critical(checked: Checked) -> None:
    urls = (
        *("ftp://127.0.0.1/", "localhost:80/x", "127.0.0.1:80/x", "word", "http:///x", "http://[::1/"),
        *("http://127.0.0.1:abc/", "http://127.0.0.1:99999/", "http://127.0.0.1/a\nb"),
    )
    checks = {f"url{number}": {"HTTP": url} for number, url in enumerate(urls)}
    said = await checked(checks | {"method": {"HTTP": "http://127.0.0.1/", "Method": "A B"}})
    assert {status for status, _ in said.values()} == {"critical"}


async def test_https_verifies_the_certificate_unless_the_check_says_no(
    checked: Checked, servers: AsyncExitStack, certificates: Certificates
) -> None:
    place = await servers.enter_async_context(http_server(certificates.server_context()))
    plain = await servers.enter_async_context(http_server())
    skip = {"TLSSkipVerify": True}
    said = await checked(
        {
            "verified": {"HTTP": f"https://{place}/ok"},
            "skipped": {"HTTP": f"https://{place}/ok", **skip},
            "named": {"HTTP": f"https://{place}/ok", "TLSServerName": "other.example", **skip},
            "not TLS": {"HTTP": f"https://{plain}/ok", **skip},
            "TLS": {"HTTP": f"http://{place}/ok"},
        }
    )
    assert said["skipped"] == ("passing", f"HTTP GET https://{place}/ok: 200 OK Output: ok")
    assert said["verified"][1].endswith("x509: certificate signed by unknown authority")


async def test_tcp_is_passing_when_the_address_takes_a_connection(
    checked: Checked, servers: AsyncExitStack, refused: str
) -> None:
    place = await servers.enter_async_context(raw_server(None))
    port = place.rpartition(":")[2]
    said = await checked(
        {
            "up": {"TCP": place},
            "by name": {"TCP": f"localhost:{port}"},
            "without a host": {"TCP": f":{port}"},
            "refused": {"TCP": refused},
            "refused by IPv6": {"TCP": f"[::1]:{refused.rpartition(':')[2]}"},
            "no port": {"TCP": "127.0.0.1"},
            "too many colons": {"TCP": "::1:80"},
            "high port": {"TCP": "127.0.0.1:99999"},
            "unknown port": {"TCP": "127.0.0.1:abc"},
        }
    )
    assert said["up"] == ("passing", f"TCP connect {place}: Success")
    assert said["refused"] == ("critical", f"dial tcp {refused}: connect: connection refused")


async def test_grpc_asks_the_health_of_the_server_or_of_a_service(
    checked: Checked, servers: AsyncExitStack
) -> None:
    place = await servers.enter_async_context(grpc_server())
    bare = await servers.enter_async_context(grpc_server(health=False))
    said = await checked(
        {
            "server": {"GRPC": place},
            "up": {"GRPC": f"{place}/up"},
            "down": {"GRPC": f"{place}/down"},
            "unknown": {"GRPC": f"{place}/unknown"},
            "not there": {"GRPC": f"{place}/not/there"},
            "by name": {"GRPC": f"localhost:{place.rpartition(':')[2]}/up"},
            "no health": {"GRPC": bare},
        }
    )
    assert said["up"] == ("passing", f"gRPC check {place}/up: success")
    assert said["down"] == ("critical", f"gRPC {place}/down serving status: NOT_SERVING")


async def test_grpc_that_does_not_answer_is_critical(
    checked: Checked, servers: AsyncExitStack, refused: str
) -> None:
    place = await servers.enter_async_context(http_server())
    silent = await servers.enter_async_context(raw_server(None))
    said = await checked(
        {
            "refused": {"GRPC": refused},
            "HTTP/1": {"GRPC": place},
            "silent": {"GRPC": silent},
            "no port": {"GRPC": "127.0.0.1"},
        }
    )
    assert {status for status, _ in said.values()} == {"critical"}
    assert re.search("code = DeadlineExceeded", said["silent"][1])


async def test_grpc_over_tls(checked: Checked, servers: AsyncExitStack, certificates: Certificates) -> None:
    place = await servers.enter_async_context(grpc_server((certificates.server, certificates.server_key)))
    plain = await servers.enter_async_context(grpc_server())
    tls, skip = {"GRPCUseTLS": True}, {"TLSSkipVerify": True}
    said = await checked(
        {
            "verified": {"GRPC": place, **tls},
            "skipped": {"GRPC": f"{place}/up", **tls, **skip},
            "named": {"GRPC": f"{place}/up", "TLSServerName": "other.example", **tls, **skip},
            "not TLS": {"GRPC": plain, **tls, **skip},
            "TLS": {"GRPC": place},
        }
    )
    assert said["skipped"] == ("passing", f"gRPC check {place}/up: success")
    assert said["verified"][0] == "critical"
