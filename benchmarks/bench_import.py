"""What an import costs, in time and in memory: asyncsd beside aiohttp, each in a fresh Python.

All modules are compiled in advance, to a folder of this benchmark's. Figures of the process include its start
and its end; those over a bare Python are without what that takes.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _measure import Figure, Report, figure

BARE = "python"
STATEMENTS = {
    BARE: "pass",
    "asyncio": "import asyncio",
    "aiohttp": "import aiohttp",
    "aiohttp, anyio, msgspec": "import aiohttp, anyio._backends._asyncio, msgspec",
    "asyncsd": "import asyncsd",
    "asyncsd, its Consul backend": "import asyncsd, asyncsd.backends.consul",
}
FLOORS = {"asyncsd": "aiohttp", "asyncsd, its Consul backend": "aiohttp, anyio, msgspec"}
"""The core needs no aiohttp, and anyio; the backend needs all three."""
MEMORY = "\nwith open('/proc/self/smaps_rollup') as file: print(file.read(), end='')"


def imported(statement: str, compiled: str) -> tuple[float, float, float]:
    """Milliseconds of time and of CPU, and MB that are resident, of a Python that runs `statement`."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", statement + MEMORY]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    told = dict(line.split()[:2] for line in process.stdout.read().decode().splitlines()[1:])
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{statement!r} failed")
    return took * 1e3, (usage.ru_utime + usage.ru_stime) * 1e3, int(told["Rss:"]) / 1024


def main() -> None:
    report = Report(__doc__ or "")
    if not Path("/proc/self/smaps_rollup").exists():
        print("left out: memory is read from /proc/self/smaps_rollup, which Linux has", file=sys.stderr)
        raise SystemExit(0)
    samples: dict[str, list[tuple[float, float, float]]] = {name: [] for name in STATEMENTS}
    with tempfile.TemporaryDirectory() as compiled:
        for statement in STATEMENTS.values():
            imported(statement, compiled)
        for _ in range(report.rounds):
            for name, statement in STATEMENTS.items():
                samples[name].append(imported(statement, compiled))
    for number, (title, unit) in enumerate((("time", "ms"), ("CPU", "ms"), ("memory", "MB"))):
        figures = {name: figure([one[number] for one in found]) for name, found in samples.items()}
        bare = figures[BARE]
        report.add(f"import, {title} of the process", figures, floors={}, unit=unit)
        report.add(
            f"import, {title} over a bare Python",
            {name: beyond(one, bare) for name, one in figures.items() if name != BARE},
            floors=FLOORS,
            unit=unit,
        )
    report.close()


def beyond(one: Figure, bare: Figure) -> Figure:
    """What is left without the least of a bare Python."""
    return Figure(*(value - bare.least for value in one))


if __name__ == "__main__":
    main()
