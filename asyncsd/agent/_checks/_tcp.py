"""The check that only connects."""

import asyncio

from asyncsd._protocols import Clock
from asyncsd.agent._state._definitions import CheckDefinition

from ._dial import DialError, dial
from ._output import Result

__all__ = ["TCPProbe"]


class TCPProbe:
    """Passing when the address takes a connection, which is closed at once."""

    def __init__(self, definition: CheckDefinition, *, timeout: float, clock: Clock) -> None:
        self._address = definition.tcp
        self._timeout = timeout
        self._clock = clock

    async def __call__(self) -> Result:
        try:
            async with self._clock.timeout(self._timeout):
                transport, _ = await dial(self._address, asyncio.Protocol)
        except TimeoutError:
            return Result("critical", f"dial tcp {self._address}: i/o timeout")
        except DialError as exc:
            return Result("critical", str(exc))
        transport.close()
        return Result("passing", f"TCP connect {self._address}: Success")
