"""The two ways of calling: through a balancer, and by name. Nothing here knows an address."""

import time

import aiohttp

import asyncsd.ext.aiohttp as sd_aiohttp
from asyncsd import Backoff, Discovery, DiscoveryError, Instance, Retry, RoundRobin
from asyncsd.backends.consul import ConsulBackend
from tally import Tally

GREETERS = "say-hello"
CLOCK = "clock"


def open_session(sd: Discovery[ConsulBackend], tally: Tally) -> aiohttp.ClientSession:
    """A session that takes a URL's host for the name of a service, and goes on to another instance."""
    retry = Retry(attempts=3, on=(aiohttp.ClientConnectionError,), callback=tally.tried)
    return aiohttp.ClientSession(middlewares=(sd_aiohttp.balanced(sd, services={CLOCK}, retry=retry),))


class Greetings:
    """Asks an instance of say-hello, each in its turn; an attempt that fails goes to another one."""

    def __init__(self, sd: Discovery[ConsulBackend], session: aiohttp.ClientSession, tally: Tally) -> None:
        self._greeters = sd.balancer(GREETERS, RoundRobin())
        self._session = session
        self._tally = tally
        self._retry = Retry(
            attempts=3,
            timeout=5.0,
            attempt_timeout=2.0,
            backoff=Backoff(initial=0.01, maximum=0.1),
            on=(aiohttp.ClientError,),  # A greeting may be asked for twice.
            callback=tally.tried,
        )

    async def __call__(self) -> None:
        began = time.monotonic()
        try:
            id = await self._greeters.call(self._ask, retry=self._retry)
        except (DiscoveryError, aiohttp.ClientError) as exc:  # RetriesExhausted, NoInstances, or not retried
            self._tally.failed(exc)
        else:
            self._tally.answered(GREETERS, id, time.monotonic() - began)

    async def _ask(self, instance: Instance) -> str:
        async with self._session.get(instance.url("/sayHello"), params={"name": "demo"}) as response:
            response.raise_for_status()
            return str((await response.json())["id"])


class Times:
    """Asks for the time by the name of the service."""

    def __init__(self, session: aiohttp.ClientSession, tally: Tally) -> None:
        self._session = session
        self._tally = tally

    async def __call__(self) -> None:
        began = time.monotonic()
        try:
            async with self._session.get(f"http://{CLOCK}/now") as response:
                response.raise_for_status()
                id = str((await response.json())["id"])
        except (aiohttp.ClientError, TimeoutError) as exc:
            self._tally.failed(exc)
        else:
            self._tally.answered(CLOCK, id, time.monotonic() - began)
