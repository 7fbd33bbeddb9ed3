"""The two ways of calling: through a balancer, and by name. Nothing here knows an address."""

import time
from collections.abc import Sequence

import aiohttp

from asyncsd import Backoff, Discovery, DiscoveryError, Instance, Retry, RoundRobin
from asyncsd.backends.consul import ConsulBackend
from tally import Tally

GREETERS = "say-hello"
CLOCK = "clock"


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
            callback=self._tried,
        )

    async def __call__(self) -> None:
        began = time.monotonic()
        try:
            id = await self._greeters.call(self._ask, retry=self._retry)
        except DiscoveryError as exc:  # RetriesExhausted, NoInstances
            self._tally.failed(exc)
        else:
            self._tally.answered(GREETERS, id, time.monotonic() - began)

    async def _ask(self, instance: Instance) -> str:
        async with self._session.get(instance.url("/sayHello"), params={"name": "demo"}) as response:
            response.raise_for_status()
            return str((await response.json())["id"])

    def _tried(self, attempt: int, errors: Sequence[Exception]) -> bool:
        self._tally.retried += attempt == 1
        return True


class Times:
    """Asks for the time by the name of the service: the session has the middleware `balanced`."""

    def __init__(self, session: aiohttp.ClientSession, tally: Tally) -> None:
        self._session = session
        self._tally = tally

    async def __call__(self) -> None:
        began = time.monotonic()
        try:
            async with self._session.get(f"http://{CLOCK}/now") as response:
                response.raise_for_status()
                id = str((await response.json())["id"])
        except aiohttp.ClientError as exc:
            self._tally.failed(exc)
        else:
            self._tally.answered(CLOCK, id, time.monotonic() - began)
