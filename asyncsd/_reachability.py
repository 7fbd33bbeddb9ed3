"""One probe for everybody while a registry can't be reached."""

import asyncio
import random

from ._clock import LoopClock
from ._protocols import Clock

__all__ = ["Reachability"]

FIRST, FACTOR, MOST, JITTER = 0.25, 2.0, 1.0, 0.25


class Reachability:
    """Lets one of many tries through while a server can't be reached, and all of them once it can.

    Whoever failed with UnreachableError reports `down()` and awaits `turn()`: the first to wait leads, sleeps
    0.25 s doubling to 1 s, jittered by a quarter, and tries again; the others sleep until somebody reports
    `up()`. So a dead registry gets about a request a second from the whole process, however many watches
    and registrations it has, and all of them are back at once with it.
    """

    __slots__ = ("_attempt", "_clock", "_leading", "_rng", "_waiting", "next_try", "reachable")

    def __init__(self, *, clock: Clock | None = None, rng: random.Random | None = None) -> None:
        self._clock: Clock = clock or LoopClock()
        self._rng = rng or random.Random()
        self._attempt = 0
        self._leading = False
        self._waiting: dict[asyncio.Future[None], None] = {}  # in order of coming: nobody starves
        self.reachable: bool = True
        self.next_try: float | None = None
        """The clock's time of the next probe, while unreachable."""

    def __repr__(self) -> str:
        state = "reachable" if self.reachable else f"unreachable, {len(self._waiting)} waiting"
        return f"Reachability({state})"

    def up(self) -> None:
        """The server answered: everybody may try."""
        if not self.reachable:
            self.reachable = True
            self._attempt = 0
            self.next_try = None
            for woken in self._waiting:
                _wake(woken)

    def down(self) -> None:
        """The server couldn't be reached."""
        self.reachable = False

    async def turn(self) -> None:
        """Return when it is this caller's turn to try; cancelled, the turn goes to another one."""
        while not self.reachable:
            woken = asyncio.get_running_loop().create_future()
            self._waiting[woken] = None
            try:
                if self._leading:
                    await woken
                elif await self._lead(woken):
                    return
            finally:
                del self._waiting[woken]
                self._hand_on()

    async def _lead(self, woken: asyncio.Future[None]) -> bool:
        """Whether the sleep was over before somebody reported `up()`."""
        self._leading = True
        delay = min(MOST, FIRST * FACTOR**self._attempt) * self._rng.uniform(1 - JITTER, 1 + JITTER)
        self._attempt = min(self._attempt + 1, 16)
        self.next_try = self._clock.time() + delay
        try:
            async with self._clock.timeout(delay):
                await woken
        except TimeoutError:
            return True
        finally:
            # The turn is over when the sleep is: the try itself may take as long as its own deadline, and
            # the next one to lead has its sleep meanwhile.
            self._leading = False
        return False

    def _hand_on(self) -> None:
        """Let the one who has waited longest lead, unless somebody does."""
        if not self._leading and not self.reachable:
            for woken in self._waiting:
                if _wake(woken):
                    break


def _wake(woken: asyncio.Future[None]) -> bool:
    """Whether the waiter wasn't woken or cancelled before."""
    if woken.done():
        return False
    woken.set_result(None)
    return True
