"""A plain script: register, watch, call.

python examples/script.py [URL of a Consul agent]
"""

import asyncio
import logging
import sys

from asyncsd import Discovery, Event, Query, Registration, TTLCheck
from asyncsd.backends.consul import ConsulBackend


async def main(registry: str) -> None:
    me = Registration(
        service="greeter", port=8080, tags=("v1",), meta={"zone": "a"}, check=TTLCheck(ttl=15.0)
    )
    async with Discovery(ConsulBackend(registry)) as sd:
        # Every Event holds the whole list, and what changed in it.
        async with sd.watch(Query("greeter", tags=("v1",))) as events:
            async with sd.register(me) as registration:
                print(f"registered as {registration.id} on {registration.where}")
                async for event in events:
                    show(event)
                    if any(instance.id == registration.id for instance in event.snapshot or ()):
                        break
            async for event in events:  # Out of the block it is deregistered, and the watch sees it go.
                show(event)
                if any(instance.id == registration.id for instance in event.removed):
                    break


def show(event: Event) -> None:
    for instance in event.added:
        print(f"+ {instance.url()} in zone {instance.zone}")
    for instance in event.removed:
        print(f"- {instance.url()}")
    if event.stale:
        print(f"the list is {event.age} s old: {event.error}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8500"))
