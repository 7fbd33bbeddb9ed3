"""The demonstration, played: it proves what it says, says so when it can't, and leaves nothing."""

import asyncio
import os
import pty
import re
import signal
import struct
import sys
import termios
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing, suppress
from fcntl import ioctl
from pathlib import Path

import pyte
import pytest

from tests.support.consul import ConsulAgent
from tests.support.process import free_ports

from .program import EXAMPLES, Program, eventually

DEMO = "demo"
QUICKLY = ("--look", "0.6")
PHASES = ["three instances", "one is killed", "scaling out", "scaling in", "by name", "the registry dies"]


class Run:
    """A demonstration as a process, and all the processes that came of it."""

    def __init__(self, program: Program, mark: str) -> None:
        self.program = program
        self._mark = mark.encode()

    def services(self) -> list[int]:
        """The pids of the services that run."""
        return [pid for pid, command in self.processes().items() if "service.py" in command]

    def processes(self) -> dict[int, str]:
        """The commands of all processes that run, its own too, by their pids."""
        found: dict[int, str] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # It ended meanwhile.
                inherited = self._mark in (folder / "environ").read_bytes()
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if inherited and command:
                    found[int(folder.name)] = command
        return found


@asynccontextmanager
async def demonstration(*arguments: str) -> AsyncGenerator[Run, None]:
    mark = uuid.uuid4().hex
    async with Program(DEMO, *arguments, DEMO_TEST=mark) as program:
        run = Run(program, mark)
        try:
            yield run
        finally:
            for pid in run.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def figures(output: str) -> dict[str, str]:
    """The mark of each phase in the summary: "ok", "FAILED" or "-"."""
    found = re.findall(r"^ *(ok|FAILED|-)  (\w[\w ]*?\w)  +\S", output, re.MULTILINE)
    return {title: mark for mark, title in found}


async def test_on_the_embedded_agent_each_phase_holds_and_no_call_fails() -> None:
    async with demonstration(*QUICKLY) as run:
        output = await run.program.ends_well(within=90.0)
        assert figures(output) == dict.fromkeys(PHASES, "ok"), output
        assert re.search(r"^[\d,]+ calls in \d+ s: 0 failed, \d+ retried; p50 ", output, re.MULTILINE), output
        assert "10 processes were started and have ended; 0 had to be killed" in output
        assert not run.processes()


@pytest.mark.server("consul")
async def test_on_a_consul_it_plays_the_same_and_leaves_no_registration(agent: ConsulAgent) -> None:
    async with demonstration(*QUICKLY, "--registry", agent.url.replace("http", "consul")) as run:
        output = await run.program.ends_well(within=90.0)
        assert figures(output) == {**dict.fromkeys(PHASES, "ok"), "the registry dies": "-"}, output
        assert " 0 failed, " in output
        assert not run.processes()
        assert await agent.get("/v1/agent/services") == {}


async def test_a_call_that_fails_is_told_by_the_summary_and_the_status() -> None:
    async with demonstration(*QUICKLY) as run:
        await eventually(lambda: run.program.output.count("and passing") == 3, "three services")
        await eventually(lambda: " calls, 0 failed" in run.program.output, "some calls")
        for pid in run.services():
            os.kill(pid, signal.SIGKILL)
        output = await run.program.ends_well(within=90.0, status=1)
        assert "FAILED" in figures(output).values(), output
        assert not re.search(r" 0 failed, \d+ retried; p50 [^\n]*\n\d+ processes", output), output
        assert not run.processes()


async def test_ctrl_c_ends_it_and_all_that_it_started() -> None:
    async with demonstration() as run:
        await eventually(lambda: len(run.services()) == 3, "three services")
        run.program.signal(signal.SIGINT)
        output = await run.program.ends_well(status=130)
        assert "stopped" in output.splitlines()[-1]
        assert not run.processes()


async def test_ctrl_c_while_it_starts_is_no_traceback(tmp_path: Path) -> None:
    interrupt = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    (tmp_path / "aiohttp.py").write_text(interrupt)  # What it imports first, of all that takes its time.
    async with Program(DEMO, PYTHONPATH=str(tmp_path)) as program:
        assert await program.ends_well(status=130) == "stopped, and all that it started with it\n"
        assert program.errors == ""


@pytest.mark.server("consul")
async def test_killed_itself_it_leaves_neither_a_process_nor_a_registration(agent: ConsulAgent) -> None:
    async with demonstration("--registry", agent.url) as run:
        await eventually(lambda: run.program.output.count("is registered") == 3, "three services")
        run.program.signal(signal.SIGKILL)
        await eventually(lambda: not run.processes(), "the end of all processes", within=30.0)
        assert await agent.get("/v1/agent/services") == {}


async def test_a_registry_that_is_not_there_is_told_in_one_line() -> None:
    (port,) = free_ports(1)
    async with demonstration("--registry", f"consul://127.0.0.1:{port}") as run:
        await run.program.ends_well(status=1)
        assert run.program.errors.startswith("demo: the registry can't be used: can't connect")
        assert len(run.program.errors.splitlines()) == 1


@pytest.mark.server("consul")
async def test_services_of_these_names_that_are_there_already_are_left_alone(agent: ConsulAgent) -> None:
    await agent.put("/v1/agent/service/register", {"Name": "say-hello", "Port": 80})
    try:
        async with demonstration("--registry", agent.url) as run:
            await run.program.ends_well(status=1)
            assert "the registry has say-hello already" in run.program.errors
            assert list(await agent.get("/v1/agent/services")) == ["say-hello"]
    finally:
        await agent.put("/v1/agent/service/deregister/say-hello")


# -- in a terminal


class Terminal:
    """A terminal of so many columns and lines that a program runs in."""

    def __init__(self, columns: int, lines: int) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._heard = asyncio.Event()
        self._ours, self._its = pty.openpty()
        ioctl(self._its, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))

    async def start(self, *command: str) -> asyncio.subprocess.Process:
        """Run a program that takes this for its terminal."""
        environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=self._its,
            stdout=self._its,
            stderr=self._its,
            env={**environment, "TERM": "xterm-256color"},
            process_group=0,
        )
        os.close(self._its)
        asyncio.get_running_loop().add_reader(self._ours, self._read)
        return process

    def _read(self) -> None:
        try:
            self._stream.feed(os.read(self._ours, 65536))
            self._heard.set()
        except OSError:  # All that held the other side have ended.
            asyncio.get_running_loop().remove_reader(self._ours)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._ours)
        os.close(self._ours)

    async def shows(self, holds: Callable[[list[str]], object], what: str) -> list[str]:
        """The lines of the screen, once it `holds` for them and nothing is being written."""
        try:
            async with asyncio.timeout(60.0):
                while True:
                    await self._heard.wait()
                    self._heard.clear()
                    await asyncio.sleep(0.05)
                    lines = [line.rstrip() for line in self.screen.display]
                    if not self._heard.is_set() and holds(lines):
                        return lines
        except TimeoutError:
            raise AssertionError(f"{what} isn't shown: {self.screen.display}") from None


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (120, 40)])
async def test_in_a_terminal_a_table_is_drawn_in_its_place_and_cleared_at_the_end(
    columns: int, lines: int
) -> None:
    with closing(Terminal(columns, lines)) as terminal:
        process = await terminal.start(sys.executable, str(EXAMPLES / DEMO), *QUICKLY)
        try:
            shown = await terminal.shows(lambda lines: "killed" in lines[4], "the row of the dead")
            assert re.match(r"2/6 one is killed: .* \d+\.\d s$", shown[0])
            assert re.match(r"registry http://127.0.0.1:\d+$", shown[1])
            assert shown[3].split() == ["instance", "pid", "state", "calls", "share", "p50", "p99"]
            assert all(re.match(r"say-hello:\d+ +\d+ +\w", line) for line in shown[4:7])
            assert re.match(
                r"\d+ calls, 100 a second: 0 failed, \d+ retried; p50 \S+ ms, p99 \S+ ms$", shown[8]
            )
            assert all(re.match(r" {0,2}\d+\.\d s  \S", line) for line in shown[10:] if line)
            assert not any("\x1b" in line or "\ufffd" in line for line in shown)
        finally:
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
        shown = await terminal.shows(lambda lines: lines[0].startswith("stopped"), "the end")
        assert not any(shown[1:])
        assert not terminal.screen.cursor.hidden
