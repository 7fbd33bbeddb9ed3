"""Who may import whom."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import asyncsd

ROOT = Path(asyncsd.__file__).parent

# Lowest first: a module imports from its own layer and those before it.
LAYERS = [
    {"_errors", "_values"},
    {"_checks", "_config", "_models", "_registration"},
    {"_protocols"},
    {"_clock", "_health", "_hub", "_pace", "_poll", "_reachability", "_shared", "_states", "_tasks"},
    {"_belief", "_keeping", "_probes", "_prober", "_store"},
    {"_endpoints", "_lease", "_names", "_registrar", "_subscription", "_watcher", "_watching", "balance"},
    {"_balancers", "_discovery", "_registering"},
    {"__init__"},
]
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}

# Stand on the core, each in its own way; the core knows none of them.
AROUND = {"__main__", "agent", "backends", "cli", "ext", "gateway", "testing"}

BACKENDS_MAY = {
    "_checks",
    "_clock",
    "_config",
    "_errors",
    "_models",
    "_protocols",
    "_registration",
    "_tasks",
    "_values",
}

# A composite is no adapter of a registry: it watches its members as the core does.
COMPOSITE_MAY = BACKENDS_MAY | {"_names", "_reachability", "_shared", "_watcher"}

AGENT_MAY = {"_clock", "_probes", "_protocols", "_tasks"}

# The parts of the agent, lowest first.
AGENT_LAYERS = [
    {"_config", "_state"},
    {"_checks", "_decoding", "_page"},
    {"_filter", "_registry"},
    {"_http"},
    {"_routes"},
    {"_agent"},
    {"__init__"},
]
AGENT_LAYER = {name: number for number, names in enumerate(AGENT_LAYERS) for name in names}


def name_of(path: Path) -> str:
    """The dotted name inside asyncsd: "_models", "backends.consul._wire", "balance.__init__"."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def nodes(tree: ast.AST, *, run: bool) -> Iterator[ast.AST]:
    """All nodes; with `run`, without what stands under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if run and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from nodes(node, run=run)


def imports(path: Path, *, run: bool = False) -> Iterator[str]:
    """What a file imports from asyncsd, as names inside it; "__init__" stands for asyncsd itself."""
    folder = ["asyncsd", *path.relative_to(ROOT).parts[:-1]]
    for node in nodes(ast.parse(path.read_text()), run=run):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = folder[: len(folder) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            # What stands behind `from package import` may be a module of it, or a name.
            names = [
                f"{module}.{alias.name}" if is_module(f"{module}.{alias.name}") else module
                for alias in node.names
            ]
        else:
            continue
        for name in names:
            if name == "asyncsd":
                yield "__init__"
            elif name.startswith("asyncsd."):
                yield name.removeprefix("asyncsd.")


def is_module(name: str) -> bool:
    package, _, rest = name.partition(".")
    path = ROOT.joinpath(*rest.split("."))
    return package == "asyncsd" and bool(rest) and (path.is_dir() or path.with_suffix(".py").exists())


FILES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}
CORE = [name for name in FILES if name.partition(".")[0] not in AROUND]


def inside(*packages: str) -> list[str]:
    return [name for name in FILES if name.partition(".")[0] in packages]


@pytest.mark.parametrize("name", CORE)
def test_core_imports_its_own_layer_and_those_below(name: str) -> None:
    part = name.partition(".")[0]
    assert part in LAYER, f"{name} is new: say in LAYERS which layer it belongs to"
    for imported in imports(FILES[name]):
        other = imported.partition(".")[0]
        assert other in LAYER, f"the core doesn't know {imported}; {name} imports it"
        assert LAYER[other] <= LAYER[part], f"{name} imports {imported}, which stands on it"


@pytest.mark.parametrize("name", inside("backends"))
def test_backend_imports_values_protocols_and_itself(name: str) -> None:
    may = COMPOSITE_MAY if name.startswith("backends.composite") else BACKENDS_MAY
    for imported in imports(FILES[name]):
        parts = imported.split(".")
        own = parts[0] == "backends" and (len(parts) == 1 or parts[1] in {name.split(".")[1], "_shared"})
        assert own or parts[0] in may, f"{name} imports {imported}"


@pytest.mark.parametrize("name", inside("agent"))
def test_agent_knows_nothing_of_its_clients(name: str) -> None:
    """It stands in a registry's place: a mistake shared by both sides would go unseen."""
    for imported in imports(FILES[name]):
        assert imported.partition(".")[0] in {"agent", *AGENT_MAY}, f"{name} imports {imported}"


@pytest.mark.parametrize("name", inside("agent"))
def test_part_of_the_agent_imports_its_own_layer_and_those_below(name: str) -> None:
    part = name.split(".")[1]
    for imported in imports(FILES[name]):
        if imported.startswith("agent."):
            other = imported.split(".")[1]
            assert AGENT_LAYER[other] <= AGENT_LAYER[part], f"{name} imports {imported}, which stands on it"


@pytest.mark.parametrize("name", inside("cli", "ext", "gateway", "testing"))
def test_what_stands_on_asyncsd_uses_public_names(name: str) -> None:
    """So that a third party could have written it."""
    for imported in imports(FILES[name]):
        parts = imported.split(".")
        private = [part for part in parts if part.startswith("_") and part != "__init__"]
        assert not private or parts[0] == name.split(".")[0], f"{name} imports {imported}"


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {
        name.removesuffix(".__init__"): {
            imported for imported in imports(path, run=True) if imported != name.removesuffix(".__init__")
        }
        for name, path in FILES.items()
    }
    TopologicalSorter(graph).prepare()
