"""What an import costs, and what it doesn't bring along. Each in a Python of its own."""

import subprocess
import sys

HEAVY = ["aiohttp", "consul", "dns", "fastapi", "hypothesis", "kazoo", "pydantic", "pytest", "starlette"]


def imported_by(statement: str) -> set[str]:
    """The modules that are there after `statement`, run with warnings as errors."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return set(done.stdout.split())


def test_import_asyncsd_brings_no_framework_and_no_backend() -> None:
    modules = imported_by("import asyncsd")
    assert not modules.intersection(HEAVY)
    assert not [
        name for name in modules if name.startswith(("asyncsd.backends", "asyncsd.ext", "asyncsd.testing"))
    ]


def test_import_testing_needs_no_pytest() -> None:
    assert "pytest" not in imported_by("import asyncsd.testing; asyncsd.testing.MemoryBackend")


def test_consul_library_is_imported_once_it_is_used() -> None:
    modules = imported_by("import asyncsd.backends.consul")
    assert "consul" not in modules
    assert "consul.aio" not in modules
