"""Calls a service by its name, and counts who answered.

python examples/say_hello/client.py --calls 300
"""

import argparse
import asyncio
import sys
from collections import Counter

import aiohttp

import asyncsd.ext.aiohttp as sd_aiohttp
from asyncsd import Discovery, Retry, RoundRobin
from asyncsd.backends.consul import ConsulBackend

# A greeting may be asked for twice, so what was cut off goes to another instance as well.
RETRY = Retry(attempts=3, on=(aiohttp.ClientConnectionError,))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Calls a service by its name.")
    parser.add_argument("--registry", default="http://127.0.0.1:8500", help="the Consul agent")
    parser.add_argument("--client", choices=["aio", "direct"], default="aio", help="which Consul client")
    parser.add_argument("--service", default="say-hello")
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--rate", type=float, help="calls a second; by default one after the other")
    parser.add_argument("--verbose", action="store_true", help="show each answer")
    return parser.parse_args()


async def main() -> None:
    args = arguments()
    answered: Counter[str] = Counter()
    async with (
        Discovery(ConsulBackend(args.registry, client=args.client)) as sd,
        aiohttp.ClientSession(
            middlewares=(sd_aiohttp.balanced(sd, services={args.service}, policy=RoundRobin(), retry=RETRY),)
        ) as session,
    ):
        for _ in range(args.calls):
            async with session.get(f"http://{args.service}/sayHello") as response:
                response.raise_for_status()
                answer = await response.json()
            answered[answer["id"]] += 1
            if args.verbose:
                print(f"{answer['message']} says {answer['id']}", flush=True)
            if args.rate:
                await asyncio.sleep(1 / args.rate)
    for id, count in sorted(answered.items()):
        print(f"{id}  {count}")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except aiohttp.ClientError as exc:
        sys.exit(f"the call failed: {exc}")
