"""A real name server on loopback, dnsmasq, with records of a test's own."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

import dns.exception
import dns.message
import dns.query
import dns.rcode

from tests.support.process import Process, free_ports

__all__ = ["Dnsmasq"]

CONFIG = """
port={port}
listen-address=127.0.0.1
bind-interfaces
no-resolv
no-hosts
user={user}
local=/test/
cache-size=0
host-record=ready.test,127.0.0.1
addn-hosts={folder}/hosts
"""


class Dnsmasq:
    """`async with Dnsmasq("srv-host=_http._tcp.users.test,a.test,80") as server:` serves the domain "test".

    The lines are those of its configuration. `hosts` changes the addresses of names while it runs, and
    `restart` all else.
    """

    def __init__(self, *lines: str, port: int | None = None) -> None:
        self.port = port or free_ports(1)[0]
        self.address = f"127.0.0.1:{self.port}"
        self._process = Process(
            "dnsmasq",
            *("-C", "{folder}/dnsmasq.conf", "--keep-in-foreground", "--log-facility=-"),
            ready=_answers(self.port),
        )
        (self._process.folder / "hosts").touch()
        self._configure(lines)

    def _configure(self, lines: tuple[str, ...]) -> None:
        folder = self._process.folder
        head = CONFIG.format(port=self.port, folder=folder, user=folder.owner())
        (folder / "dnsmasq.conf").write_text(head + "\n".join(lines) + "\n")

    def __repr__(self) -> str:
        return f"Dnsmasq({self.address}, {self._process!r})"

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            self._process.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stop()

    async def start(self) -> None:
        """Start it, again too, and wait until it serves."""
        self._process.start()
        await self._process.ready()

    def stop(self) -> None:
        """Kill it and remove its folder."""
        self._process.stop()

    def kill(self) -> None:
        self._process.kill()

    def freeze(self) -> None:
        """It takes questions and answers none."""
        self._process.pause()

    def thaw(self) -> None:
        self._process.resume()

    async def restart(self, *lines: str) -> None:
        """Begin anew with other records."""
        self.kill()
        self._configure(lines)
        await self.start()

    async def hosts(self, **addresses: str) -> None:
        """Let names of "test" have these addresses, and wait until they are read: `hosts(a="10.0.0.1")`."""
        text = "".join(f"{address} {name}.test\n" for name, address in addresses.items())
        (self._process.folder / "hosts").write_text(text)
        self._process.reload()
        for name, address in addresses.items():
            while await asyncio.to_thread(self._lacks, name, address):
                pass

    def _lacks(self, name: str, address: str) -> bool:
        try:
            answer = dns.query.udp(dns.message.make_query(f"{name}.test", "A"), "127.0.0.1", 2.0, self.port)
        except dns.exception.Timeout:
            return True
        return address not in str(answer)


def _answers(port: int) -> Callable[[], bool]:
    """Ready when it answers what all of them know."""

    def ready() -> bool:
        query = dns.message.make_query("ready.test", "A")
        try:
            answer = dns.query.udp(query, "127.0.0.1", timeout=0.2, port=port)
        except (OSError, dns.exception.Timeout):
            return False
        return answer.rcode() == dns.rcode.NOERROR

    return ready
