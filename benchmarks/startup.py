"""What each stage's process costs before its work: seconds of a core and peak memory, beside what it must import.

    python benchmarks/startup.py [ROUNDS]

Every line is a fresh process; lines take turns. `entia STAGE --help` is what every call pays; `imports of STAGE` is
what the stage pays before it reads its first image; the last lines are floors that no code of ours can go under.
"""

import os
import subprocess
import sys
from statistics import median

from side_by_side import ROOT, processor, spread, write

IMPORTS = {
    "subset": "import h5py, numpy; from entia import datasets",
    "pretrain": "import torch; from entia import pretrain, losses; import entia.losses.redundancy",
    "embed": "import torch; from entia import embed",
    "readout": "from threadpoolctl import threadpool_limits; from entia import readout, spectrum",
    "report (a table)": "from entia import results, tables",
    "report (a figure)": "from entia import results, figures",
}
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
    stages = ("subset", "pretrain", "embed", "readout", "report")
    helps = {f"entia {stage} --help": ["-c", SHELL, stage, "--help"] for stage in stages}
    imports = {f"imports of {name}": ["-c", f"import entia.cli; {code}"] for name, code in IMPORTS.items()}
    return helps | imports | {name: ["-c", code] for name, code in FLOORS.items()}


def once(arguments: list[str]) -> tuple[float, int]:
    """Seconds of a core, and peak MiB."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"python {' '.join(arguments)}: failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss >> 10


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    runs = lines()
    for arguments in runs.values():
        once(arguments)  # reads the files, and compiles what is not compiled yet
    taken = {name: [] for name in runs}
    for _ in range(rounds):
        for name, arguments in runs.items():
            taken[name].append(once(arguments))
    rows = []
    for name, found in taken.items():
        seconds = [each for each, _ in found]
        row = {"process": name, "core_seconds": f"{median(seconds):.2f}", "spread": f"{spread(seconds):.2f}"}
        rows.append(row | {"peak_mib": max(peak for _, peak in found), "rounds": rounds, "cpu": processor()})
        print(f"{name:30}{row['core_seconds']:>8} s ±{row['spread']}{rows[-1]['peak_mib']:>8} MiB", flush=True)
    write("startup", rows)


if __name__ == "__main__":
    main()
