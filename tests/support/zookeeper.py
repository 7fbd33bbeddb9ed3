"""ZooKeepers on loopback, each with ports and data of its own."""

import asyncio
import shutil
import socket
import time
from pathlib import Path
from typing import Self

from tests.support.fake_agent import Certificates
from tests.support.process import Process, free_ports

__all__ = ["ZooKeeper", "ZooKeeperEnsemble", "tls_lines"]

CONFIG = """\
tickTime=500
initLimit=10
syncLimit=5
dataDir={data}
clientPort={port}
clientPortAddress=127.0.0.1
admin.enableServer=false
4lw.commands.whitelist=*
maxClientCnxns=0
maxSessionTimeout=30000
"""


def command(port: int, word: str, timeout: float = 2.0) -> str:
    """The answer to one of ZooKeeper's four-letter commands; empty where there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
            connection.sendall(word.encode())
            with connection.makefile("rb") as answer:
                return answer.read().decode(errors="replace")
    except OSError:
        return ""


class ZooKeeper:
    """`async with ZooKeeper() as server:` serves at `server.host`.

    `start()` after `kill()` brings it back there, with its data.
    """

    def __init__(
        self, *lines: str, port: int | None = None, number: int | None = None, deadline: float = 30.0
    ) -> None:
        self.port = port or free_ports(1)[0]
        self.host = f"127.0.0.1:{self.port}"
        self._process = Process("zookeeper", "{folder}", ready=self._serves, deadline=deadline)
        self.folder: Path = self._process.folder
        self._number = number
        self._write_data_folder()
        config = CONFIG.format(data=self.folder / "data", port=self.port)
        (self.folder / "zoo.cfg").write_text(config + "".join(f"{line}\n" for line in lines))

    def _serves(self) -> bool:
        # A server that begins takes connections before it reads from them: asking again is sooner heard.
        return "Mode: " in command(self.port, "srvr", timeout=0.1)

    def _write_data_folder(self) -> None:
        (self.folder / "data").mkdir()
        if self._number is not None:
            (self.folder / "data" / "myid").write_text(str(self._number))

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            self.stop()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def log(self) -> str:
        return self._process.log

    @property
    def is_leader(self) -> bool:
        return "Mode: leader" in command(self.port, "srvr")

    def launch(self) -> None:
        """Start it, and don't wait."""
        self._process.start()

    async def ready(self) -> None:
        await self._process.ready()

    async def start(self) -> None:
        """Start it, again too, and wait until it serves."""
        self.launch()
        await self.ready()

    def kill(self) -> None:
        self._process.kill()

    def wipe(self) -> None:
        """Remove all its data; it has to be killed before."""
        shutil.rmtree(self.folder / "data")
        self._write_data_folder()

    def freeze(self) -> None:
        self._process.pause()

    def thaw(self) -> None:
        self._process.resume()

    def stop(self) -> None:
        self._process.stop()

    async def command(self, word: str) -> str:
        """The answer to a four-letter command."""
        return await asyncio.to_thread(command, self.port, word)


class ZooKeeperEnsemble:
    """`async with ZooKeeperEnsemble() as ensemble:` is three servers with one leader, at `ensemble.hosts`."""

    def __init__(self, size: int = 3) -> None:
        ports = free_ports(size * 3)
        clients, peers, elections = ports[:size], ports[size : 2 * size], ports[2 * size :]
        lines = [
            f"server.{n + 1}=127.0.0.1:{peer}:{election}"
            for n, (peer, election) in enumerate(zip(peers, elections, strict=True))
        ]
        self.members = [
            ZooKeeper(*lines, "standaloneEnabled=false", port=port, number=n + 1, deadline=60.0)
            for n, port in enumerate(clients)
        ]
        self.hosts = [member.host for member in self.members]

    async def __aenter__(self) -> Self:
        try:
            for member in self.members:
                member.launch()
            for member in self.members:
                await member.ready()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for member in self.members:
            member.stop()

    async def leader(self) -> ZooKeeper:
        """The member that leads now."""
        end = time.monotonic() + 30.0

        def find() -> ZooKeeper:
            while time.monotonic() < end:
                for member in self.members:
                    if member.is_leader:
                        return member
                time.sleep(0.05)
            raise AssertionError("no member leads")

        return await asyncio.to_thread(find)


def tls_lines(files: Certificates, port: int) -> list[str]:
    """The configuration of a server that serves TLS on `port`, and asks clients for a certificate."""
    both = files.server.with_name("both.pem")
    both.write_text(files.server_key.read_text() + files.server.read_text())
    return [
        f"secureClientPort={port}",
        "secureClientPortAddress=127.0.0.1",
        "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
        f"ssl.keyStore.location={both}",
        "ssl.keyStore.type=PEM",
        f"ssl.trustStore.location={files.ca}",
        "ssl.trustStore.type=PEM",
    ]
