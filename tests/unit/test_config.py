import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsd import Backoff, Limits, Retry
from asyncsd._values import duration

backoffs = st.builds(
    Backoff,
    initial=st.floats(0.001, 10.0),
    factor=st.floats(1.0, 100.0),
    maximum=st.floats(10.0, 1_000.0),
)


class TestDuration:
    @pytest.mark.parametrize("value", ["10s", "10", None, True, [1]])
    def test_takes_numbers_of_seconds_only(self, value: Any) -> None:
        with pytest.raises(TypeError, match="a number of seconds"):
            duration("Limits.idle", value)

    @pytest.mark.parametrize("value", [0, -1.0, float("inf"), float("nan")])
    def test_has_to_be_more_than_0_and_finite(self, value: float) -> None:
        with pytest.raises(ValueError, match="more than 0, and finite"):
            duration("TTLCheck.ttl", value)

    def test_gives_a_float(self) -> None:
        assert repr(duration("x", 5)) == "5.0"
        assert duration("x", 0, zero=True) == 0.0
        assert duration("x", None, none=True) is None


class TestBackoff:
    @given(backoffs, st.integers(0, 10_000), st.integers())
    def test_delay_is_between_0_and_the_maximum(self, backoff: Backoff, attempt: int, seed: int) -> None:
        delay = backoff.delay(attempt, random.Random(seed))
        assert 0.0 <= delay <= backoff.cap(attempt) <= backoff.maximum

    @given(backoffs)
    def test_cap_grows_from_the_initial_to_the_maximum(self, backoff: Backoff) -> None:
        caps = [backoff.cap(attempt) for attempt in range(50)]
        assert caps[0] == backoff.initial
        assert caps == sorted(caps)

    @given(backoffs, st.integers())
    def test_a_fleet_stays_spread_at_the_cap(self, backoff: Backoff, seed: int) -> None:
        """Full jitter: at the cap the waits are spread over all of it, and are not one value."""
        rng = random.Random(seed)
        cap = backoff.cap(1_000)
        waits = [backoff.delay(1_000, rng) / cap for _ in range(400)]
        assert min(waits) < 0.1
        assert max(waits) > 0.9
        assert 0.4 < sum(waits) / len(waits) < 0.6
        assert len(set(waits)) > 390

    def test_no_attempt_is_too_late(self) -> None:
        assert Backoff().cap(10**6) == 30.0

    @pytest.mark.parametrize(
        ("values", "error", "text"),
        [
            ({"initial": 0}, ValueError, "Backoff.initial"),
            ({"initial": "1s"}, TypeError, "Backoff.initial"),
            ({"maximum": float("inf")}, ValueError, "Backoff.maximum"),
            ({"maximum": 0.1}, ValueError, "Backoff.maximum has to be at least initial"),
            ({"factor": 0.5}, ValueError, "Backoff.factor"),
            ({"factor": float("nan")}, ValueError, "Backoff.factor"),
        ],
    )
    def test_refuses_a_bad_value_and_names_the_field(
        self, values: dict[str, Any], error: type[Exception], text: str
    ) -> None:
        with pytest.raises(error, match=text):
            Backoff(**values)


class TestLimits:
    @pytest.mark.parametrize(
        ("values", "text"),
        [
            ({"least_interval": 0}, "Limits.least_interval"),
            ({"least_interval": 2.0}, "Limits.most_interval has to be at least least_interval"),
            ({"reset_hold": -1}, "Limits.reset_hold"),
            ({"linger": -1}, "Limits.linger"),
            ({"idle": 0}, "Limits.idle"),
            ({"queue": 0}, "Limits.queue"),
            ({"queue": 1.5}, "Limits.queue"),
        ],
    )
    def test_refuses_a_bad_value_and_names_the_field(self, values: dict[str, Any], text: str) -> None:
        with pytest.raises(ValueError, match=text):
            Limits(**values)

    def test_no_hold_and_no_linger_are_fine(self) -> None:
        assert Limits(reset_hold=0, linger=0) != Limits()


class TestRetry:
    @pytest.mark.parametrize(
        ("values", "error", "text"),
        [
            ({"attempts": 0}, ValueError, "Retry.attempts"),
            ({"timeout": 0}, ValueError, r"Retry.timeout .*None for no limit"),
            ({"attempt_timeout": "1"}, TypeError, "Retry.attempt_timeout"),
            ({"on": (1,)}, TypeError, "Retry.on"),
            ({"on": OSError("x")}, TypeError, "Retry.on"),
            ({"on": [OSError]}, TypeError, "Retry.on"),
            ({"on": (BaseException,)}, TypeError, "Retry.on"),
        ],
    )
    def test_refuses_a_bad_value_and_names_the_field(
        self, values: dict[str, Any], error: type[Exception], text: str
    ) -> None:
        with pytest.raises(error, match=text):
            Retry(**({"on": (OSError,)} | values))

    def test_what_to_retry_on_has_no_default(self) -> None:
        with pytest.raises(TypeError, match="'on'"):
            Retry()  # type: ignore[call-arg]

    def test_one_type_stands_for_a_tuple_of_it(self) -> None:
        assert Retry(on=OSError) == Retry(on=(OSError,))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [Backoff(), Backoff(maximum=20.0), Limits(queue=2, idle=1.5), Retry(on=()), Retry(on=(), timeout=2.0)],
)
def test_repr_is_the_shortest_that_makes_the_same_value(value: object) -> None:
    assert eval(repr(value)) == value
    assert repr(Backoff(maximum=20.0)) == "Backoff(maximum=20.0)"
    assert repr(Limits()) == "Limits()"
