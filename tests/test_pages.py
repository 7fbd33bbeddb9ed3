"""The pages: their links lead somewhere, and their Python is Python, which runs and has the types it says."""

import ast
import asyncio
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from asyncsd import Discovery, Registration, TTLCheck
from asyncsd.backends.consul import ConsulBackend
from tests.support.consul import ConsulAgent

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *#*$", re.MULTILINE)
BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", BLOCK.sub("", text))


def anchors(page: Path) -> set[str]:
    """The fragments that headings give, as GitHub makes them."""
    headings = HEADING.findall(BLOCK.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def code(page: Path) -> Iterator[str]:
    """The page's Python."""
    for indent, language, body in BLOCK.findall(page.read_text()):
        if language in {"python", "py"}:
            yield "\n".join(line.removeprefix(indent) for line in body.splitlines())


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    broken: list[str] = []
    for link in LINK.findall(without_code(page.read_text())):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (fragment and target.suffix == ".md" and fragment not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_parses(page: Path) -> None:
    for block in code(page):
        compile(block, name(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def module(page: Path) -> str:
    """The blocks of a page as one module, for they build on each other; each line keeps its number."""
    lines = [""] * len(page.read_text().splitlines())
    for block in BLOCK.finditer(page.read_text()):
        indent, language, body = block.groups()
        if language in {"python", "py"}:
            start = page.read_text()[: block.start(3)].count("\n")
            for number, line in enumerate(body.splitlines(), start):
                lines[number] = line.removeprefix(indent)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "README.md"], ids=name)
def test_values_and_definitions_of_a_page_can_be_made(page: Path) -> None:
    exec(compile(module(page), name(page), "exec"), {"__name__": "page"})


@pytest.mark.timeout(300)  # Most of a minute where mypy has nothing in its cache.
@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed here")
def test_types_of_the_pages_are_what_they_say(tmp_path: Path) -> None:
    modules: list[str] = []
    for page in PAGES:
        if any(code(page)):
            path = tmp_path / f"{name(page).removesuffix('.md').replace('/', '_').replace('-', '_')}.py"
            path.write_text(module(page))
            modules.append(str(path))
    command = [sys.executable, "-m", "mypy", "--no-explicit-package-bases", *modules]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("page", ["docs/testing.md", "docs/agent.md"])
def test_pages_on_testing_are_test_modules_that_pass(page: str, tmp_path: Path) -> None:
    (tmp_path / "test_page.py").write_text(module(ROOT / page))
    settings = ("[pytest]", "asyncio_mode = auto", "asyncio_default_fixture_loop_scope = function")
    (tmp_path / "pytest.ini").write_text("\n".join(settings))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_page.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert " passed" in result.stdout


@pytest.mark.server("consul")
async def test_the_client_on_the_page_on_consul_does_what_the_two_do() -> None:
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(module(ROOT / "docs/consul.md"), "docs/consul.md", "exec"), names)
    async with ConsulAgent() as agent, aiohttp.ClientSession() as session:
        client = names["MyClient"](session)
        client.where = agent.url
        async with Discovery(ConsulBackend(client=client)) as sd:
            me = Registration(service="mine", port=80, tags=("v1",), check=TTLCheck(ttl=5.0))
            async with sd.register(me, drain=0.1, required=True) as registration:
                async with sd.balancer("mine").acquire(timeout=10.0) as instance:
                    assert instance.id == registration.id
                assert (await sd.services())["mine"] == ("v1",)
                async with sd.watch("mine") as events:
                    await registration.update(tags=("v2",))
                    async with asyncio.timeout(10.0):
                        while (await events.get()).snapshot[0].tags != ("v2",):
                            pass
            assert len(await sd.instances("mine")) == 0
