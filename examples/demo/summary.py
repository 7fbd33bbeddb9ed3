"""What was shown, at the end."""

import shutil
import textwrap
from collections.abc import Iterable, Sequence

from story import Outcome
from tally import Tally, milliseconds

COLUMNS = min(110, shutil.get_terminal_size().columns)
MARKS = {True: "ok", False: "FAILED", None: "-"}


def summary(outcomes: Sequence[Outcome], tally: Tally, seconds: float) -> Iterable[str]:
    """Its lines: the phases with their figures, then the calls."""
    width = max(len(outcome.title) for outcome in outcomes)
    for outcome in outcomes:
        begin = f"{MARKS[outcome.held]:>6}  {outcome.title:<{width}}  "
        indent = " " * len(begin)
        yield textwrap.fill(outcome.figures, COLUMNS, initial_indent=begin, subsequent_indent=indent)
    took = [answer.seconds for answer in tally.answers]
    latency = f"; p50 {milliseconds(took, 50)}, p99 {milliseconds(took, 99)}" if took else ""
    calls, failed, retried = tally.totals
    yield f"{calls:,} calls in {seconds:.0f} s: {failed} failed, {retried} retried{latency}"


def all_held(outcomes: Iterable[Outcome], tally: Tally) -> bool:
    return tally.totals.failed == 0 and not any(outcome.held is False for outcome in outcomes)
