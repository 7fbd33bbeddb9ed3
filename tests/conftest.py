"""What holds for every test: real servers by name, no blocking call on the loop, nothing left running."""

import asyncio
import math
import os
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings

from tests.support.process import missing

# A busy machine is no failure of a property.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")

# A shell starts what is to run behind it with Ctrl-C ignored, and programs that tests interrupt inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose servers weren't built, or fail it where they are required."""
    wanted = {name for marker in item.iter_markers("server") for name in marker.args}
    if absent := missing(*sorted(wanted)):
        text = f"{' and '.join(absent)} missing: run make servers (chromium: install it)"
        if os.environ.get("ASYNCSD_REQUIRE_SERVERS") == "1":
            pytest.fail(text, pytrace=False)
        pytest.skip(text)


@pytest.fixture(scope="session", autouse=True)
def no_blocking_calls() -> Iterator[None]:
    """A blocking call of asyncsd's on a running loop raises; what tests themselves do is theirs."""
    with blockbuster_ctx(scanned_modules=["asyncsd"], excluded_modules=["asyncsd.testing"]) as guard:
        # As an import may: what is installed is looked through for a scheme that isn't asyncsd's own.
        for name in (
            "os.stat",
            "os.listdir",
            "os.scandir",
            "io.TextIOWrapper.read",
            "io.BufferedReader.read",
        ):
            guard.functions[name].can_block_in("importlib/metadata/__init__.py", "entry_points")
        yield


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> None:
    """Fail a test that leaves a task of asyncsd running, or an exception that nobody has seen."""
    if request.node.get_closest_marker("asyncio") is not None:
        request.getfixturevalue("_nothing_left")


@pytest.fixture
async def _nothing_left() -> AsyncIterator[None]:
    unseen: list[dict[str, Any]] = []

    def see(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # What a test's server says of a client that broke off a handshake.
        if "transport creation for incoming connection" not in context["message"]:
            unseen.append(context)

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(see)
    # With its debugging asyncio logs what takes long, which on a busy machine anything may, and tests count
    # what is logged.
    loop.slow_callback_duration = math.inf
    yield
    left = [task for task in asyncio.all_tasks() if task.get_name().startswith("asyncsd:")]
    assert not left, f"tasks left running: {left}"
    assert not unseen, f"exceptions that nobody has seen: {unseen}"
