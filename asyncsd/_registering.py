"""The context in which a Discovery registers."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ._errors import UnreachableError
from ._protocols import Clock
from ._registrar import Registrar
from ._tasks import TaskOwner

if TYPE_CHECKING:
    import asyncio

__all__ = ["Registering"]


class Registering:
    """What `Discovery.register` returns: `async with` gives the Registrar, and deregisters at its end."""

    __slots__ = ("_clock", "_entered", "_required", "_task", "_tasks", "_timeout", "registrar")

    def __init__(
        self,
        registrar: Registrar,
        tasks: TaskOwner,
        clock: Clock,
        *,
        timeout: float,
        required: bool,
        entered: Callable[[Registrar], None],
    ) -> None:
        self.registrar: Registrar = registrar
        """What entering gives, for who needs it before."""
        self._tasks = tasks
        self._clock = clock
        self._timeout = timeout
        self._required = required
        self._entered = entered
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Registrar:
        service = self.registrar.registration.service
        if self._task is not None:
            raise RuntimeError(f"this registration of {service!r} was entered before: call register() again")
        self._entered(self.registrar)
        self._task = self._tasks.spawn(self.registrar.run(), role="registrar", service=service)
        try:
            async with self._clock.timeout(self._timeout):
                await self.registrar.ready()
        except TimeoutError:
            if self._required:
                error = self.registrar.error  # Before leaving, which may fail for a reason of its own.
                await self.aclose()
                late = f"{service} could not be registered within {self._timeout:g} s"
                raise error or UnreachableError(late) from None
        except BaseException:
            await self.aclose()
            raise
        return self.registrar

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Drain and deregister now. Idempotent; a cancellation is raised once that is done."""
        if self._task is not None:
            await self._tasks.cancel(self._task)
