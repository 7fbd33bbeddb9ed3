"""The embedded agent as a process of its own.

    python examples/demo/agent.py PORT

It speaks Consul's HTTP API. A Consul removes an instance that stays critical after a minute at the least;
this one after a few seconds, so that a demonstration sees it.
"""

import asyncio
import signal
import sys

from asyncsd.agent import Agent


async def main(port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Agent(port=port, deregister_after_min=1.0, reap_interval=0.5):
        await stop.wait()


if __name__ == "__main__":
    try:
        asyncio.run(main(int(sys.argv[1])))
    except OSError as exc:
        sys.exit(f"could not start: {exc}")
