"""Seconds of a core and memory of Snakemake's planning at many cells: nothing done, and everything done.

`python benchmarks/scale.py [CELLS ...]` prints a table and writes reports/benchmarks/scale.csv. Artefacts are empty
files. Up to a thousand cells `snakemake --touch` writes the records that a real run leaves; its time is what the
controller itself needs for its jobs (scheduling, checksums, records), without the tenth of a second that it sleeps for
each. Beyond, records are copies.
"""

import base64
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": "src"}
COLUMNS = (
    "cells",
    "jobs",
    "plan_s",
    "plan_mib",
    "controller_s",
    "noop_s",
    "noop_mib",
    "metadata_files",
    "metadata_mib",
)
STAGES = ("subset", "pretrain", "embed", "readout")
LIST = f"""
import json, sys
sys.path.insert(0, "src")
from pathlib import Path
from entia import plan; from entia.artefacts import store
found, data = plan.load("params.yaml"), Path("data")
print(json.dumps({{stage: [str(store.path(data, of)) for of in found.of(stage).values()] for stage in {STAGES}}}))
"""


def make_study(folder: Path, cells: int) -> None:
    for name in ("Snakefile", "workflow", "src"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    (folder / "profiles").symlink_to("workflow/profiles")
    shutil.copytree(ROOT / "data/reported", folder / "data/reported")
    change_seeds(folder, cells)


def change_seeds(folder: Path, cells: int) -> None:
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    raw["scale"] = "laptop"
    seeds = list(range(cells))
    raw["scales"]["laptop"]["experiments"] = {"twins": {"arm": "fixed", "method.weight": 0.0004, "seed": seeds}}
    raw["reports"] = {"MV-T1": {"title": "Widths", "table": "width_table", "experiments": ["twins"]}}
    (folder / "params.yaml").write_text(yaml.safe_dump(raw))


def artefacts(folder: Path) -> dict[str, list[str]]:
    """Every stage's files, cells in the same order in each."""
    return json.loads(subprocess.run([sys.executable, "-c", LIST], cwd=folder, check=True, capture_output=True).stdout)


def make_files(folder: Path) -> None:
    files = [Path(file) for part in artefacts(folder).values() for file in part]
    files += [file.with_suffix(".csv") for file in files if file.suffix == ".safetensors"]
    files += [Path(f"reports/tables/MV-T1.{ending}") for ending in ("csv", "md", "tex")]
    files += [Path(f"reports/claims.{ending}") for ending in ("md", "json")]
    for file in (*files, Path("reports/index.html")):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()


def copy_records(folder: Path, cells: int) -> None:
    """Gives every cell the records of the first, its names in place of the first's; then those of what all share."""
    shutil.rmtree(folder / "workflow")
    for name in ("Snakefile", "src", "data/reported"):
        (shutil.rmtree if (folder / name).is_dir() else Path.unlink)(folder / name)
    (folder / "profiles").unlink()
    make_study(folder, 1)
    measured(folder, "--touch", "--forceall", "--quiet", "all")
    first = artefacts(folder)
    change_seeds(folder, cells)
    every = artefacts(folder)
    where = folder / ".snakemake/metadata"
    for cell in range(1, cells):
        old = [Path(first[stage][0]).stem for stage in STAGES[1:]]
        new = [Path(every[stage][cell]).stem for stage in STAGES[1:]]
        pairs = [*zip(old, new, strict=True), *((o[-10:], n[-10:]) for o, n in zip(old, new, strict=True))]
        for stage in STAGES[1:]:
            for ending in (".safetensors", ".csv") if stage == "pretrain" else (Path(every[stage][0]).suffix,):
                record = (where / name_of(Path(first[stage][0]).with_suffix(ending))).read_text()
                for before, after in pairs:
                    record = record.replace(before, after)
                (where / name_of(Path(every[stage][cell]).with_suffix(ending))).write_text(record)
    measured(folder, "--touch", "--quiet", "all")


def name_of(path: Path) -> str:
    return base64.b64encode(str(path).encode()).decode()


WITHOUT_SLEEP = """
import sys, types, snakemake.executors.touch as touch
touch.time = types.SimpleNamespace(sleep=lambda seconds: None)
from snakemake.cli import main
main()
"""


def measured(folder: Path, *options: str) -> tuple[float, int, str]:
    """Seconds of a core (whatever else the machine does), peak MiB and the messages of a Snakemake call."""
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
    return round(usage.ru_utime + usage.ru_stime, 1), usage.ru_maxrss >> 10, text


def measure(cells: int) -> dict[str, float | str]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_study(folder, cells)
        plan_s, plan_mib, text = measured(folder, "-n", "--quiet", "rules")
        total = int(next(line.split()[1] for line in text.splitlines() if line.startswith("total")))
        make_files(folder)
        controller_s: float | str = ""
        if cells > 1000:
            copy_records(folder, cells)
        else:
            controller_s, _, _ = measured(folder, "--touch", "--forceall", "--quiet", "all")
        noop_s, noop_mib, text = measured(folder, "-n", "--quiet", "rules")
        assert "Nothing to be done" in text, text[-2000:]
        records = [path for path in (folder / ".snakemake/metadata").rglob("*") if path.is_file()]
        size = sum(record.stat().st_size for record in records) / 2**20
    numbers = (cells, total, plan_s, plan_mib, controller_s, noop_s, noop_mib, len(records), round(size, 1))
    return dict(zip(COLUMNS, numbers, strict=True))


def main() -> None:
    rows = []
    print(" ".join(f"{column:>14}" for column in COLUMNS))
    for cells in map(int, sys.argv[1:] or ("100", "1000", "10000")):
        rows.append(measure(cells))
        print(" ".join(f"{rows[-1][column]:>14}" for column in COLUMNS), flush=True)
        write(rows)


def write(rows: list[dict[str, float | str]]) -> None:
    target = ROOT / "reports/benchmarks/scale.csv"
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
