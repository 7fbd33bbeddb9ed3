"""How a process says how it is: the `health=` callable of the user's, and what HTTP makes of its answer."""

import inspect
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from ._checks import Health
from ._models import Status
from ._protocols import Clock
from ._tasks import strays_are_errors

__all__ = ["HealthAnswer", "HealthCallback", "as_health", "ask_health", "http_status"]

HealthAnswer: TypeAlias = Health | Status | bool | tuple[Status, str]
HealthCallback: TypeAlias = Callable[[], HealthAnswer | Awaitable[HealthAnswer]]


def as_health(answer: HealthAnswer) -> Health:
    """`answer` as a Health: True passes, False is critical, a status stands for itself.

    Raises TypeError for anything else, so that a forgotten `return` is told of.
    """
    match answer:
        case bool():
            return Health("passing" if answer else "critical")
        case "passing" | "warning" | "critical":
            return Health(answer)
        case (("passing" | "warning" | "critical") as status, str(note)):
            return Health(status, note)
        case _:
            raise TypeError(
                "health= gives True or False, 'passing', 'warning' or 'critical', "
                f"or one of these three with a note: ('warning', 'queue is long'); got {answer!r}"
            )


async def ask_health(source: HealthCallback, *, clock: Clock, limit: float) -> Health:
    """What `source` says, within `limit` seconds.

    Raises what it raises, TimeoutError past the limit, and RuntimeError when something that it awaits was
    cancelled.
    """
    with strays_are_errors("health="):
        answer = source()
        if inspect.isawaitable(answer):
            try:
                async with clock.timeout(limit):
                    answer = await answer
            except TimeoutError as exc:
                raise TimeoutError(str(exc) or f"health= gave no answer within {limit:g} s") from exc
    return as_health(answer)


def http_status(health: Health) -> int:
    """The HTTP status of a health route: 200, 429 for a warning, as Consul's HTTP check reads it, or 503."""
    if not isinstance(health, Health):
        raise TypeError(f"http_status takes what `await registrar.check_health()` gave; got {health!r}")
    return {"passing": 200, "warning": 429, "critical": 503}[health.status]
