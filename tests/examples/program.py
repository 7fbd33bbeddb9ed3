"""Examples as processes of their own, and what stands between them and the agent."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.consul import ConsulAgent
from tests.support.process import GUARD

__all__ = [
    "EXAMPLES",
    "HeldQuery",
    "Program",
    "eventually",
    "get",
    "gone",
    "in_flight",
    "passing",
    "registered",
]

EXAMPLES = Path(__file__).parents[2] / "examples"

COMPLAINTS = ("Traceback", "Exception ignored", "Unclosed", "never retrieved", "never awaited", "Warning")
"""What a program writes that ended otherwise than it should have."""


class Program:
    """`async with Program("script.py", "--calls", "3") as it:` runs an example; it is gone with the block."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._arguments = arguments
        self._environment = environment

    def _start(self) -> None:
        name, *rest = self._arguments
        command = [name, *rest] if name == "-m" else [str(EXAMPLES / name), *rest]
        self._folder = tempfile.TemporaryDirectory(prefix="asyncsd-example-")
        folder = Path(self._folder.name)
        self._output, self._errors = folder / "output", folder / "errors"
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-ISc", GUARD, str(os.getpid()), sys.executable, "-X", "dev", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                cwd=folder,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self._environment},
                start_new_session=True,
            )

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # Its workers too.
        self._process.wait()
        self._folder.cleanup()

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def status(self, within: float = 60.0) -> int:
        """The exit status, once it has ended by itself."""
        await eventually(lambda: not self.running, f"the end of {self._arguments}", within=within)
        return self._process.returncode

    async def ends_well(self, within: float = 60.0, status: int = 0) -> str:
        """What it printed, once it has ended as it should, without a complaint."""
        ended = await self.status(within)
        assert ended == status, self.errors
        assert not any(complaint in self.errors for complaint in COMPLAINTS), self.errors
        return self.output


async def eventually(holds: Callable[[], object], what: str, *, within: float = 60.0) -> None:
    """Ask again and again until it `holds`; AssertionError with `what` past the deadline."""
    try:
        async with asyncio.timeout(within):
            while True:
                answer = holds()
                if await answer if isinstance(answer, Awaitable) else answer:
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {within} s: {what}") from None


async def registered(agent: ConsulAgent, service: str, only: str = "") -> dict[str, int]:
    """The ports of a service's instances by their ids, of whatever status."""
    entries = await agent.get(f"/v1/health/service/{service}{only}")
    return {entry["Service"]["ID"]: entry["Service"]["Port"] for entry in entries}


async def passing(agent: ConsulAgent, service: str, count: int) -> dict[str, int]:
    """The ports of a service's passing instances by their ids, once there are `count`."""
    found: dict[str, int] = {}

    async def look() -> bool:
        nonlocal found
        found = await registered(agent, service, "?passing=1")
        return len(found) == count

    await eventually(look, f"{count} passing instances of {service}")
    return found


async def gone(agent: ConsulAgent, service: str) -> None:
    """Wait until the service has no instance."""

    async def look() -> bool:
        return not await registered(agent, service)

    await eventually(look, f"the end of {service}")


async def get(url: str, **params: str) -> tuple[int, Any]:
    """The status of a GET, and its JSON or its text."""
    timeout = aiohttp.ClientTimeout(total=20.0)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url, params=params) as response:
        if response.content_type == "application/json":
            return response.status, await response.json()
        return response.status, await response.text()


@asynccontextmanager
async def in_flight(url: str, **params: str) -> AsyncGenerator["asyncio.Task[tuple[int, Any]]", None]:
    """A GET under way as a task, which is gone with the block."""
    task = asyncio.create_task(get(url, **params))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


class HeldQuery:
    """The agent, by way of a proxy that keeps what is asked about one service until it is let go.

    A request that asks the registry is thus in flight for as long as a test likes.
    """

    def __init__(self, service: str) -> None:
        self._path = f"/v1/health/service/{service}"
        self.url = ""
        self.asked = asyncio.Event()
        self.let_go = asyncio.Event()

    @asynccontextmanager
    async def before(self, agent: ConsulAgent) -> AsyncGenerator[Self, None]:
        async def forward(request: web.Request) -> web.Response:
            if request.path == self._path:
                self.asked.set()
                await self.let_go.wait()
            url = f"{agent.url}{request.path_qs}"
            async with session.request(request.method, url, data=await request.read()) as response:
                headers = {name: value for name, value in response.headers.items() if name[:2] == "X-"}
                return web.Response(status=response.status, body=await response.read(), headers=headers)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", forward)
        async with aiohttp.ClientSession() as session, TestServer(app, host="127.0.0.1") as server:
            self.url = str(server.make_url(""))
            try:
                yield self
            finally:
                self.let_go.set()
