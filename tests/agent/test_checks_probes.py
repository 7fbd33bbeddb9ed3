"""What checks say of real servers: the same on our agent and on a real Consul."""

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
            body = {"Name": name, "Interval": "1s", **check}
            await self.both.put("/v1/agent/check/register", body)

        def all_ran(answer: Answer) -> bool:
            return all(check["Output"] for check in answer.json.values())

        answer = await self.both.until("/v1/agent/checks", all_ran)
        return {name: (check["Status"], check["Output"]) for name, check in answer.json.items()}


@pytest.fixture
def checked(both: Both) -> Checked:
    return Checked(both)


async def test_http_answers_decide_the_status_and_their_ends_are_kept(
    checked: Checked, servers: AsyncExitStack
) -> None:
    place = await servers.enter_async_context(http_server())
    url = f"http://{place}"
    codes = (200, 201, 204, 299, 304, 400, 401, 404, 429, 500, 503)
    said = await checked(
        {
            **{f"s{code}": {"HTTP": f"{url}/status/{code}"} for code in codes},
            "big": {"HTTP": f"{url}/big"},
            "big15": {"HTTP": f"{url}/big", "OutputMaxSize": 15},
            "big9000": {"HTTP": f"{url}/big", "OutputMaxSize": 9000},
            "no text": {"HTTP": f"{url}/binary"},
            "followed": {"HTTP": f"{url}/to/302/status/204"},
            "followed post": {"HTTP": f"{url}/to/307/status/200", "Method": "POST", "Body": "b"},
            "followed to nothing": {"HTTP": f"{url}/to/302/status/404"},
            "followed twice": {"HTTP": f"{url}/to/301/to/303/status/200"},
            "followed on and on": {"HTTP": f"{url}/to/302/loop/302"},
            "not followed": {"HTTP": f"{url}/to/302/status/204", "DisableRedirects": True},
        }
    )
    for code in codes:
        expected = "passing" if 200 <= code <= 299 else "warning" if code == 429 else "critical"
        assert said[f"s{code}"][0] == expected
    assert said["s503"][1] == f"HTTP GET {url}/status/503: 503 Service Unavailable Output: said"
    assert said["big15"][1] == f"HTTP GET {url}/big: 200 OK Output: 567890123456789"
    assert len(said["big"][1]) == len(f"HTTP GET {url}/big: 200 OK Output: ") + 4096
    assert said["big"] == said["big9000"]
    assert said["followed"] == ("passing", f"HTTP GET {url}/to/302/status/204: 204 No Content Output: ")
    assert said["not followed"][0] == "critical"
    assert said["followed on and on"] == ("critical", 'Get "/loop/302": stopped after 10 redirects')


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


async def test_what_cannot_be_asked_or_does_not_answer_is_critical(
    checked: Checked, servers: AsyncExitStack, refused: str
) -> None:
    place = await servers.enter_async_context(http_server())
    closes = await servers.enter_async_context(raw_server(b""))
    odd = await servers.enter_async_context(raw_server(b"HTTP/1.1 200 Fine by me\r\n\r\nuntil the end"))
    silent = await servers.enter_async_context(raw_server(None))
    urls = (
        *("ftp://127.0.0.1/", "localhost:80/x", "127.0.0.1:80/x", "word", "http:///x", "http://[::1/"),
        *("http://127.0.0.1:abc/", "http://127.0.0.1:99999/", "http://127.0.0.1/a\nb"),
    )
    said = await checked(
        {
            **{f"url{number}": {"HTTP": url} for number, url in enumerate(urls)},
            "method": {"HTTP": "http://127.0.0.1/", "Method": "A B"},
            "refused": {"HTTP": f"http://{refused}/x?y=z"},
            "refused post": {"HTTP": f"http://{refused}/", "Method": "POST"},
            "password": {"HTTP": f"http://user:secret@{refused}/"},
            "late": {"HTTP": f"http://{place}/never", "Timeout": "2s"},
            "hangs up": {"HTTP": f"http://{closes}/"},
            "grpc refused": {"GRPC": refused},
            "grpc to HTTP": {"GRPC": place},
            "grpc late": {"GRPC": silent, "Timeout": "2s"},
            "grpc without port": {"GRPC": "127.0.0.1"},
            # These had their answer when it went wrong.
            "passes: late body": {"HTTP": f"http://{place}/half/never", "Timeout": "2s"},
            "passes: broken off": {"HTTP": f"http://{place}/half/cut"},
            "passes: odd": {"HTTP": f"http://{odd}/"},
        }
    )
    assert said["refused"] == (
        "critical",
        f'Get "http://{refused}/x?y=z": dial tcp {refused}: connect: connection refused',
    )
    assert "code = DeadlineExceeded" in said["grpc late"][1]
    for name, (status, _) in said.items():
        assert status == ("passing" if name.startswith("passes") else "critical")


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


async def test_tls_verifies_the_certificate_unless_the_check_says_no(
    checked: Checked, servers: AsyncExitStack, certificates: Certificates
) -> None:
    place = await servers.enter_async_context(http_server(certificates.server_context()))
    plain = await servers.enter_async_context(http_server())
    grpc = await servers.enter_async_context(grpc_server((certificates.server, certificates.server_key)))
    plain_grpc = await servers.enter_async_context(grpc_server())
    tls, skip, named = {"GRPCUseTLS": True}, {"TLSSkipVerify": True}, {"TLSServerName": "other.example"}
    said = await checked(
        {
            "verified": {"HTTP": f"https://{place}/ok"},
            "skipped": {"HTTP": f"https://{place}/ok", **skip},
            "named": {"HTTP": f"https://{place}/ok", **named, **skip},
            "not TLS": {"HTTP": f"https://{plain}/ok", **skip},
            "TLS": {"HTTP": f"http://{place}/ok"},
            "grpc verified": {"GRPC": grpc, **tls},
            "grpc skipped": {"GRPC": f"{grpc}/up", **tls, **skip},
            "grpc named": {"GRPC": f"{grpc}/up", **named, **tls, **skip},
            "grpc not TLS": {"GRPC": plain_grpc, **tls, **skip},
            "grpc TLS": {"GRPC": grpc},
        }
    )
    assert said["skipped"] == ("passing", f"HTTP GET https://{place}/ok: 200 OK Output: ok")
    assert said["verified"][1].endswith("x509: certificate signed by unknown authority")
    assert said["grpc skipped"] == ("passing", f"gRPC check {grpc}/up: success")
    assert said["grpc verified"][0] == "critical"
