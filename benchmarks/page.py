"""Puts the figures of a run into a page: `python benchmarks/page.py FOLDER PAGE...`.

FOLDER is where the benchmarks' `--json` went. In a page each of these blocks is written anew, up to its end:

    <!-- table bench_picks: picks, 3 instances -->
    <!-- table bench_picks: picks, 3 instances | picks, 100 instances -->
    <!-- goals -->
    <!-- machine -->
    <!-- end -->

One title gives the whole table; several, one column each, with the figure that is compared and its ratio.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from _measure import Figure, shown

BLOCK = re.compile(r"<!-- (table|goals|machine)(?: (\w+): (.*?))? -->\n.*?<!-- end -->", re.DOTALL)

Tables = Mapping[str, Mapping[str, Any]]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def whole(table: Mapping[str, Any]) -> str:
    """One table, as it was printed."""
    rows = table["rows"]
    ratios = any("ratio" in row for row in rows.values())
    goals = any("met" in row for row in rows.values())
    head = [table["unit"], *table["columns"], *["ratio"] * ratios, *["goal"] * goals]
    body: list[list[str]] = []
    for name, row in rows.items():
        line = [name, *(shown(row[field]) for field in Figure._fields)]
        line += [f"{row['ratio']:.2f}" if "ratio" in row else ""] * ratios
        line += [wanted(row)] * goals
        body.append(line)
    return markdown(head, body)


def wanted(row: Mapping[str, Any]) -> str:
    goals = [f"{row['goal']:g} x"] if "goal" in row else []
    goals += [f"{row['limit']:,g}"] if "limit" in row else []
    return f"{' and '.join(goals)}{'' if row['met'] else ' (missed)'}" if goals else ""


def merged(tables: Tables, titles: Sequence[str]) -> str:
    """Several tables of the same rows side by side; a title gives what it doesn't share with the first."""
    found = [tables[title] for title in titles]
    names = list(dict.fromkeys(name for table in found for name in table["rows"]))
    body: list[list[str]] = []
    for name in names:
        line = [name]
        for table in found:
            row = table["rows"].get(name)
            ratio = f" ({row['ratio']:.2f})" if row is not None and "ratio" in row else ""
            line.append("" if row is None else shown(row[table["by"]]) + ratio)
        body.append(line)
    by = found[0]["columns"][Figure._fields.index(found[0]["by"])]
    return markdown([f"{found[0]['unit']}, {by} (ratio)", *own_words(titles)], body)


def own_words(titles: Sequence[str]) -> list[str]:
    """The titles without the words that all of them have."""
    split = [title.split() for title in titles]
    shared = set(split[0]).intersection(*split[1:])
    return [" ".join(word for word in words if word not in shared).strip(",") for words in split]


def goals(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Every row that has a goal."""
    return markdown(["what", "who", "goal", "found", ""], list(goal_rows(runs)))


def goal_rows(runs: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
    for run in runs.values():
        for title, table in run["tables"].items():
            for name, row in table["rows"].items():
                if "goal" in row:
                    met = "met" if row["ratio"] <= row["goal"] else "**missed**"
                    ratio = f"{row['ratio']:.2f}"
                    yield [title, name, f"{row['goal']:g} of {row['of']}", ratio, met]
                if "limit" in row:
                    met = "met" if row[table["by"]] <= row["limit"] else "**missed**"
                    value = f"{shown(row[table['by']])} {table['unit']}"
                    yield [title, name, f"{row['limit']:,g} {table['unit']}", value, met]


def machine(runs: Mapping[str, Mapping[str, Any]]) -> str:
    found = next(iter(runs.values()))["machine"]
    versions = ", ".join(f"{name} {found[name]}" for name in ("asyncsd", "aiohttp", "anyio", "msgspec"))
    return f"{found['processor']}, {found['system']}, Python {found['python']}, {versions}.\n"


def fill(page: str, runs: Mapping[str, Mapping[str, Any]]) -> str:
    def block(match: re.Match[str]) -> str:
        kind, name, titles = match.groups()
        opening = match[0].partition("\n")[0]
        if kind == "table":
            if name not in runs:
                return match[0]  # It wasn't run: what stands there stays.
            tables: Tables = runs[name]["tables"]
            wanted = [title.strip() for title in titles.split("|")]
            if unknown := [title for title in wanted if title not in tables]:
                raise SystemExit(f"{name} has no table {unknown[0]!r}; it has {', '.join(map(repr, tables))}")
            text = whole(tables[wanted[0]]) if len(wanted) == 1 else merged(tables, wanted)
        else:
            text = goals(runs) if kind == "goals" else machine(runs)
        return f"{opening}\n{text}<!-- end -->"

    return BLOCK.sub(block, page)


def main() -> None:
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    folder, *pages = map(Path, sys.argv[1:])
    runs = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("bench_*.json"))}
    if not runs:
        raise SystemExit(f"no figures in {folder}: make bench writes them")
    for page in pages:
        page.write_text(fill(page.read_text(), runs))


if __name__ == "__main__":
    main()
