"""Which servers the tests run on."""

import pytest

both = pytest.mark.parametrize(
    "program",
    [pytest.param(name, marks=pytest.mark.server(name)) for name in ("etcd", "etcd34")],
    indirect=True,
)
"""Of a test, or a module: it runs on the newest etcd and on the oldest that is supported."""
