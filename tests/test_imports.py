"""What an import costs, and what it doesn't bring along. Each in a Python of its own."""

import subprocess
import sys

import pytest

from asyncsd.backends import _MODULES

EXTRAS = ["dns", "fastapi", "h2", "kazoo", "rich", "yaml"]
HEAVY = [*EXTRAS, "aiohttp", "consul", "hypothesis", "pydantic", "pytest", "starlette"]


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


@pytest.mark.parametrize("module", [*_MODULES.values(), "asyncsd.backends.composite"])
def test_backend_brings_no_other_and_no_library_of_another(module: str) -> None:
    modules = imported_by(f"import {module}")
    own = {module, "asyncsd.backends._shared"}
    packages = {".".join(name.split(".")[:3]) for name in modules if name.startswith("asyncsd.backends.")}
    assert packages <= own
    assert modules.intersection(EXTRAS) <= {module.rpartition(".")[2]}


def test_import_testing_needs_no_pytest() -> None:
    assert "pytest" not in imported_by("import asyncsd.testing; asyncsd.testing.MemoryBackend")


def test_consul_library_is_imported_once_it_is_used() -> None:
    modules = imported_by("import asyncsd.backends.consul")
    assert "consul" not in modules
    assert "consul.aio" not in modules
