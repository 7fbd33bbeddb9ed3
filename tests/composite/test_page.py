"""The example of the page."""

from pathlib import Path
from typing import Any

import pytest

from tests.test_pages import module

PAGE = Path(__file__).parents[2] / "docs" / "composite.md"


async def test_the_example_does_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(module(PAGE), str(PAGE), "exec"), names)
    await names["main"]()
    assert capsys.readouterr().out == "http://127.0.0.1:8080/hello west\n"
