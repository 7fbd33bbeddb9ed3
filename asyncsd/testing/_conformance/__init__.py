"""What every backend has to do, as tests."""

import pytest

pytest.register_assert_rewrite(f"{__name__}._suite", f"{__name__}._reading", f"{__name__}._registering")
pytest.register_assert_rewrite(f"{__name__}._waiting", f"{__name__}._lifecycle")

from ._lifecycle import Lifecycle  # noqa: E402 - asserts are rewritten on import
from ._reading import Reading  # noqa: E402
from ._registering import Registering  # noqa: E402
from ._waiting import Waiting  # noqa: E402

__all__ = ["BackendConformance"]


class BackendConformance(Reading, Waiting, Registering, Lifecycle):
    """The tests that every backend passes: subclass it, and say how to make yours.

    Needs pytest and pytest-asyncio. Every test has a new backend, and service names of its own, so that one
    registry may serve them all.

        class TestMyBackend(BackendConformance):
            drains = False

            def make_backend(self, *, wait: float = 30.0) -> MyBackend:
                return MyBackend("http://127.0.0.1:1234", wait=wait)

    `pushes`, `registers`, `drains`, `ttl` and `carries` say what the backend can't do, and `deadline` in how
    many seconds all has to have happened. What a backend does by a protocol of its own (CatalogBackend,
    ObservingBackend) is tested where it has the methods. For one that only reads, override `put` and `drop`
    to change the registry by other means.
    """
