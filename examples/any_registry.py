"""One program on any registry: three instances come, a client watches and calls them, one is lost.

    python examples/any_registry.py consul://127.0.0.1:8500
    python examples/any_registry.py etcd://127.0.0.1:2379
    python examples/any_registry.py memory://

The URL alone says which registry it is. One that is for reading only, such as dns:// and static://, is told
by others what there is: `--ports` are where its instances are to listen.
"""

import argparse
import asyncio
import sys
from collections import Counter
from contextlib import AsyncExitStack

from asyncsd import (
    Balancer,
    Discovery,
    DiscoveryError,
    Event,
    Instance,
    Registration,
    Retry,
    RoundRobin,
    Subscription,
    TTLCheck,
)

CALLS = 30
# To ask for a greeting twice does no harm, so an attempt that failed goes to another instance.
RETRY = Retry(attempts=3, attempt_timeout=2.0, on=(OSError, TimeoutError))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Registers, watches, calls and loses instances.")
    parser.add_argument(
        "registry", help="its URL: consul://, etcd://, zk://, eureka://, dns://, memory://, …"
    )
    parser.add_argument("--service", default="greeter")
    parser.add_argument(
        "--ports", default="0,0,0", help="where the instances listen; 0 lets the system choose"
    )
    return parser.parse_args()


async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    port: int = writer.get_extra_info("sockname")[1]
    writer.write(f"hello from {port}\n".encode())
    await writer.drain()
    writer.close()


async def call(instance: Instance) -> str:
    reader, writer = await asyncio.open_connection(instance.host, instance.port)
    try:
        line = await reader.readline()
        if not line:
            raise ConnectionResetError("no greeting")
        return line.decode().strip()
    finally:
        writer.close()


async def seen(events: Subscription, count: int) -> Event:
    """Wait until the registry lists so many passing instances."""
    async for event in events:
        if event.snapshot is not None and len(event.snapshot) == count:
            return event
    raise RuntimeError("the watch ended")


async def shares(greeters: Balancer[Instance]) -> str:
    """How many of the calls each has answered."""
    answers = Counter([await greeters.call(call, retry=RETRY) for _ in range(CALLS)])
    return ", ".join(f"{count} times {answer}" for answer, count in sorted(answers.items()))


async def main() -> None:
    args = arguments()
    async with Discovery.from_url(args.registry) as sd, AsyncExitStack() as stack:
        registers = hasattr(sd.backend, "register")
        servers: list[asyncio.Server] = []
        lives: list[AsyncExitStack] = []
        for given in args.ports.split(","):
            server = await asyncio.start_server(greet, "127.0.0.1", int(given))
            port: int = server.sockets[0].getsockname()[1]
            servers.append(server)
            lives.append(await stack.enter_async_context(AsyncExitStack()))
            lives[-1].callback(server.close)
            if registers:
                me = Registration(
                    service=args.service,
                    host="127.0.0.1",
                    port=port,
                    tags=("v1",),
                    meta={"zone": "a"},
                    check=TTLCheck(ttl=10.0, initial_status="passing"),
                )
                await lives[-1].enter_async_context(sd.register(me, required=True))
        print(f"{'registered' if registers else 'listening'}: {len(servers)} instances", flush=True)

        greeters = sd.balancer(args.service, RoundRobin())
        async with sd.watch(args.service) as events:
            await seen(events, len(servers))
            print("called:", await shares(greeters), flush=True)

            servers[-1].close()  # It is dead, and the registry doesn't know yet: no call may fail.
            print("one is lost", flush=True)
            print("called:", await shares(greeters), flush=True)

            await lives[-1].aclose()
            event = await seen(events, len(servers) - 1)
            print(f"the registry lists {len(event.snapshot or ())}", flush=True)
            print("called:", await shares(greeters), flush=True)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (ValueError, ImportError, DiscoveryError) as exc:  # The URL, an extra, or the registry.
        sys.exit(str(exc))
    except KeyboardInterrupt:
        sys.exit(130)
