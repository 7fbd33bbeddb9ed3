"""A service is looked up in DNS, by UDP and TCP and with its targets, cancelled at every step."""

import asyncio
import gc
import warnings
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import dns.flags
import dns.message

from asyncsd import Query, UnreachableError
from asyncsd.backends.dns import DNSBackend
from asyncsd.testing import FakeClock
from tests.support.nameserver import FakeNameServer, answer

from .steps import cancel_at_every_step


@asynccontextmanager
async def reading(clock: FakeClock) -> AsyncGenerator[Coroutine[Any, Any, None], None]:
    def tell(query: dns.message.Message) -> dns.message.Message:
        name = query.question[0].name.to_text(omit_final_dot=True)
        if name != "users.test":
            return answer(query, f"{name} 5 A 10.0.0.1")
        told = answer(query, *(f"users.test 5 SRV 0 1 80 t{n}.test." for n in range(2)))
        told.flags |= dns.flags.TC if server.asked[-1][2] == "udp" else 0
        return told

    async def read() -> None:
        # Where the loop waits for a socket, the clock jumps, and an answer may come too late.
        with suppress(UnreachableError):
            reply = await backend.fetch(Query("users"), None)
            await backend.fetch(Query("users"), reply.cursor)

    async with FakeNameServer(tell) as server:
        async with DNSBackend(
            server.address, domain="test", clock=clock, timeout=1000.0, wait=9.0
        ) as backend:
            yield read()
            assert len((await backend.fetch(Query("users"), None)).instances) == 2
            assert not backend._lookups._running
        assert len(backend._tasks) == 0


async def test_a_lookup_leaves_nothing_wherever_it_is_cancelled() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        assert await cancel_at_every_step(reading) > 20
        gc.collect()
    await asyncio.sleep(0)
