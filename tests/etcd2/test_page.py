"""The example of the page, on a real server."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.etcd import EtcdServer
from tests.test_pages import module

pytestmark = pytest.mark.server("etcd34")

PAGE = Path(__file__).parents[2] / "docs" / "etcd2.md"


async def test_the_example_does_what_it_says(server: EtcdServer, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(module(PAGE), str(PAGE), "exec"), names)
    await names["main"](f"etcd2://127.0.0.1:{server.port}")
    assert capsys.readouterr().out == "http://127.0.0.1:8080/hello\n"
    assert await server.keys_v2("/services") == {}
