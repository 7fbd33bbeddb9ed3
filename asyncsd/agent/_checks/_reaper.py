"""Removes the services whose checks have been critical for too long."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from asyncsd._protocols import Clock
from asyncsd.agent._state._definitions import CheckDefinition
from asyncsd.agent._state._structs import Status

__all__ = ["Reaper"]

logger = logging.getLogger("asyncsd.agent")


@dataclass(slots=True)
class _Watched:
    service_id: str
    after: float
    critical_since: float | None = None


class Reaper:
    """Remembers since when checks are critical, for those that say `deregister_after`.

    A check that is registered anew counts from what is said of it next.
    """

    def __init__(self, remove: Callable[[str], None], *, clock: Clock, least: float, interval: float) -> None:
        self._remove = remove
        self._clock = clock
        self._least = least
        self._interval = interval
        self._watched: dict[str, _Watched] = {}

    def watch(self, definition: CheckDefinition) -> bool:
        """Watch a check from now on; False if its service isn't to be removed."""
        self.forget(definition.check_id)
        if definition.deregister_after <= 0 or not definition.service_id:
            return False
        after = max(definition.deregister_after, self._least)
        if after > definition.deregister_after:
            text = "check %s: deregister_critical_service_after is raised from %g s to the least, %g s"
            logger.warning(text, definition.check_id, definition.deregister_after, after)
        self._watched[definition.check_id] = _Watched(definition.service_id, after)
        return True

    def forget(self, check_id: str) -> None:
        """Watch a check no more."""
        self._watched.pop(check_id, None)

    def heard(self, check_id: str, status: Status) -> None:
        """Note how a check went."""
        if (watched := self._watched.get(check_id)) is None:
            return
        if status != "critical":
            watched.critical_since = None
        elif watched.critical_since is None:
            watched.critical_since = self._clock.time()

    async def run(self) -> None:
        """Remove, at each interval, the services whose time is up. Until cancelled."""
        while True:
            await self._clock.sleep(self._interval)
            self._reap()

    def _reap(self) -> None:
        now = self._clock.time()
        late: dict[str, tuple[str, float]] = {}
        for check_id, watched in self._watched.items():
            since = watched.critical_since
            if since is not None and now - since > watched.after:
                late.setdefault(watched.service_id, (check_id, watched.after))
        for service_id, (check_id, after) in late.items():
            text = "service %s is deregistered: its check %s was critical for more than %g s"
            logger.info(text, service_id, check_id, after)
            self._remove(service_id)
