"""What each stage's process costs before its work: seconds and peak memory, beside what it must import.

    python benchmarks/startup.py [ROUNDS]

Every line is a fresh process; lines take turns. `entia STAGE --help` is what every call pays; `imports of STAGE` is
what the stage pays before it reads its first image, by hand or on a cluster; `a copy for STAGE` is what it pays in
place of that where Snakemake runs it on its own machine (seconds of the wall alone: the work is another process's); the
last lines are floors that no code of ours can go under.
"""

import os
import subprocess
import sys
import time
from statistics import median

from side_by_side import ROOT, processor, spread, write

from entia import job
from entia.stages import IMPORTS

FLOORS = {
    "python": "",
    "import numpy, h5py": "import numpy, h5py",
    "import torch": "import torch",
    "import pandas": "import pandas",
    "import matplotlib.figure": "import matplotlib.figure",
}
SHELL = "from entia.cli import main; main()"


def lines() -> dict[str, list[str]]:
    """Every process by its name: python's arguments."""
    helps = {f"entia {stage} --help": ["-c", SHELL, stage, "--help"] for stage in IMPORTS}
    imports = {f"imports of {stage}": ["-c", f"import entia.cli, {', '.join(late)}"] for stage, late in IMPORTS.items()}
    copies = {f"a copy for {stage}": ["-m", "entia.job", stage, "--help"] for stage in IMPORTS}
    return helps | imports | copies | {name: ["-c", code] for name, code in FLOORS.items()}


def once(arguments: list[str]) -> tuple[float, float, int]:
    """Seconds of a core, seconds of the wall, and peak MiB."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"python {' '.join(arguments)}: failed")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - begin, usage.ru_maxrss >> 10


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    os.chdir(ROOT)
    job.start("src")
    runs = lines()
    for arguments in runs.values():
        once(arguments)  # reads the files, and compiles what is not compiled yet
    taken = {name: [] for name in runs}
    for _ in range(rounds):
        for name, arguments in runs.items():
            taken[name].append(once(arguments))
    rows = []
    for name, found in taken.items():
        core, wall, peaks = zip(*found, strict=True)
        row = {"process": name, "wall_seconds": f"{median(wall):.2f}", "wall_spread": f"{spread(wall):.2f}"}
        if name.startswith("a copy"):
            row |= {"core_seconds": "", "spread": "", "peak_mib": ""}
        else:
            row |= {"core_seconds": f"{median(core):.2f}", "spread": f"{spread(core):.2f}", "peak_mib": max(peaks)}
        rows.append(row | {"rounds": rounds, "cpu": processor()})
        print(
            f"{name:30}{row['wall_seconds']:>8} s{row['core_seconds']:>8} s of a core{row['peak_mib']:>8} MiB",
            flush=True,
        )
    write("startup", rows)


if __name__ == "__main__":
    main()
