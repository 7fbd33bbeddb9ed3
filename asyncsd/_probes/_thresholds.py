"""How many results in a row it takes to change a check's status."""

from ._output import Result

__all__ = ["Thresholds"]


class Thresholds:
    """Counts successes and failures in a row, and lets a result through once there were enough.

    The first result is always let through. As Consul's `StatusHandler`: a warning counts as a success, and
    failures show as a warning between `failures_before_warning` and `failures_before_critical`.
    """

    __slots__ = ("_critical", "_failures", "_passing", "_successes", "_warning")

    def __init__(
        self,
        *,
        success_before_passing: int,
        failures_before_critical: int,
        failures_before_warning: int = 0,
    ) -> None:
        self._passing = self._successes = success_before_passing
        self._critical = self._failures = failures_before_critical
        self._warning = failures_before_warning or failures_before_critical

    def take(self, result: Result) -> Result | None:
        """Count a result; what is to be told of it, None for nothing yet."""
        if result.status != "critical":
            self._successes += 1
            self._failures = 0
            return result if self._successes >= self._passing else None
        self._failures += 1
        self._successes = 0
        if self._failures >= self._critical:
            return result
        return result._replace(status="warning") if self._failures >= self._warning else None
