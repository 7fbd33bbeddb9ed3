"""The example of the page, on a real server."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.eureka import EurekaServer
from tests.test_pages import module

pytestmark = pytest.mark.server("eureka")

PAGE = Path(__file__).parents[2] / "docs" / "eureka.md"


async def test_the_example_does_what_it_says(
    server: EurekaServer, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(module(PAGE), str(PAGE), "exec"), names)
    await names["main"](f"eureka://127.0.0.1:{server.port}/eureka?interval=0.1")
    assert capsys.readouterr().out == "http://127.0.0.1:8080/hello\n"
    assert (await server.call("GET", "/apps/GREETER"))[0] == 404
