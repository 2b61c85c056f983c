"""What the benchmarks share: turns in one process, room on disk, the processor's name, a csv in reports/benchmarks/."""

import csv
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
REPORTS = ROOT / "reports" / "benchmarks"


def room() -> TemporaryDirectory[str]:
    """A folder on the repository's disk, gone at the end; git ignores what a killed benchmark leaves of it."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    return TemporaryDirectory(dir=REPORTS)


def take_turns(
    runs: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, list[float]]:
    """Seconds of every run in every round, each in its turn, so that whatever else the machine does falls on all.

    By default a CPU's seconds of this process: another process's share of the core does not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return seconds


def spread(values: Sequence[float]) -> float:
    """The median distance from the median: half of the values lie within it."""
    middle = median(values)
    return median(abs(value - middle) for value in values)


def processor() -> str:
    """The CPU's name, as its maker gives it; where the system does not tell, its architecture."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def write(name: str, rows: Sequence[Mapping[str, object]]) -> None:
    """reports/benchmarks/`name`.csv, anew."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    with (REPORTS / f"{name}.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    print(f"written: reports/benchmarks/{name}.csv", flush=True)
