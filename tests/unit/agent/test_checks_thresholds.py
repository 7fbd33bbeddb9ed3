"""How many results in a row change a status."""

import pytest

from asyncsd import Status
from asyncsd._probes import Result, Thresholds

OK, WARN, BAD = "passing", "warning", "critical"


def told(results: list[Status], **limits: int) -> list[Status | None]:
    thresholds = Thresholds(**{"success_before_passing": 0, "failures_before_critical": 0, **limits})
    taken = [thresholds.take(Result(status, "said")) for status in results]
    assert all(result is None or result.output == "said" for result in taken)
    return [result and result.status for result in taken]


def test_without_limits_every_result_counts() -> None:
    assert told([OK, BAD, WARN, BAD, OK]) == [OK, BAD, WARN, BAD, OK]


@pytest.mark.parametrize("first", [OK, WARN, BAD])
def test_the_first_result_counts_whatever_the_limits(first: Status) -> None:
    limits = {"success_before_passing": 3, "failures_before_warning": 2, "failures_before_critical": 4}
    assert told([first], **limits) == [first]


def test_successes_must_follow_each_other() -> None:
    results: list[Status] = [BAD, OK, OK, BAD, OK, OK, OK, OK]
    assert told(results, success_before_passing=3) == [BAD, None, None, BAD, None, None, OK, OK]


def test_a_warning_counts_as_a_success() -> None:
    assert told([BAD, WARN, OK, WARN], success_before_passing=2) == [BAD, None, OK, WARN]


def test_failures_must_follow_each_other() -> None:
    results: list[Status] = [OK, BAD, BAD, OK, BAD, BAD, BAD, BAD]
    assert told(results, failures_before_critical=3) == [OK, None, None, OK, None, None, BAD, BAD]


def test_failures_show_as_a_warning_before_they_are_critical() -> None:
    results: list[Status] = [OK, BAD, BAD, BAD, BAD, OK]
    limits = {"failures_before_warning": 2, "failures_before_critical": 4}
    assert told(results, **limits) == [OK, None, WARN, WARN, BAD, OK]
