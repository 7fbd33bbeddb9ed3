"""The example of the page, on a real server."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.dnsmasq import Dnsmasq
from tests.test_pages import module

pytestmark = pytest.mark.server("dnsmasq")

PAGE = Path(__file__).parents[2] / "docs" / "dns.md"


async def test_the_example_does_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    records = ("srv-host=_http._tcp.greeter.example,g1.example,8080", "host-record=g1.example,127.0.0.1")
    assert all(f"--{record}" in PAGE.read_text() for record in records)
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(module(PAGE), str(PAGE), "exec"), names)
    async with Dnsmasq("local=/example/", *records) as server:
        await names["main"](f"dns://{server.address}/_http._tcp.{{service}}.example")
    assert capsys.readouterr().out == "http://127.0.0.1:8080/hello\n"
