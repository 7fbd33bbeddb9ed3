"""The processes of the demonstration: each is started, watched, and gone at the end."""

import asyncio
import random
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self

from journal import Journal

HERE = Path(__file__).parent
GREETER_PROGRAM = str(HERE.parent / "say_hello" / "service.py")
CLOCK_PROGRAM = str(HERE / "clock.py")
TETHER = str(HERE / "tether.py")

LINGER = 6.0
"""Seconds for processes to end after SIGTERM; then they are killed."""
PORTS = range(20_000, 32_000)
"""Below those that the system gives to outgoing connections, so that a port is still free after a restart."""


class Member:
    """One process, and what is wanted of it."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.wanted = "running"
        """What becomes of it: "running", "draining" or "killed"."""
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs."""
        return self._process.returncode

    def kill(self) -> None:
        """End it as a power cut would."""
        self._signal(signal.SIGKILL, "killed")

    def terminate(self) -> None:
        """Ask it to end: it drains, deregisters, and finishes what is in flight."""
        self._signal(signal.SIGTERM, "draining")

    def _signal(self, number: signal.Signals, wanted: str) -> None:
        self.wanted = wanted
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def wait(self) -> None:
        """Return once it has ended."""
        await self._process.wait()

    async def watch(self, journal: Journal) -> None:
        """Read what it complains of until it has ended; tell when nobody asked it to."""
        assert self._process.stderr is not None
        last = b""
        async for line in self._process.stderr:
            last = line
        status = await self._process.wait()
        if self.wanted == "running":
            why = last.decode(errors="replace").strip()
            journal.trouble(f"{self.name} (pid {self.pid}) ended with {status}, unasked: {why}")


class Fleet:
    """`async with Fleet(journal) as fleet:` no process that it starts outlives the block.

    They are in sessions of their own, so a Ctrl-C in the terminal is this program's alone, and hang on it by
    their standard input (see tether.py), so they end with it even when it is killed.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._members: dict[int, Member] = {}
        self._watches: set[asyncio.Task[None]] = set()
        self.killed = 0
        """How many didn't end when they were asked to."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        running = [member for member in self._members.values() if member.status is None]
        for member in running:
            member.terminate()
        if self._watches:
            _, late = await asyncio.wait(self._watches, timeout=LINGER)
            for member in running if late else ():
                if member.status is None:
                    self.killed += 1
                    member.kill()
            await asyncio.gather(*late)

    async def start(self, name: str, *command: str) -> Member:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, TETHER, *command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        member = self._members[process.pid] = Member(name, process)
        watch = asyncio.create_task(member.watch(self._journal))
        self._watches.add(watch)
        return member

    def find(self, pid: str | None) -> Member | None:
        """The process of an instance, by the pid in its meta."""
        return self._members.get(int(pid)) if pid else None

    def running(self) -> list[Member]:
        return [member for member in self._members.values() if member.status is None]

    def __len__(self) -> int:
        """How many were started in all."""
        return len(self._members)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
