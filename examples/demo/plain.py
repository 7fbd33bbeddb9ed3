"""The show as lines, for where there is no terminal."""

import asyncio

from journal import Entry
from stage import Stage
from tally import milliseconds

MARKS = {"phase": "==", "done": "ok", "event": "  ", "trouble": "!!"}
EVERY = 2.0
"""Seconds from one line of figures to the next."""


class Lines:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._told = 0

    async def run(self) -> None:
        """Print what happens as it happens, and figures meanwhile, until cancelled."""
        due = EVERY
        try:
            while True:
                self._tell()
                if self._stage.journal.now >= due:
                    due += EVERY
                    self._figures()
                await asyncio.sleep(0.1)
        finally:
            self._tell()

    def _tell(self) -> None:
        entries = self._stage.journal.entries
        for entry in entries[self._told :]:
            show(entry)
        self._told = len(entries)

    def _figures(self) -> None:
        stage, totals = self._stage, self._stage.tally.totals
        seconds = [answer.seconds for answer in stage.tally.recent(EVERY)]
        counts = f"{totals.calls} calls, {totals.failed} failed, {totals.retried} retried"
        text = f"{counts}; {stage.rate:.0f} a second"
        if seconds:
            text += f", p50 {milliseconds(seconds, 50)}, p99 {milliseconds(seconds, 99)}"
        show(Entry(stage.journal.now, "event", text))


def show(entry: Entry) -> None:
    print(f"{entry.at:5.1f} s {MARKS[entry.kind]} {entry.text}", flush=True)
