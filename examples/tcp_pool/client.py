"""Endpoints that aren't URLs: a pool of raw TCP connections to each instance of a service.

    python examples/tcp_pool/client.py

The balancer makes a pool when an instance appears, and closes it when the instance goes and no call uses it.
"""

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from asyncsd import Discovery, DiscoveryError, Instance, LeastOutstanding, Retry
from asyncsd.backends.consul import ConsulBackend

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Pool:
    """Connections to one server; each is used by one command at a time."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self._idle: list[Connection] = []

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[Connection, None]:
        if self._idle:
            connection = self._idle.pop()
        else:
            connection = await asyncio.open_connection(self.instance.host, self.instance.port)
        try:
            yield connection
        except BaseException:
            connection[1].close()  # A reply may be under way: nobody else must read it.
            raise
        self._idle.append(connection)

    async def command(self, *words: bytes) -> bytes | None:
        async with self._connection() as (reader, writer):
            writer.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words))
            await writer.drain()
            reply = await reader.readuntil(b"\r\n")
            if reply.startswith(b"$"):
                size = int(reply[1:])
                return None if size < 0 else (await reader.readexactly(size + 2))[:-2]
            if reply.startswith(b"-"):
                raise RuntimeError(reply[1:-2].decode())
            return reply[1:-2]

    async def aclose(self) -> None:
        for _, writer in self._idle:
            writer.close()
        for _, writer in self._idle:
            await writer.wait_closed()


async def open_pool(instance: Instance) -> Pool:
    pool = Pool(instance)
    await pool.command(b"PING")  # An instance whose pool can't be opened isn't picked.
    return pool


async def main() -> None:
    parser = argparse.ArgumentParser(description="Calls a key-value store through pools of connections.")
    parser.add_argument("--registry", default="http://127.0.0.1:8500", help="the Consul agent")
    parser.add_argument("--calls", type=int, default=300)
    args = parser.parse_args()

    answered: Counter[str] = Counter()
    retry = Retry(attempts=3, timeout=5.0, on=(OSError, asyncio.IncompleteReadError))

    async def ping(pool: Pool) -> None:
        await pool.command(b"PING")
        answered[pool.instance.address] += 1

    async with Discovery(ConsulBackend(args.registry)) as sd:
        stores = sd.balancer("store", LeastOutstanding(), factory=open_pool)

        async def work(calls: int) -> None:
            for _ in range(calls):
                await stores.call(ping, retry=retry)

        await asyncio.gather(*(work(args.calls // 10) for _ in range(10)))
    for address, count in sorted(answered.items()):
        print(f"{address}  {count}")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except DiscoveryError as exc:
        sys.exit(f"the call failed: {exc}")
