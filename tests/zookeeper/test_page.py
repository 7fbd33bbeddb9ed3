"""The example on the page runs."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.zookeeper import ZooKeeper

PAGE = Path(__file__).parent.parent.parent / "docs/zookeeper.md"


@pytest.mark.server("zookeeper")
async def test_the_pages_example_registers_and_finds_itself(server: ZooKeeper) -> None:
    example = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert example is not None
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(example[1], str(PAGE), "exec"), names)
    assert await names["main"](server.host) == "10.0.0.7:8080"
