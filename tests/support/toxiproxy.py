"""Network faults between real processes: https://github.com/Shopify/toxiproxy, by its HTTP API."""

import asyncio
from types import TracebackType
from typing import Any, Literal, Self

from tests.support.consul import call
from tests.support.process import Process, free_ports, http_ready

__all__ = ["Link", "Toxiproxy"]


class Toxiproxy:
    """`async with Toxiproxy() as toxiproxy:` and then `await toxiproxy.link("127.0.0.1:8500")`."""

    def __init__(self) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self._process = Process(
            "toxiproxy", "-host", "127.0.0.1", "-port", str(port), ready=http_ready(port, "/version")
        )

    def __repr__(self) -> str:
        return f"Toxiproxy({self.url})"

    async def __aenter__(self) -> Self:
        try:
            self._process.start()
            await self._process.ready()
        except BaseException:
            self._process.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stop()

    async def link(self, upstream: str) -> "Link":
        """A port of its own that leads to `upstream`, "host:port"."""
        (port,) = free_ports(1)
        link = Link(self, port, upstream)
        await self.call("POST", "/proxies", link.described(enabled=True))
        return link

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """One call of toxiproxy's API."""
        return await asyncio.to_thread(call, self.url + path, method, body)


class Link:
    """A TCP way to a server that can be cut, stalled and slowed, for connections that stand too."""

    def __init__(self, toxiproxy: Toxiproxy, port: int, upstream: str) -> None:
        self._toxiproxy = toxiproxy
        self._upstream = upstream
        self.port = port
        self.address = f"127.0.0.1:{port}"

    def __repr__(self) -> str:
        return f"Link({self.address} -> {self._upstream})"

    def described(self, *, enabled: bool) -> dict[str, object]:
        return {
            "name": str(self.port),
            "listen": self.address,
            "upstream": self._upstream,
            "enabled": enabled,
        }

    async def cut(self) -> None:
        """Close every connection and refuse new ones."""
        await self._toxiproxy.call("POST", f"/proxies/{self.port}", self.described(enabled=False))

    async def stall(self) -> None:
        """Let nothing through either way, with all connections open: a network that was unplugged."""
        for stream in ("upstream", "downstream"):
            await self._toxic("timeout", stream, timeout=0)

    async def slow(self, seconds: float) -> None:
        """Let every answer take so much longer."""
        await self._toxic("latency", "downstream", latency=round(seconds * 1000))

    async def truncate(self, size: int) -> None:
        """Close each connection after so many bytes of answers."""
        await self._toxic("limit_data", "downstream", bytes=size)

    async def mend(self) -> None:
        """Open and quick again. What was stalled is delivered or closed, as toxiproxy does it."""
        for toxic in await self._toxiproxy.call("GET", f"/proxies/{self.port}/toxics"):
            await self._toxiproxy.call("DELETE", f"/proxies/{self.port}/toxics/{toxic['name']}")
        await self._toxiproxy.call("POST", f"/proxies/{self.port}", self.described(enabled=True))

    async def _toxic(self, kind: str, stream: Literal["upstream", "downstream"], **attributes: float) -> None:
        body = {"name": f"{kind}-{stream}", "type": kind, "stream": stream, "attributes": attributes}
        await self._toxiproxy.call("POST", f"/proxies/{self.port}/toxics", body)
