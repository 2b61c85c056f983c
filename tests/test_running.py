"""Wherever and in whatever state a study is run: what is lost is made again and nothing else, and no trace is seen."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_workflow import BASELINES, ENVIRONMENT, change, jobs, make_study, refused, run

from entia.artefacts import current, store
from entia.artefacts.unfinished import Unfinished
from entia.system import machines

pytestmark = pytest.mark.workflow

ODD = """my {study} & "co" it's: a"""
SHADOWS = ("random", "torch", "numbers", "numpy", "json", "statistics", "typing", "pandas")
BARE = {**ENVIRONMENT, "PATH": "/usr/bin:/bin"}
"""No Python of ours is on the path."""
SNAKEMAKE = str(Path(sys.executable).parent / "snakemake")


def tiny(folder: Path) -> Path:
    """A study of one cell, in a folder whose every name is awkward."""
    place = folder / ODD
    place.mkdir(parents=True)
    make_study(place)

    def one_cell(raw) -> None:
        raw["scales"]["laptop"]["experiments"] = {"twins": {"arm": "fixed", "method.weight": 0.0004}}
        raw["scales"]["laptop"]["defaults"]["epochs"] = 2
        raw["reports"] = {
            "MV-T1": {"title": "Widths", "table": "width_table", "experiments": ["twins"]},
            "MV-F2a": {"title": "Curve", "figure": "width_curve", "experiments": ["twins"]},
        }

    change(place, one_cell)
    for name in SHADOWS:
        (place / f"{name}.py").write_text("raise ImportError('the module beside params.yaml was taken')\n")
    return place


def snakemake(folder: Path, *options: str, environment=BARE) -> subprocess.CompletedProcess[str]:
    command = [SNAKEMAKE, "--cores", "2", "--quiet", "reason", *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


def make(folder: Path) -> None:
    found = snakemake(tiny(folder))
    assert found.returncode == 0, found.stderr[-3000:]


@pytest.fixture(scope="session")
def made(once) -> Path:
    """The tiny study, made by Snakemake without Python on the path, in a folder of an odd name."""
    return once("tiny", make) / ODD


@pytest.fixture
def study(made, tmp_path) -> Path:
    shutil.copytree(made, tmp_path / "study", symlinks=True)
    return tmp_path / "study"


def files(folder: Path, *parts: str) -> list[Path]:
    return sorted(path for part in parts for path in (folder / part).rglob("*") if path.is_file())


def stages(folder: Path) -> list[Path]:
    return files(folder, "data/subset", "data/checkpoints", "data/embeddings", "data/readouts")


def names(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in stages(folder)]


def written(paths: list[Path]) -> dict[Path, int]:
    """A file that is written anew is another file: its number says so, whatever its time."""
    return {path: path.stat().st_ino for path in paths}


def kind(path: Path) -> str:
    return path.parent.name + path.suffix


def of_the_cell(paths: list[Path]) -> list[Path]:
    """Those of the study's own cell and the images, without the baselines'."""
    return [path for path in paths if path.stem.startswith(("barlow_twins", "mnist5k"))]


LOST = {
    "subset.h5": {"subset.h5"},
    "checkpoints.safetensors": {"checkpoints.safetensors", "checkpoints.csv"},
    "checkpoints.csv": {"checkpoints.safetensors", "checkpoints.csv"},
    "embeddings.h5": {"embeddings.h5"},
    "readouts.json": {"readouts.json"},
}


@pytest.mark.parametrize("lost", LOST)
def test_what_is_lost_is_made_again_with_the_same_bytes_and_nothing_else_is(lost, study):
    targets, paths = names(study), stages(study)
    before, bytes_before = written(paths), {path: path.read_bytes() for path in paths}
    (gone,) = [path for path in of_the_cell(paths) if kind(path) == lost]
    again = [path for path in of_the_cell(paths) if kind(path) in LOST[lost]]
    gone.rename(study / "gone")  # kept, so that no new file gets its number
    found = snakemake(study, "--", *targets)
    assert found.returncode == 0, found.stderr[-3000:]
    assert [path for path in paths if written([path]) != {path: before[path]}] == again
    assert all(path.read_bytes() == bytes_before[path] for path in paths if path.suffix != ".csv")
    assert jobs(study, "--", *targets) == {}


@pytest.mark.parametrize(
    ("lost", "wanted"),
    [
        ("reports/tables/MV-T1.tex", {"table": 1, "index": 1}),
        ("reports/figures/MV-F2a.png", {"figure": 1, "index": 1}),
        ("reports/claims.md", {"claims": 1, "index": 1}),
        ("reports/claims.json", {"claims": 1, "index": 1}),
        ("reports/index.html", {"index": 1}),
    ],
)
def test_a_lost_table_figure_page_or_verdict_is_made_again(lost, wanted, study):
    (study / lost).unlink()
    assert jobs(study) == wanted


def test_an_input_from_the_future_costs_nothing_that_is_trained_from_it(study):
    shutil.rmtree(study / "data/checkpoints")
    for path in files(study, "data/subset"):
        os.utime(path, (2**32, 2**32))
    found = snakemake(study, "--until", "pretrain")
    assert found.returncode == 0 and "older modification time" not in found.stderr
    assert len(files(study, "data/checkpoints")) == 2 * (1 + BASELINES)
    assert "pretrain" not in jobs(study)


def test_another_subset_trains_its_cells_anew_whatever_its_time(study):
    (subset,) = files(study, "data/subset")
    arrays, head = store.read_hdf5(subset)
    arrays["train/pixels"][0] ^= 1
    store.write_hdf5(subset, arrays, {**head, "content": current.content(arrays)})
    os.utime(subset, (1, 1))
    before = written(stages(study))
    found = snakemake(study, "--", *names(study))
    assert found.returncode == 0, found.stderr[-3000:]
    changed = [path for path, number in written(stages(study)).items() if before[path] != number]
    assert changed == [path for path in stages(study) if path != subset]


def test_a_failed_job_leaves_what_was_trained_and_the_next_run_looks_at_it_again(study):
    (subset,) = files(study, "data/subset")
    whole, trained = subset.read_bytes(), {path: path.read_bytes() for path in files(study, "data/checkpoints")}
    subset.write_bytes(whole[:-100])
    found = snakemake(study, "--until", "pretrain")
    assert found.returncode != 0 and "damaged" in found.stdout + found.stderr
    assert {path: path.read_bytes() for path in files(study, "data/checkpoints")} == trained
    subset.write_bytes(whole)
    before = written(list(trained))
    assert snakemake(study, "--until", "pretrain").returncode == 0
    assert written(list(trained)) == before and "pretrain" not in jobs(study)


@pytest.mark.parametrize("stage", ["subset", "pretrain", "embed", "readout"])
def test_by_hand_what_is_current_is_not_made_again_and_by_force_it_is(stage, study):
    folder = {"pretrain": "checkpoints", "embed": "embeddings", "readout": "readouts"}.get(stage, stage)
    path = next(path for path in files(study, f"data/{folder}") if path.suffix != ".csv")
    before = written([path])
    assert "is current" in run(study, "entia", stage, path.stem).stdout and written([path]) == before
    held = os.open(path, os.O_RDONLY)  # so that no new file gets its number
    assert snakemake(study, "-f", "--", str(path.relative_to(study))).returncode == 0
    os.close(held)
    assert written([path]) != before


def test_a_study_without_records_is_not_trained_again(study):
    shutil.rmtree(study / ".snakemake")
    for path in files(study, "data/subset"):
        path.touch()
    before = written(stages(study))
    assert snakemake(study, "--", *names(study)).returncode == 0
    assert written(stages(study)) == before


# --- hostile environments -------------------------------------------------------------------------------------------

PLAN, DRY = (sys.executable, "-P", "-m", "entia.cli", "plan"), (SNAKEMAKE, "-n")
HOSTILE = {
    "no home": ({"HOME": "/proc/nowhere"}, "", ""),
    "the C locale": ({"LC_ALL": "C", "PYTHONUTF8": "0"}, "", ""),
    "no Python on the path": ({"PATH": "/usr/bin:/bin"}, "", ""),
    "closed output": ({}, ">&-", ""),
    "all streams closed": ({}, "<&- >&- 2>&-", ""),
    "a full disk to print on": ({}, "> /dev/full", "entia: standard output: No space left on device"),
}


# Snakemake prints of a full disk what Python's logging prints of it: a trace, for each line that it could not print
@pytest.mark.parametrize(
    ("command", "case"), [(PLAN, case) for case in HOSTILE] + [(DRY, case) for case in HOSTILE if "disk" not in case]
)
def test_a_hostile_environment_is_borne_or_named_in_one_line(command, case, made):
    more, redirection, message = HOSTILE[case]
    shell = ["bash", "-c", f'"$@" {redirection}', "bash", *command]
    environment = {**ENVIRONMENT, **more}
    found = subprocess.run(shell, cwd=made, env=environment, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in found.stdout + found.stderr
    if command == PLAN:
        assert found.stderr.strip() == message and found.returncode == bool(message)
        assert redirection or "1 to train (shared ones once), 1 done;" in found.stdout
    elif not redirection:
        assert found.returncode == 0 and "Nothing to be done" in found.stdout + found.stderr


def test_another_checkouts_entia_says_so(study):
    elsewhere = {**ENVIRONMENT, "PYTHONPATH": str(Path(store.__file__).parents[2])}
    found = subprocess.run(PLAN, cwd=study, env=elsewhere, capture_output=True, text=True)
    assert found.returncode == 0 and "PYTHONPATH=src" in found.stderr and str(study) in found.stderr


def test_conda_is_refused_in_a_folder_that_it_cannot_work_in(made):
    assert "conda and containers cannot work" in refused(made, "snakemake", "-n", "--use-conda")


@pytest.mark.parametrize(
    "place", ["runs.txt", "data/checkpoints/{cell}.part/deep/er", "data/checkpoints/.{cell}.lock.tmp"]
)
def test_a_folder_where_a_file_should_be_is_borne_or_named(place, study):
    (cell,) = [path.stem for path in of_the_cell(files(study, "data/checkpoints")) if path.suffix == ".csv"]
    shutil.rmtree(study / "data/checkpoints")
    place = f".snakemake/{place}" if place == "runs.txt" else place
    (study / place.format(cell=cell)).unlink(missing_ok=True)
    (study / place.format(cell=cell)).mkdir(parents=True)
    found = snakemake(study, "--until", "pretrain")
    said = found.stdout + found.stderr
    assert "Traceback" not in said
    assert found.returncode == 0 or f"entia: {place.format(cell=cell)}: Is a directory" in said.replace(f"{study}/", "")


# --- parts ----------------------------------------------------------------------------------------------------------


def test_a_part_of_a_gpu_is_locked_like_a_whole_one(tmp_path):
    part = "MIG-GPU-1a2b/3/0"
    assert machines.take_gpu([part], tmp_path) == part
    assert [path.parent for path in tmp_path.iterdir()] == [tmp_path]


def test_an_unfinished_run_is_removed_with_whatever_lies_in_it(tmp_path):
    saved = Unfinished(tmp_path / "cell.safetensors", {})
    (saved.folder / "folder/inner").mkdir(parents=True)
    saved.remove()
    assert not saved.folder.exists()


def test_the_stamp_of_an_artefact_is_its_own_checksum_and_changes_with_it(made):
    for path in stages(made):
        found = store.stamp(path)
        assert found and found.removeprefix("sha256:") in path.read_bytes().decode("latin-1")
    assert len({store.stamp(path) for path in stages(made)}) == len(stages(made))
    assert store.stamp(made / "params.yaml") is None and store.stamp(made / "data/subset/none.h5") is None


def test_the_stamp_of_a_readout_changes_with_it_and_not_with_its_raw_data(tmp_path):
    path = tmp_path / "readouts/a.json"
    stamps = []
    for accuracy in (0.5, 0.6):
        store.write_json(path, {"accuracy": accuracy}, {"raw_sha256": "1" * 64})
        stamps.append(store.stamp(path))
    assert len({*stamps}) == 2 and f"sha256:{'1' * 64}" not in stamps


ARRAYS = st.dictionaries(
    st.sampled_from("abc"),
    st.lists(st.integers(0, 255), max_size=4).map(lambda values: np.array(values, dtype=np.uint8)),
    min_size=1,
)


@given(ARRAYS, ARRAYS)
def test_contents_are_equal_just_where_names_shapes_types_and_values_are(first, second):
    same = first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)
    assert (current.content(first) == current.content(second)) == same
    assert current.content({"a": np.zeros(4, np.uint8)}) != current.content({"a": np.zeros(1, np.float32)})
