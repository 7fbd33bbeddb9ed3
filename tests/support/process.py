"""Real servers as processes: found in the cache, started in a folder of their own, and gone with the test."""

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Self

__all__ = ["Process", "find", "free_ports", "http_ready", "missing", "servers_folder", "tcp_ready"]

WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
PARTS = 8
"""Of so many ports one is this process's: others that run tests at the same time choose among others."""

# Runs the server in the place of this little program, which first asks the kernel to kill it when the one
# that started it dies. (A preexec_fn would fork a process with threads, of which Python 3.12 warns.)
GUARD = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the test ended before its server began")
os.execv(sys.argv[2], sys.argv[2:])
"""


def servers_folder() -> Path:
    """Where `make servers` puts what it builds."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "asyncsd" / "servers"


INSTALLED = {"chromium"}
"""Programs that aren't built here, but come with the system."""


def find(name: str) -> Path | None:
    """The server's file, None where it wasn't built; or that of an installed program."""
    if name in INSTALLED:
        found = shutil.which(name)
        return Path(found) if found else None
    path = servers_folder() / name
    return path if path.exists() else None


@cache
def _in_memory() -> str | None:
    """Where files are in memory; None where that is small.

    etcd and ZooKeeper answer a write once it is on the disk, and give one up for which that takes seconds:
    which disks do that others write to as well.
    """
    folder = "/dev/shm"
    try:
        return folder if shutil.disk_usage(folder).free > 4 << 30 else None
    except OSError:
        return None


def missing(*names: str) -> list[str]:
    """Those of the servers that weren't built."""
    return [name for name in names if find(name) is None]


_given: set[int] = set()
_chance = random.Random(os.getpid())


@cache
def _own_ports() -> range:
    """Below those that Linux gives to outgoing connections, so that none of these takes one meanwhile."""
    for number in range(PARTS):
        part = (WORKER + number) % PARTS
        claim = socket.socket(socket.AF_UNIX)
        try:
            # No file: it is gone with this process. Another run may have workers of the same numbers.
            claim.bind(f"\0asyncsd-tests-{part}")
        except OSError:
            claim.close()
        else:
            claim.detach()
            break
    else:
        part = WORKER % PARTS
    return range(15_000 + part, 32_000, PARTS)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that are free for TCP and UDP, and that this process didn't give before."""
    ports: list[int] = []
    while len(ports) < count:
        port = _chance.choice(_own_ports())
        if port not in _given and _is_free(port):
            _given.add(port)
            ports.append(port)
    return ports


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def tcp_ready(port: int) -> Callable[[], bool]:
    """Ready when the port of 127.0.0.1 takes a connection."""

    def ready() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            return False
        return True

    return ready


def http_ready(
    port: int, path: str, accept: Callable[[bytes], bool] = bool, **headers: str
) -> Callable[[], bool]:
    """Ready when GET `path` is answered by 200 with a body that `accept` takes.

    `X_Consul_Token="me"` sends the header X-Consul-Token.
    """
    lines = {"Host": f"127.0.0.1:{port}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    asked = f"GET {path} HTTP/1.0\r\n{head}\r\n".encode()

    def ready() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2.0) as connection:
                connection.sendall(asked)
                with connection.makefile("rb") as answer:
                    first, _, body = answer.read().partition(b"\r\n\r\n")
        except OSError:
            return False
        return b" 200 " in first.partition(b"\r\n")[0] and accept(body)

    return ready


class Process:
    """A server that runs from `start()` to `stop()`, with a folder and a log of its own.

    `with Process(...) as server:` starts it and waits until it is ready. In a coroutine, call `start()` and
    `await server.ready()`, so that the loop runs on. `start()` after `kill()` starts it again in the same
    folder. Whatever becomes of the test, the server doesn't outlive the process that runs it.
    """

    def __init__(
        self,
        name: str,
        *arguments: str,
        ready: Callable[[], bool],
        deadline: float = 30.0,
        environment: dict[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        """`name` is a built server's, or a program's; `{folder}` in an argument stands for its folder."""
        path = find(name) or shutil.which(name)
        if path is None:
            raise FileNotFoundError(f"{name} is missing: run make servers")
        self.name = Path(name).name
        self.folder = folder or Path(tempfile.mkdtemp(prefix=f"asyncsd-{self.name}-", dir=_in_memory()))
        self._own_folder = folder is None
        self._command = [
            str(path),
            *(argument.replace("{folder}", str(self.folder)) for argument in arguments),
        ]
        self._environment = environment
        self._is_ready = ready
        self._deadline = deadline
        self._process: subprocess.Popen[bytes] | None = None
        self._log = self.folder / f"{self.name}.log"

    def __repr__(self) -> str:
        return f"Process({self.name}, {'running' if self.running else 'stopped'}, pid={self.pid})"

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """All that the server wrote."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self) -> None:
        """Start it, and don't wait. Call it from the main thread: the server dies with the thread."""
        assert not self.running, f"{self.name} runs already"
        guard = [sys.executable, "-ISc", GUARD, str(os.getpid())]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*guard, *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**os.environ, **(self._environment or {})},
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Wait until it is ready; AssertionError with the end of its log when it isn't in time."""
        end = time.monotonic() + self._deadline
        while not self._is_ready():
            if not self.running:
                raise AssertionError(f"{self.name} ended before it was ready:\n{self._tail()}")
            if time.monotonic() > end:
                raise AssertionError(f"{self.name} isn't ready after {self._deadline} s:\n{self._tail()}")
            time.sleep(0.02)

    async def ready(self) -> None:
        """`wait_ready` beside the loop."""
        await asyncio.to_thread(self.wait_ready)

    def pause(self) -> None:
        """Stop it without closing anything: its connections stay open, and nothing answers."""
        self._signal(signal.SIGSTOP)
        if self.running and self._process is not None:
            # Until the last of its threads has stopped, it may answer still.
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def reload(self) -> None:
        """Have it read again what it reads on SIGHUP."""
        self._signal(signal.SIGHUP)

    def kill(self) -> None:
        """End it as a power cut would, and wait until it is gone."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def terminate(self, timeout: float = 10.0) -> None:
        """Ask it to end, and wait until it has; after `timeout` seconds it is killed."""
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def stop(self) -> None:
        """Kill it and remove its folder."""
        self.kill()
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        if self.running and self._process is not None:
            self._process.send_signal(number)

    def _tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.splitlines()[-lines:]) or "(it wrote nothing)"
