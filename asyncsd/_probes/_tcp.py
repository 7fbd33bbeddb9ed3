"""The check that only connects."""

import asyncio

from asyncsd._protocols import Clock

from ._dial import DialError, dial
from ._output import Result

__all__ = ["TCPProbe"]


class TCPProbe:
    """Passing when the address takes a connection, which is closed at once."""

    def __init__(self, address: str, *, timeout: float, clock: Clock) -> None:
        self._address = address
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
