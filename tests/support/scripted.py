"""A registry that plays a script, answer by answer."""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, Self, TypeAlias

from asyncsd import ClosedError, Instance, Names, Query, Reply
from asyncsd.testing import FakeClock

Line: TypeAlias = Reply | Names | BaseException | float
"""An answer, an error, or so many seconds that pass before the next line."""


def instance(id: str, **fields: Any) -> Instance:
    return Instance(**{"id": id, "service": "users", "host": "10.0.0.1", "port": 80, **fields})


def reply(*ids: str | Instance, index: int | None = 1, cursor: Any = "index", **fields: Any) -> Reply:
    """An answer with instances of these ids; its cursor is its index unless given."""
    instances = tuple(instance(each) if isinstance(each, str) else each for each in ids)
    return Reply(instances, cursor=index if cursor == "index" else cursor, index=index, **fields)


class ScriptedBackend:
    """Plays its lines, one a fetch, and hangs after the last one until `say` adds more."""

    def __init__(self, *lines: Line | Iterator[Line], clock: FakeClock) -> None:
        self._clock = clock
        self._lines: Iterator[Line] = self._flat(lines)
        self._more = asyncio.Event()
        self.is_open = True
        self.calls: list[tuple[float, Query | None, Any]] = []
        """When each fetch began, and its query and cursor."""
        self.hanging = 0

    @staticmethod
    def _flat(lines: Iterable[Line | Iterator[Line]]) -> Iterator[Line]:
        for line in lines:
            if isinstance(line, Iterator):
                yield from line
            else:
                yield line

    def say(self, *lines: Line) -> None:
        """Go on with these lines."""
        self._lines = iter((*self._lines, *lines))
        more, self._more = self._more, asyncio.Event()
        more.set()

    @property
    def cursors(self) -> list[Any]:
        return [cursor for _, _, cursor in self.calls]

    def since(self, seconds: float) -> int:
        """How many fetches began in the last so many seconds."""
        return sum(when > self._clock.time() - seconds for when, _, _ in self.calls)

    def most_in_a_second(self) -> int:
        """How many fetches began in the busiest second."""
        times = [when for when, _, _ in self.calls]
        return max(sum(start <= when < start + 1.0 for when in times) for start in times)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        self.is_open = False
        self.say()

    async def _play(self) -> Reply | Names:
        while True:
            if not self.is_open:
                raise ClosedError("this backend is closed")
            more = self._more
            line = next(self._lines, None)
            if line is None:
                self.hanging += 1
                try:
                    await more.wait()
                finally:
                    self.hanging -= 1
            elif isinstance(line, float):
                await self._clock.sleep(line)
            elif isinstance(line, BaseException):
                raise line
            else:
                return line

    async def fetch(self, query: Query, cursor: Any) -> Reply:
        self.calls.append((self._clock.time(), query, cursor))
        answer = await self._play()
        assert isinstance(answer, Reply)
        return answer

    async def fetch_names(self, cursor: Any) -> Names:
        self.calls.append((self._clock.time(), None, cursor))
        answer = await self._play()
        assert isinstance(answer, Names)
        return answer
