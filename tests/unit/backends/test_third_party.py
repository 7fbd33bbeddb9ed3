"""A backend that another distribution brings: found by its scheme, and blamed by its name."""

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncsd import Discovery
from asyncsd.backends import from_url
from asyncsd.backends.memory import MemoryBackend
from tests.test_pages import BLOCK, module

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "custom-backend.md"

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a distribution where Python looks: its metadata, and a module of its own."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(name: str, code: str = "", *, version: str = "1.0", **points: str) -> None:
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = [f"{scheme} = {value}" for scheme, value in points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[asyncsd.backends]", *lines, ""]))
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(code)
        # Else the next test would have the module of this one.
        monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.delitem(sys.modules, module)

    return put


GOOD = "from asyncsd.backends.memory import MemoryBackend\ndef from_url(url):\n    return MemoryBackend()\n"


# The page.


def test_the_whole_one_is_short() -> None:
    first = next(body for _, language, body in BLOCK.findall(PAGE.read_text()) if language == "python")
    assert "def fetch" in first
    assert len(first.splitlines()) < 60


@pytest.mark.timeout(120)
def test_the_one_on_the_page_conforms(tmp_path: Path) -> None:
    (tmp_path / "asyncsd_sqlite.py").write_text(module(PAGE))
    settings = ("[pytest]", "asyncio_mode = auto", "asyncio_default_fixture_loop_scope = function")
    (tmp_path / "pytest.ini").write_text("\n".join(settings))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "asyncsd_sqlite.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert " passed" in result.stdout


async def test_the_one_on_the_page_is_found_once_it_is_installed(
    install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project,) = [body for _, language, body in BLOCK.findall(PAGE.read_text()) if language == "toml"]
    described = tomllib.loads(project)["project"]
    install(described["name"], module(PAGE), **described["entry-points"]["asyncsd.backends"])
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(module(PAGE), str(PAGE), "exec"), names)
    await names["main"](f"sqlite://{tmp_path}/services.db")
    assert capsys.readouterr().out == "http://127.0.0.1:8080/hello\n"


# What may be installed.


@pytest.mark.parametrize("value", ["mykv", "mykv:from_url", "mykv:Backend.from_url"])
async def test_a_scheme_is_a_module_or_a_function(install: Install, value: str) -> None:
    install("mykv", f"{GOOD}class Backend:\n    from_url = staticmethod(from_url)\n", mykv=value)
    for url in ("mykv://host", "mykv+tls://host?a=b"):
        async with Discovery.from_url(url) as sd:
            assert isinstance(sd.backend, MemoryBackend)


async def test_the_url_is_given_as_it_is_and_its_errors_come_through(install: Install) -> None:
    install("mykv", "def from_url(url):\n    raise ValueError(f'no such host in {url}')\n", mykv="mykv")
    with pytest.raises(ValueError, match=r"no such host in mykv\+tls://h\?a=b"):
        from_url("mykv+tls://h?a=b")


def test_asyncsds_own_schemes_cannot_be_taken(install: Install) -> None:
    install("evil", "raise SystemExit", memory="evil", consul="evil")
    assert isinstance(from_url("memory://"), MemoryBackend)
    assert "evil" not in sys.modules


def test_an_unknown_scheme_names_those_there_are_installed_ones_too(install: Install) -> None:
    install("mykv", GOOD, mykv="mykv")
    known = r"consul://, .*memory://, mykv://, static://, .*zk://; got 'redis'"
    with pytest.raises(ValueError, match=known):
        from_url("redis://me:secret@host")
    with pytest.raises(ValueError, match=r"zk://$"):
        from_url("me:secret@host")


@pytest.mark.parametrize(
    ("code", "value", "kind", "error"),
    [
        (
            "import no_such_module",
            "broken",
            ImportError,
            "ModuleNotFoundError: No module named 'no_such_module'",
        ),
        (
            "1 / 0",
            "broken",
            ImportError,
            "can't be loaded: ZeroDivisionError: division by zero; install what",
        ),
        ("", "broken:from_url", ImportError, "AttributeError: .*from_url"),
        ("", "broken", TypeError, r"is neither a function from_url\(url\) nor a module with one"),
        ("from_url = 5", "broken:from_url", TypeError, "is neither a function"),
        ("from_url = dict", "broken", ValueError, "dictionary update sequence"),
        (
            "def from_url(url): return url",
            "broken",
            TypeError,
            "gave no backend but str: it has no __aenter__",
        ),
        ("async def from_url(url): return url", "broken", TypeError, "gave no backend but coroutine"),
    ],
)
def test_a_broken_one_is_named_with_its_distribution(
    install: Install, code: str, value: str, kind: type[Exception], error: str
) -> None:
    install("broken", code, version="2.1", broken=value)
    with pytest.raises(kind, match=error) as caught:
        from_url("broken://host")
    if kind is not ValueError:  # That is the backend's own word on the URL.
        assert f"broken:// of broken 2.1 ({value})" in str(caught.value)


def test_a_scheme_of_two_distributions_is_nobodys(install: Install) -> None:
    install("one-kv", GOOD, kv="one_kv")
    install("other-kv", GOOD, kv="other_kv")
    with pytest.raises(
        ValueError, match=r"kv:// is offered by one-kv 1.0 and other-kv 1.0: uninstall all but"
    ):
        from_url("kv://host")
