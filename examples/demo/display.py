"""Which of the displays it is."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from plain import Lines
from stage import Stage


class Display(Protocol):
    async def run(self) -> None:
        """Show the stage until cancelled."""
        ...


def choose(stage: Stage, *, plain: bool, svg: Path | None) -> Iterator[Display]:
    """A table that changes, in a terminal that can; else lines. With `svg`, a picture is kept as well."""
    if svg is not None:
        from picture import Picture

        yield Picture(stage, svg)
    yield _screen(stage, plain=plain) or Lines(stage)


def _screen(stage: Stage, *, plain: bool) -> Display | None:
    dumb = os.environ.get("TERM", "dumb") == "dumb" or "NO_COLOR" in os.environ
    if plain or dumb or not sys.stdout.isatty():
        return None
    try:
        from live import COLUMNS, LINES, Screen
    except ModuleNotFoundError:
        print("for a live table: pip install 'asyncsd[cli]'")
        return None
    columns, lines = os.get_terminal_size()
    return Screen(stage) if columns >= COLUMNS and lines >= LINES else None
