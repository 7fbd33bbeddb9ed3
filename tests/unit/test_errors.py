import pickle

import pytest

import asyncsd
from asyncsd import (
    BackendError,
    BadRequestError,
    ClosedError,
    DiscoveryError,
    NoInstances,
    PermissionDeniedError,
    RateLimitedError,
    RetriesExhausted,
    UnreachableError,
    UnsupportedError,
)

ERRORS = [
    error
    for error in (getattr(asyncsd, name) for name in asyncsd.__all__)
    if isinstance(error, type) and issubclass(error, Exception)
]


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_is_a_discovery_error(error: type[Exception]) -> None:
    assert issubclass(error, DiscoveryError)


def test_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    doc = asyncsd._errors.__doc__ or ""
    drawn = {line.split("──")[1].split()[0] for line in doc.splitlines() if "──" in line}
    assert drawn | {"DiscoveryError"} == {error.__name__ for error in ERRORS}


def test_permanent_ones_are_those_that_trying_again_cannot_help() -> None:
    permanent = {error for error in ERRORS if error.permanent}  # type: ignore[attr-defined]
    assert permanent == {PermissionDeniedError, BadRequestError, UnsupportedError}


def test_backend_error_names_its_url() -> None:
    error = BackendError("refused", url="http://127.0.0.1:8500/v1/x", status=500)
    assert str(error) == "refused (http://127.0.0.1:8500/v1/x)"
    assert error.status == 500
    assert str(UnreachableError("down")) == "down"


def test_rate_limit_has_its_wait() -> None:
    error = RateLimitedError("slow down", retry_after=2.5)
    assert (error.status, error.retry_after) == (429, 2.5)


def test_no_instances_says_why() -> None:
    error = NoInstances("users", "three, all critical")
    assert str(error) == "no instance of 'users': three, all critical"


def test_retries_exhausted_has_every_error_in_order() -> None:
    first, second = OSError("refused"), TimeoutError("slow")
    error = RetriesExhausted("users", [first, second])
    assert error.errors == (first, second)
    assert str(error) == "2 attempts to call 'users' failed: 1. OSError('refused'); 2. TimeoutError('slow')"
    assert str(RetriesExhausted("users", [first])).startswith("1 attempt to call")


@pytest.mark.parametrize(
    "error",
    [
        BackendError("no", url="http://x/", status=500),
        RateLimitedError("slow down", url="http://x/", retry_after=2.5),
        NoInstances("users", "empty"),
        RetriesExhausted("users", [OSError("refused")]),
        ClosedError("closed"),
    ],
)
def test_can_be_pickled_and_says_the_same(error: DiscoveryError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert repr(vars(again)) == repr(vars(error))
