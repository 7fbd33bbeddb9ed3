"""Times named callables side by side: in rounds that interleave them, so that a busy machine slows all alike.

    figures = measure({"floor": floor, "ours": ours})
    report = Report("what this measures")
    report.add("picks", figures, floors={"ours": "floor"}, goals={"ours": 1.5})
    report.close()

`measure_async` does the same for callables whose result is awaited.
"""

import argparse
import asyncio
import json
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

Sync = Callable[[], object]
Async = Callable[[], Awaitable[object]]

ROUNDS = 9
ROUND_SECONDS = 0.02
NONE: Mapping[str, float] = MappingProxyType({})


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
    """Collects tables; prints each as it comes, and writes all as JSON at the end, where that was asked for.

    The options of every benchmark are `--rounds` and `--json FILE`; `parser` is for more of them.
    """

    def __init__(self, description: str, parser: argparse.ArgumentParser | None = None) -> None:
        if parser is None:
            parser = argparse.ArgumentParser()
        parser.description = description
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to FILE as JSON")
        parser.add_argument(
            "--rounds", type=int, default=ROUNDS, help="rounds to interleave (default: %(default)s)"
        )
        self.options = parser.parse_args()
        self.rounds: int = self.options.rounds
        self._began = time.monotonic()
        self._tables: dict[str, dict[str, Any]] = {}
        self._kept: dict[str, object] = {}

    def add(
        self,
        title: str,
        figures: Mapping[str, Figure],
        *,
        floors: Mapping[str, str],
        unit: str = "ns a call",
        by: Literal["least", "median", "most"] = "least",
        columns: str = "least, median, most",
        goals: Mapping[str, float] = NONE,
        limits: Mapping[str, float] = NONE,
    ) -> None:
        """A table; `floors` names for a row the row that it is compared with.

        The ratio is that of the least: what else runs on the machine can only add to a time. For a rate, or
        a time that has chance in it, it is that of the medians (`by`). `goals` are the most that a ratio
        should be, `limits` the most that a figure (`by`) should be, in `unit`.
        Where "most" is a percentile, `columns` says so.
        """
        rows: dict[str, dict[str, Any]] = {}
        for name, figure in figures.items():
            row: dict[str, Any] = figure._asdict()
            value = row[by]
            if name in floors and (floor := getattr(figures[floors[name]], by)):
                row |= {"ratio": value / floor, "of": floors[name]}
            if name in goals and "ratio" in row:
                row |= {"goal": goals[name], "met": row["ratio"] <= goals[name]}
            if name in limits:
                row |= {"limit": limits[name], "met": row.get("met", True) and value <= limits[name]}
            rows[name] = row
        table = {"unit": unit, "by": by, "columns": columns.split(", "), "rows": rows}
        self._tables[title] = table
        _print(title, table)

    def keep(self, name: str, value: object) -> None:
        """Have `value` in the JSON, and in no table."""
        self._kept[name] = value

    def close(self) -> None:
        """Write the JSON, where that was asked for."""
        if self.options.json is None:
            return
        found = {
            "benchmark": Path(sys.argv[0]).stem,
            "machine": machine(),
            "rounds": self.rounds,
            "seconds": round(time.monotonic() - self._began, 1),
            "tables": self._tables,
            **self._kept,
        }
        self.options.json.parent.mkdir(parents=True, exist_ok=True)
        self.options.json.write_text(json.dumps(found, indent=2) + "\n")


def _print(title: str, table: Mapping[str, Any]) -> None:
    columns = table["columns"]
    compared = columns[Figure._fields.index(table["by"])]
    rows = table["rows"]
    width = max(map(len, rows))
    print(f"\n{title} ({table['unit']}: {', '.join(columns)}; {compared} over its floor's)")
    for name, row in rows.items():
        ratio = f"{row['ratio']:6.2f} x {row['of']}" if "ratio" in row else ""
        wanted = [f"{row['goal']:g} x"] if "goal" in row else []
        wanted += [f"{row['limit']:g}"] if "limit" in row else []
        goal = f"  goal {', '.join(wanted)}: {'met' if row['met'] else 'MISSED'}" if wanted else ""
        figures = " ".join(f"{shown(row[field]):>9}" for field in Figure._fields)
        print(f"  {name:{width}}  {figures}  {ratio}{goal}", flush=True)


def shown(value: float) -> str:
    """A figure as it is printed: whole, or with three digits where it is small."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def machine() -> dict[str, str]:
    """What the figures were taken on."""
    cpus = Path("/proc/cpuinfo")
    models = [
        line.partition(":")[2].strip() for line in cpus.read_text().splitlines() if "model name" in line
    ]
    return {
        "processor": f"{len(models)} x {models[0]}" if models else platform.processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("asyncsd", "aiohttp", "anyio", "msgspec")},
    }


def run(main: Callable[[], Awaitable[Any]]) -> None:
    """Run an asynchronous benchmark."""

    async def wrapped() -> None:
        await main()

    asyncio.run(wrapped())
