"""The page on static lists: its program, and its files."""

import re
from pathlib import Path
from typing import Any

import pytest

from asyncsd.backends.static._file import ListFile
from tests.test_pages import BLOCK, module

PAGE = Path(__file__).parents[3] / "docs" / "static.md"


async def test_the_example_does_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(module(PAGE), str(PAGE), "exec"), names)
    await names["main"](tmp_path / "services.toml")
    first, second = capsys.readouterr().out.splitlines()
    assert "10.0.0.1" in first
    assert second == "10.0.0.2:80"


@pytest.mark.parametrize("kind", ["toml", "yaml"])
def test_the_files_are_good(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"services.{kind}"
    (body,) = [body for _, language, body in BLOCK.findall(PAGE.read_text()) if language == kind]
    file.write_text(body)
    found = ListFile(file).read()
    assert found is not None
    assert not isinstance(found[1], Exception)
    assert {name: len(instances) for name, instances in found[1].items()} == {
        "users": 2,
        "reports": 0,
        "orders": 1,
    }
    assert found[1]["orders"][0].url() == "https://10.0.0.3:8443/"
    file.write_text(re.sub("weight = |scheme: ", "wieght = " if kind == "toml" else "wieght: ", body))
    found = ListFile(file).read()
    assert found is not None
    assert "has no 'wieght': did you mean 'weight'? it has address," in str(found[1])
