"""Seconds and memory of Snakemake's planning at many cells: nothing done, and everything done.

`python benchmarks/scale.py [CELLS ...]` prints a table and writes reports/benchmarks/scale.csv. The study's artefacts
are empty files, and `snakemake --touch` writes the records that a real run would leave: its time is what the
controller itself needs for its jobs (scheduling, checksums, records), without the tenth of a second it sleeps a job.
"""

import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": "src"}
COLUMNS = ("cells", "jobs", "plan_s", "plan_mib", "records_s", "noop_s", "noop_mib", "metadata_files", "metadata_mib")


def make_study(folder: Path, cells: int) -> None:
    for name in ("Snakefile", "workflow", "src"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    (folder / "profiles").symlink_to("workflow/profiles")
    shutil.copytree(ROOT / "data/reported", folder / "data/reported")
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    raw["scale"] = "laptop"
    seeds = list(range(cells))
    raw["scales"]["laptop"]["experiments"] = {"twins": {"arm": "fixed", "method.weight": 0.0004, "seed": seeds}}
    raw["reports"] = {"MV-T1": {"title": "Widths", "table": "width_table", "experiments": ["twins"]}}
    (folder / "params.yaml").write_text(yaml.safe_dump(raw))


def make_files(folder: Path) -> None:
    listed = 'import sys; sys.path.insert(0, "src")\nfrom entia import plan, store\nfrom pathlib import Path\n'
    listed += 'found = plan.load("params.yaml")\n'
    listed += 'for stage in ("subset", "pretrain", "embed", "readout"):\n'
    listed += "    for config in found.of(stage).values():\n        print(store.path(Path('data'), config))\n"
    text = subprocess.run([sys.executable, "-c", listed], cwd=folder, check=True, capture_output=True, text=True).stdout
    files = [Path(line) for line in text.splitlines()]
    files += [file.with_suffix(".csv") for file in files if file.suffix == ".safetensors"]
    files += [Path(f"reports/tables/MV-T1.{ending}") for ending in ("csv", "md", "tex")]
    files += [Path(f"reports/claims.{ending}") for ending in ("md", "json")]
    for file in (*files, Path("reports/index.html")):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()


WITHOUT_SLEEP = """
import sys, types, snakemake.executors.touch as touch
touch.time = types.SimpleNamespace(sleep=lambda seconds: None)
from snakemake.cli import main
main()
"""


def measured(folder: Path, *options: str) -> tuple[float, int, str]:
    """Seconds, peak MiB and the messages of a Snakemake call."""
    start = time.perf_counter()
    with (folder / "messages.txt").open("w+") as messages:
        process = subprocess.Popen(
            [sys.executable, "-c", WITHOUT_SLEEP, "--cores", "2", *options],
            cwd=folder,
            env=ENVIRONMENT,
            stdout=messages,
            stderr=messages,
        )
        _, status, usage = os.wait4(process.pid, 0)
        messages.seek(0)
        text = messages.read()
    if status:
        sys.exit(text[-3000:])
    return round(time.perf_counter() - start, 1), usage.ru_maxrss >> 10, text


def measure(cells: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_study(folder, cells)
        plan_s, plan_mib, text = measured(folder, "-n", "--quiet", "rules")
        total = int(next(line.split()[1] for line in text.splitlines() if line.startswith("total")))
        make_files(folder)
        records_s, _, _ = measured(folder, "--touch", "--forceall", "--quiet", "all")
        noop_s, noop_mib, text = measured(folder, "-n", "--quiet", "rules")
        assert "Nothing to be done" in text, text[-2000:]
        records = [path for path in (folder / ".snakemake/metadata").rglob("*") if path.is_file()]
        size = sum(record.stat().st_size for record in records) / 2**20
    numbers = (cells, total, plan_s, plan_mib, records_s, noop_s, noop_mib, len(records), round(size, 1))
    return dict(zip(COLUMNS, numbers, strict=True))


def main() -> None:
    rows = []
    print(" ".join(f"{column:>14}" for column in COLUMNS))
    for cells in map(int, sys.argv[1:] or ("100", "1000", "10000")):
        rows.append(measure(cells))
        print(" ".join(f"{rows[-1][column]:>14}" for column in COLUMNS), flush=True)
        write(rows)


def write(rows: list[dict[str, float]]) -> None:
    target = ROOT / "reports/benchmarks/scale.csv"
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
