"""The show as a table that changes, in a terminal, by rich."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from asyncsd import Instance
from journal import Entry
from roster import label
from stage import Stage
from tally import Answer, milliseconds

COLUMNS, LINES = 78, 20
"""What a terminal needs."""
REFRESH = 0.25
"""Seconds."""
WINDOW = 2.0
"""Seconds over which shares and latencies are taken."""
STYLES = {"phase": "bold cyan", "done": "green", "event": "", "trouble": "bold red"}
STATES = {"passing": "green", "warning": "yellow", "critical": "red"}


class Screen:
    """Draws the stage, until it is cancelled; what it drew is gone then."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._console = Console()

    async def run(self) -> None:
        # Without a thread of its own, and by itself: nothing is drawn while the loop does other things.
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while True:
                live.update(frame(self._stage, self._console.height - 1), refresh=True)
                await asyncio.sleep(REFRESH)


def frame(stage: Stage, height: int) -> RenderableType:
    """All that is shown at one moment, in so many lines."""
    above = (_head(stage), _registry(stage), "", _instances(stage), "", _totals(stage), "")
    left = height - len(above) - len(stage.roster.instances)
    return Group(*above, *_events(stage, max(1, left)))


def _head(stage: Stage) -> Table:
    head = Table.grid(expand=True)
    head.add_column(no_wrap=True, ratio=1)
    head.add_column(no_wrap=True, justify="right")
    head.add_row(Text(stage.title, "bold"), Text(f"  {stage.journal.now:.1f} s", "dim"))
    return head


def _registry(stage: Stage) -> Text:
    if stage.roster.stale:
        return Text(f"registry {stage.url}: away, or empty; the last lists serve on", "yellow")
    return Text(f"registry {stage.url}", "dim")


def _instances(stage: Stage) -> Table:
    table = Table(box=None, expand=True, pad_edge=False, header_style="dim")
    table.add_column("instance", no_wrap=True)
    table.add_column("pid", justify="right")
    table.add_column("state", no_wrap=True)
    for name in ("calls", "share", "p50", "p99"):
        table.add_column(name, justify="right")
    table.add_column("", ratio=1)
    recent: defaultdict[str, list[Answer]] = defaultdict(list)
    for answer in stage.tally.recent(WINDOW):
        recent[answer.instance].append(answer)
    shares = stage.tally.shares(time.monotonic() - WINDOW)
    most = max(shares.values(), default=1.0)
    for instance in stage.roster.instances:
        answers = recent[instance.id]
        share = shares.get(instance.id, 0.0)
        table.add_row(
            label(instance),
            instance.meta.get("pid", ""),
            _state(stage, instance),
            f"{stage.tally.calls[instance.id]:,}",
            f"{share:.0%}",
            _latency(answers, 50),
            _latency(answers, 99),
            ProgressBar(most, share, complete_style="cyan", finished_style="cyan"),
        )
    return table


def _state(stage: Stage, instance: Instance) -> Text:
    """What the registry says, and what was done to the process, if anything."""
    member = stage.services.find(instance.meta.get("pid"))
    done = f", {member.wanted}" if member and member.wanted != "running" else ""
    return Text.assemble((instance.status, STATES[instance.status]), (done, "bold"))


def _totals(stage: Stage) -> Text:
    totals, answers = stage.tally.totals, stage.tally.recent(WINDOW)
    return Text.assemble(
        f"{totals.calls:,} calls, {stage.rate:.0f} a second: ",
        (f"{totals.failed} failed", "bold red" if totals.failed else "bold green"),
        f", {totals.retried} retried; p50 {_latency(answers, 50)}, p99 {_latency(answers, 99)}",
    )


def _events(stage: Stage, count: int) -> list[RenderableType]:
    return [_event(entry) for entry in stage.journal.entries[-count:]]


def _event(entry: Entry) -> Text:
    text = Text.assemble((f"{entry.at:5.1f} s  ", "dim"), (entry.text, STYLES[entry.kind]))
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _latency(answers: Sequence[Answer], percent: float) -> str:
    return milliseconds([answer.seconds for answer in answers], percent) if answers else ""
