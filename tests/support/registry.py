"""A registry that fails when it is told to, and a world in which registrars run on a clock of the test's."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Self

from asyncsd._checks import Health, TTLCheck
from asyncsd._models import Instance, Query, Reply
from asyncsd._protocols import Lease
from asyncsd._registrar import Registrar
from asyncsd._registration import Record, Registration
from asyncsd.backends.memory import MemoryBackend
from asyncsd.testing import FakeClock

ME = Registration(service="greeter", host="10.0.0.7", port=8080, check=TTLCheck(ttl=15.0))


class Call(NamedTuple):
    name: str
    at: float
    args: tuple[Any, ...]


class FaultyBackend:
    """A MemoryBackend whose calls are noted, and fail, hang or answer late as the test says.

    It can't observe: what is forgotten is noticed by the heartbeat. `ObservingFaultyBackend` can.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.memory = MemoryBackend(clock=clock)
        self.calls: list[Call] = []
        self.always: dict[str, BaseException] = {}
        self.next: dict[str, deque[Exception | None]] = {}
        self.hanging: set[str] = set()
        self.slow: dict[str, float] = {}
        self.before: Callable[[str], None] = lambda name: None
        self.answer_lost: set[str] = set()

    @property
    def is_open(self) -> bool:
        return self.memory.is_open

    async def __aenter__(self) -> Self:
        await self.memory.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.memory.aclose()

    async def aclose(self) -> None:
        await self.memory.aclose()

    def fail(self, *names: str, error: BaseException) -> None:
        """Every call of these names, or of "any", fails until `heal`."""
        self.always.update(dict.fromkeys(names, error))

    def fail_next(self, name: str, *errors: Exception | None) -> None:
        self.next.setdefault(name, deque()).extend(errors)

    def heal(self) -> None:
        self.always.clear()
        self.next.clear()
        self.hanging.clear()
        self.slow.clear()
        self.answer_lost.clear()

    def named(self, *names: str) -> list[Call]:
        return [call for call in self.calls if call.name in names]

    async def _call(self, name: str, *args: Any) -> Any:
        self.calls.append(Call(name, self.clock.time(), args))
        self.before(name)
        if name in self.slow:
            await self.clock.sleep(self.slow[name])
        if name in self.hanging or "any" in self.hanging:
            await asyncio.get_running_loop().create_future()
        coming = self.next.get(name)
        error = coming.popleft() if coming else self.always.get(name, self.always.get("any"))
        if error is not None and name not in self.answer_lost:
            raise error
        answer = await getattr(self.memory, name)(*args)
        if error is not None:
            raise error
        return answer

    async def fetch(self, query: Query, cursor: Any) -> Reply:
        return await self.memory.fetch(query, cursor)

    async def local_host(self) -> str:
        return str(await self._call("local_host"))

    async def register(self, record: Record, previous: Lease | None = None) -> Lease:
        lease: Lease = await self._call("register", record, previous)
        return lease

    async def renew(self, lease: Lease, health: Health) -> None:
        await self._call("renew", lease, health)

    async def drain(self, lease: Lease, on: bool) -> None:
        await self._call("drain", lease, on)

    async def deregister(self, lease: Lease) -> None:
        await self._call("deregister", lease)


class ObservingFaultyBackend(FaultyBackend):
    async def observe(self, lease: Lease, cursor: Any) -> Any:
        return await self._call("observe", lease, cursor)


class World:
    """A clock, a registry that may fail, and the registrars on it, which are gone at the end."""

    def __init__(self, *, observing: bool = False, seed: int = 1) -> None:
        self.clock = FakeClock()
        self.backend = (ObservingFaultyBackend if observing else FaultyBackend)(self.clock)
        self.rng = random.Random(seed)
        self.tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self.backend.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.backend.heal()
        for task in self.tasks:
            await self.end(task)
        await self.backend.aclose()

    def registrar(self, registration: Registration = ME, **options: Any) -> Registrar:
        """A Registrar that isn't running yet."""
        return Registrar(self.backend, registration, clock=self.clock, rng=self.rng, **options)

    def start(self, registration: Registration = ME, **options: Any) -> Registrar:
        registrar = self.registrar(registration, **options)
        self.run(registrar)
        return registrar

    def run(self, registrar: Registrar) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(registrar.run(), name="registrar")
        self.tasks.append(task)
        return task

    async def ready(self, registration: Registration = ME, **options: Any) -> Registrar:
        registrar = self.start(registration, **options)
        await registrar.ready()
        return registrar

    async def end(self, task: asyncio.Task[None] | None = None) -> float:
        """Cancel a registrar, and move the clock until it has left; the seconds that took."""
        task = task or self.tasks[-1]
        began = self.clock.time()
        task.cancel()
        await self.clock.advance(0.0)
        for _ in range(1_000):
            if task.done():
                break
            assert self.clock.next_due is not None, "the registrar hangs"
            await self.clock.advance(max(0.0, self.clock.next_due - self.clock.time()))
        assert task.done()
        return self.clock.time() - began

    async def instances(self, service: str = "greeter") -> tuple[Instance, ...]:
        return (await self.backend.fetch(Query(service), None)).instances
