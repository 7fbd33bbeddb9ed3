"""Times named callables side by side: in rounds that interleave them, so that a busy machine slows all alike.

    figures = measure({"floor": floor, "ours": ours})
    report = Report("what this measures")
    report.add("picks", figures, floors={"ours": "floor"})
    report.close()

`measure_async` does the same for callables whose result is awaited.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, NamedTuple

Sync = Callable[[], object]
Async = Callable[[], Awaitable[object]]

ROUNDS = 15
ROUND_SECONDS = 0.02


class Figure(NamedTuple):
    """Nanoseconds for one call, over the rounds."""

    least: float
    median: float
    most: float


def measure(
    candidates: Mapping[str, Sync], *, rounds: int = ROUNDS, seconds: float = ROUND_SECONDS
) -> dict[str, Figure]:
    """Time each callable in every round, for about `seconds` a round."""
    counts = {name: _calibrate(fn, seconds) for name, fn in candidates.items()}
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, fn in candidates.items():
            times[name].append(_time(fn, counts[name]) / counts[name])
    return {name: figure(samples) for name, samples in times.items()}


async def measure_async(
    candidates: Mapping[str, Async], *, rounds: int = ROUNDS, seconds: float = ROUND_SECONDS
) -> dict[str, Figure]:
    """As `measure`, for callables whose result is awaited."""
    counts = {name: await _calibrate_async(fn, seconds) for name, fn in candidates.items()}
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, fn in candidates.items():
            times[name].append(await _time_async(fn, counts[name]) / counts[name])
    return {name: figure(samples) for name, samples in times.items()}


def _time(fn: Sync, count: int) -> float:
    began = time.perf_counter_ns()
    for _ in range(count):
        fn()
    return time.perf_counter_ns() - began


async def _time_async(fn: Async, count: int) -> float:
    began = time.perf_counter_ns()
    for _ in range(count):
        await fn()
    return time.perf_counter_ns() - began


def _calibrate(fn: Sync, seconds: float) -> int:
    count = 1
    while (took := _time(fn, count)) < 2e6:
        count *= 4
    return max(1, int(count * seconds * 1e9 / took))


async def _calibrate_async(fn: Async, seconds: float) -> int:
    count = 1
    while (took := await _time_async(fn, count)) < 2e6:
        count *= 4
    return max(1, int(count * seconds * 1e9 / took))


def figure(samples: list[float]) -> Figure:
    """What the rounds of one candidate gave."""
    return Figure(min(samples), statistics.median(samples), max(samples))


class Report:
    """Collects tables; prints each as it comes, or all as JSON at the end."""

    def __init__(self, description: str) -> None:
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--json", action="store_true", help="print the figures as JSON")
        parser.add_argument(
            "--rounds", type=int, default=ROUNDS, help="rounds to interleave (default: %(default)s)"
        )
        options = parser.parse_args()
        self.rounds: int = options.rounds
        self._as_json: bool = options.json
        self._tables: dict[str, dict[str, dict[str, float]]] = {}

    def add(
        self,
        title: str,
        figures: Mapping[str, Figure],
        *,
        floors: Mapping[str, str],
        unit: str = "ns a call",
        by: Literal["least", "median", "most"] = "least",
        columns: str = "least, median, most",
    ) -> None:
        """A table; `floors` names for a row the row that it is compared with.

        The ratio is that of the least: what else runs on the machine can only add to a time. For a rate, or
        a time that has chance in it, it is that of the medians (`by`).
        Where "most" is a percentile, `columns` says so.
        """
        rows: dict[str, dict[str, float]] = {}
        for name, figure in figures.items():
            rows[name] = figure._asdict()
            if name in floors:
                rows[name]["ratio"] = getattr(figure, by) / getattr(figures[floors[name]], by)
        self._tables[title] = rows
        compared = columns.split(", ")[Figure._fields.index(by)]
        if not self._as_json:
            self._print(f"{title} ({unit}: {columns}; {compared} over its floor's)", rows, floors)

    def _print(self, title: str, rows: Mapping[str, Mapping[str, float]], floors: Mapping[str, str]) -> None:
        width = max(map(len, rows))
        print(f"\n{title}")
        for name, row in rows.items():
            ratio = f"{row['ratio']:6.2f} x {floors[name]}" if "ratio" in row else ""
            print(f"  {name:{width}}  {row['least']:9.0f} {row['median']:9.0f} {row['most']:9.0f}  {ratio}")

    def close(self) -> None:
        """Print the JSON, where that was asked for."""
        if self._as_json:
            print(json.dumps(self._tables, indent=2))


def run(main: Callable[[], Awaitable[Any]]) -> None:
    """Run an asynchronous benchmark."""

    async def wrapped() -> None:
        await main()

    asyncio.run(wrapped())
