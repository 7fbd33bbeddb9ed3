"""TOML, and where in it a value stands."""

import re
import tomllib
from collections.abc import Callable

from ._schema import SchemaError

__all__ = ["find", "parse"]

AT = re.compile(r" \(at line (\d+), column \d+\)\Z")
STATEMENT = re.compile(r"""\s*(\[|[\w"'.-]+\s*=)""")
"""How a line begins at which a statement may; whether one does shows when the lines before it are parsed."""
MOST = 100
"""So many times a file is parsed at most to find a line."""


def parse(text: str) -> object:
    """The document. Raises SyntaxError with its line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        found = AT.search(str(exc))
        where = ("toml", int(found[1]) if found else len(text.splitlines()), None, None)
        raise SyntaxError(AT.sub("", str(exc)), where) from None
    except (RecursionError, ValueError) as exc:  # A date or a number that Python doesn't take.
        raise SyntaxError(str(exc)) from None


def find(text: str, error: SchemaError, check: Callable[[object], object]) -> tuple[int, int] | None:
    """The first and last line of what `check` refuses with `error`.

    tomllib keeps no positions. The shortest beginning of the file that is TOML, and refused with the same
    error, ends with the statement that is wrong.
    """
    lines = text.splitlines(keepends=True)
    cuts = [0, *(n for n, line in enumerate(lines) if n and STATEMENT.match(line)), len(lines)]
    tries = 0

    def state(cut: int) -> bool | None:
        """Whether the lines before a cut are refused; None where they are no TOML."""
        nonlocal tries
        tries += 1
        try:
            check(tomllib.loads("".join(lines[: cuts[cut]])))
        except SchemaError as exc:
            return (exc.path, str(exc)) == (error.path, str(error))
        except (RecursionError, ValueError):
            return None
        return False

    # What stands before `high` is refused, and what stands before `low` isn't. Between `low` and `floor` no
    # cut leaves TOML: it is within a string or an array.
    low, floor, high = 0, 0, len(cuts) - 1
    while high - floor > 1 and tries < MOST:
        middle = (floor + high) // 2
        cut, wrong = middle, state(middle)
        while wrong is None and cut > floor + 1 and tries < MOST:
            cut -= 1
            wrong = state(cut)
        if wrong:
            high = cut
        else:
            low, floor = (cut if wrong is False else low), middle
    return _narrowed(lines, cuts[low], cuts[high], error)


def _narrowed(lines: list[str], first: int, end: int, error: SchemaError) -> tuple[int, int] | None:
    """The one line of these that has the value in it, or the key; else all of them but blank ones."""
    value, key = error.value, error.path[-1] if error.path else None
    for needle in (f'"{value}"' if isinstance(value, str) else None, key):
        if isinstance(needle, str):
            having = [number for number in range(first, end) if needle in lines[number]]
            if len(having) == 1:
                return having[0] + 1, having[0] + 1
    telling = [
        number for number in range(first, end) if lines[number].strip() and lines[number].strip()[0] != "#"
    ]
    return (telling[0] + 1, telling[-1] + 1) if telling else None
