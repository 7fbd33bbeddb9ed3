"""A picture of the table, as SVG, for a page."""

import asyncio
import io
from pathlib import Path

from rich.console import Console

from live import frame
from stage import Stage

SIZE = (88, 27)
PHASE = "3/"
"""The phase whose last moment is kept."""

# rich's own, without the font that it loads from elsewhere.
FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<title>make demo</title>
<style>
.{unique_id}-matrix {{ font: {char_height}px/{line_height}px ui-monospace, Menlo, Consolas, \
"DejaVu Sans Mono", monospace; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font: bold 18px system-ui, sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">
{matrix}
</g></g></svg>
"""


class Picture:
    """Keeps the last frame of one phase, and writes it when it is cancelled."""

    def __init__(self, stage: Stage, path: Path) -> None:
        self._stage = stage
        self._path = path

    async def run(self) -> None:
        width, height = SIZE
        console = Console(record=True, file=io.StringIO(), force_terminal=True, width=width, height=height)
        try:
            while True:
                if self._stage.title.startswith(PHASE):
                    console.export_text()  # Forgets the frame before.
                    console.print(frame(self._stage, height))
                await asyncio.sleep(0.25)
        finally:
            console.save_svg(str(self._path), title="make demo", code_format=FORMAT, unique_id="demo")
