"""A small key-value store that speaks some of the Redis protocol (PING, SET, GET), and registers itself.

    python examples/tcp_pool/server.py

Consul checks it by connecting to its port.
"""

import argparse
import asyncio
import logging
import signal
import sys

from asyncsd import BackendError, Discovery, Registration, TCPCheck
from asyncsd.backends.consul import ConsulBackend


class Store:
    """Commands in, replies out, both in the Redis serialization protocol."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while header := await reader.readline():
                words: list[bytes] = []
                for _ in range(int(header[1:])):
                    size = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(size + 2))[:-2])
                writer.write(self.answer(words))
                await writer.drain()
        except (ValueError, asyncio.IncompleteReadError, ConnectionError):
            pass  # Not our protocol, or gone: a registry's check just connects and leaves.
        finally:
            writer.close()

    def answer(self, words: list[bytes]) -> bytes:
        match [words[0].upper(), *words[1:]] if words else []:
            case [b"PING"]:
                return b"+PONG\r\n"
            case [b"SET", key, value]:
                self.data[key] = value
                return b"+OK\r\n"
            case [b"GET", key]:
                found = self.data.get(key)
                return b"$-1\r\n" if found is None else b"$%d\r\n%b\r\n" % (len(found), found)
            case _:
                return b"-ERR unknown command\r\n"


async def main() -> None:
    parser = argparse.ArgumentParser(description="A key-value store that registers itself in Consul.")
    parser.add_argument("--registry", default="http://127.0.0.1:8500", help="the Consul agent")
    args = parser.parse_args()

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await asyncio.start_server(Store().serve, "127.0.0.1", 0)
    me = Registration(
        service="store",
        host="127.0.0.1",
        port=server.sockets[0].getsockname()[1],
        check=TCPCheck(interval=1.0, timeout=1.0),
    )
    async with Discovery(ConsulBackend(args.registry)) as sd, sd.register(me, required=True):
        await stop.wait()
    server.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        asyncio.run(main())
    except BackendError as exc:
        sys.exit(f"could not start: {exc}")
