"""Those that watch a Consul, each as a process of its own: asyncsd, a bare loop, go-kit and consul.aio.

async with Peer("go-kit", agent.url) as peer:
    await peer.watch("users")
    told = await peer.until(lambda told: told.instances == 5)
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from _servers import find

__all__ = ["PEERS", "Peer", "Told", "there"]

HERE = Path(__file__).parent
PY_CONSUL = HERE.parent / ".venv-py-consul/bin/python"
"""Its import name is python-consul2's, so it needs an environment of its own."""


# As installed: a module that is compiled at the start leaves megabytes free, and what is then used of these
# would cost nothing.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class Told(NamedTuple):
    """A list that a peer holds."""

    at: int
    """When, in nanoseconds since 1970."""
    service: str
    instances: int
    ports: int
    """The sum of their ports: it tells one list from another."""


def _python(*arguments: str) -> Callable[[str], list[str]]:
    who, *options = arguments
    return lambda url: [sys.executable, str(HERE / "_watching.py"), who, url, *options]


PEERS: dict[str, Callable[[str], list[str]]] = {
    "bare loop": _python("bare"),
    "bare loop, uvloop": _python("bare", "--uvloop"),
    "asyncsd, aio": _python("aio"),
    "asyncsd, aio, uvloop": _python("aio", "--uvloop"),
    "asyncsd, direct": _python("direct"),
    "asyncsd, direct, uvloop": _python("direct", "--uvloop"),
    "go-kit": lambda url: [str(find("gokit-watch")), "-consul", url.removeprefix("http://")],
    "python-consul2": _python("library"),
    "py-consul": lambda url: [str(PY_CONSUL), str(HERE / "_watching.py"), "library", url],
}
"""Command lines by name, each for an agent's URL."""


def there(*names: str) -> list[str]:
    """Those of the peers that can run here; what is missing is said on stderr."""
    lacking: dict[str, str] = {}
    if find("gokit-watch") is None:
        lacking["go-kit"] = "make servers"
    if not PY_CONSUL.exists():
        lacking["py-consul"] = "make .venv-py-consul/.installed"
    if find_spec("uvloop") is None:
        lacking |= {name: "pip install uvloop" for name in names if "uvloop" in name}
    for name in names:
        if name in lacking:
            print(f"left out: {name} isn't there ({lacking[name]})", file=sys.stderr)
    return [name for name in names if name not in lacking]


class Peer:
    """One of PEERS that runs from `__aenter__` to `__aexit__`, when it is killed.

    `options` go to the end of its command line.
    """

    def __init__(self, name: str, url: str, *options: str) -> None:
        self.name = name
        self._command = [*PEERS[name](url), *options]
        self._process: asyncio.subprocess.Process

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=ENVIRONMENT
        )
        try:
            await self._line("ready")
        except BaseException:
            self._process.kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def _line(self, first: str) -> list[str]:
        """The next line that begins with `first`; others are left out."""
        async for words in self._lines():
            if words[0] == first:
                return words
        raise AssertionError(f"{self.name} has ended by itself")

    async def _lines(self) -> AsyncIterator[list[str]]:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            yield line.decode().split()

    def _say(self, *words: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{' '.join(map(str, words))}\n".encode())

    def watch(self, service: str, count: int | None = None) -> None:
        """Watch `service`, or `service`-0 and so on, as many as `count`."""
        self._say("watch", service, *([] if count is None else [count]))

    def register(self, service: str, port: int) -> None:
        """Have it keep a registration with a TTL check; only asyncsd does."""
        self._say("register", service, port)

    async def told(self) -> AsyncIterator[Told]:
        """What it tells, as it comes."""
        async for at, service, instances, ports in self._lines():
            yield Told(int(at), service, int(instances), int(ports))

    async def until(self, accept: Callable[[Told], object], within: float = 30.0) -> Told:
        """The next list that is as wanted; TimeoutError after `within` seconds."""
        async with asyncio.timeout(within):
            async for told in self.told():
                if accept(told):
                    return told
        raise AssertionError(f"{self.name} has ended by itself")

    async def close(self, within: float = 30.0) -> float:
        """Have it close all that it has; how many seconds that took."""
        self._say("close")
        async with asyncio.timeout(within):
            return int((await self._line("closed"))[1]) / 1e9

    # -- what it costs

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu(self) -> float:
        """Seconds of CPU that it has used, of all its threads that live."""
        spent = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            spent += int((task / "schedstat").read_text().split()[0])
        return spent / 1e9

    def memory(self) -> float:
        """MB that it holds and shares with nobody."""
        return self._status("smaps_rollup", "Private_Dirty:") + self._status("smaps_rollup", "Private_Clean:")

    def peak(self) -> float:
        """MB of resident memory, at most so far."""
        return self._status("status", "VmHWM:")

    def _status(self, file: str, field: str) -> float:
        for line in Path(f"/proc/{self.pid}/{file}").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) / 1024
        raise LookupError(field)

    def connections(self) -> int:
        """How many sockets it has."""
        found = 0
        for fd in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                found += str(fd.readlink()).startswith("socket:")
            except FileNotFoundError:
                continue
        return found
