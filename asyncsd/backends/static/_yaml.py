"""YAML, and where in it a value stands."""

import importlib
from typing import Any

from ._schema import Path

__all__ = ["find", "load", "parse"]


def load() -> Any:
    """PyYAML, whose own types say little. Raises ImportError that names the extra."""
    try:
        return importlib.import_module("yaml")
    except ModuleNotFoundError as exc:
        raise ImportError("a StaticBackend of a YAML file needs PyYAML: pip install 'asyncsd[yaml]'") from exc


def parse(text: str) -> object:
    """The document, made of plain values only. Raises SyntaxError with its line."""
    yaml = load()
    try:
        _refuse_doubles(yaml.compose(text, Loader=yaml.SafeLoader), set())
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        where = ("yaml", mark.line + 1 if mark else None, None, None)
        raise SyntaxError(str(exc.problem or exc.context), where) from None
    except yaml.reader.ReaderError as exc:  # A control character.
        raise SyntaxError(
            f"{exc.reason}: {exc.character!r}", ("yaml", _line(text, exc), None, None)
        ) from None
    except SyntaxError:
        raise
    except Exception as exc:  # noqa: BLE001
        # PyYAML trips over what it should refuse: a date that there is not, "!!bool x", endless nesting.
        raise SyntaxError(f"{type(exc).__name__}: {exc}") from None


def find(text: str, path: Path) -> int | None:
    """The line of the value that `path` leads to, or of what is nearest to it."""
    yaml = load()
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if node is None:
        return None
    line: int = node.start_mark.line
    for part in path:
        if isinstance(part, int):
            if node.id != "sequence" or part >= len(node.value):
                break
            node = node.value[part]
            line = node.start_mark.line
        else:
            pairs: Any = node.value if node.id == "mapping" else ()
            found: Any = next((pair for pair in pairs if pair[0].value == part), None)
            if found is None:
                break
            line, node = found[0].start_mark.line, found[1]
    return line + 1


def _refuse_doubles(node: Any, seen: set[int]) -> None:
    """Refuse a key that stands twice in a table: YAML forbids it, and PyYAML would take the last one."""
    if node is None or id(node) in seen or node.id == "scalar":
        return
    seen.add(id(node))  # An alias may be there many times, or in itself.
    if node.id == "sequence":
        for item in node.value:
            _refuse_doubles(item, seen)
        return
    keys: set[Any] = set()
    for key, value in node.value:
        if key.id == "scalar" and key.value != "<<":
            if key.value in keys:
                raise SyntaxError(
                    f"{key.value!r} stands there twice", ("yaml", key.start_mark.line + 1, None, None)
                )
            keys.add(key.value)
        _refuse_doubles(value, seen)


def _line(text: str, exc: Any) -> int:
    return text.count("\n", 0, exc.position) + 1
