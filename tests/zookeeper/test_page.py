"""The page runs: its example registers and finds itself, and everything else on it can be made."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.zookeeper import ZooKeeper
from tests.test_pages import module

PAGE = Path(__file__).parents[2] / "docs" / "zookeeper.md"


@pytest.mark.server("zookeeper")
async def test_the_pages_example_registers_and_finds_itself(server: ZooKeeper) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(module(PAGE), str(PAGE), "exec"), names)
    assert await names["main"](f"zk://{server.host}") == "10.0.0.7:8080"
