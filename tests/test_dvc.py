"""DVC and Snakemake on one study, as a user runs them: real commands, real remotes, real kills."""

import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from test_workflow import BASELINES, ENVIRONMENT, artefacts, change, edit, interruptible, jobs, make_study

from entia import plan
from entia.artefacts import check

pytestmark = pytest.mark.workflow

KILLS = 20
CELLS = 3 + BASELINES
WHO = {f"GIT_{role}_{what}": "a@b.invalid" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
HERE = {**ENVIRONMENT, **WHO, "GIT_CONFIG_GLOBAL": os.devnull, "PYTHONPATH": "src"}
CONDA = {**HERE, "PATH": f"{ROOT / 'tests/conda/bin'}:{HERE['PATH']}"}
SNAKEMAKE = ("snakemake", "--cores", "2")


def run(folder: Path, *command: str, check: bool = True, env=HERE) -> str:
    """What a command prints; its exit code must be 0, or with `check=False` must not be."""
    found = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=900, input="")
    text = found.stdout + found.stderr
    assert (found.returncode == 0) == check, text[-4000:]
    assert "Traceback" not in text, text[-4000:]
    return text


def entia(folder: Path, *arguments: str, check: bool = True) -> str:
    return run(folder, sys.executable, "-m", "entia.cli", *arguments, check=check)


def commit(folder: Path) -> None:
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "a study")


def make_repository(folder: Path) -> Path:
    """The small study under git and DVC, nothing run."""
    make_study(folder)
    for name in (".gitignore", ".dvcignore", "dvc.yaml", ".dvc/config", ".dvc/.gitignore", "data/raw/.gitignore"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    run(folder, "git", "init", "-q")
    commit(folder)
    return folder


def nearest(folder: Path) -> None:
    """Another readout: the one change that these tests make, since it trains nothing anew."""
    change(folder, lambda raw: raw["defaults"].update({"probe": {"name": "neighbours", "k": 5}}))


def scramble(folder: Path) -> None:
    generator = random.Random(0)
    for path in folder.rglob("*"):
        if path.is_file() and ".git" not in path.parts:
            when = generator.uniform(1e9, 1.7e9)
            os.utime(path, (when, when))


def has_nothing_to_do(folder: Path) -> bool:
    return jobs(folder) == {} and "up to date" in run(folder, "dvc", "status")


@pytest.fixture(scope="session")
def shared(once) -> Path:
    """The study, made by `dvc repro`, committed, pushed to a folder, and left as it is."""

    def fill(folder: Path) -> None:
        make_repository(folder)
        run(folder, "dvc", "remote", "add", "-d", "folder", f"{folder}.remote")
        run(folder, "dvc", "repro")
        commit(folder)
        run(folder, "dvc", "push")

    return once("shared", fill)


@pytest.fixture
def study(shared, tmp_path) -> Path:
    """A copy of the finished study, to be changed."""
    return Path(shutil.copytree(shared, tmp_path / "study", symlinks=True))


@pytest.fixture(scope="session")
def changed(shared, once) -> Path:
    """The study with another readout: brought up to date by Snakemake alone, not yet by DVC, and left as it is."""

    def fill(folder: Path) -> None:
        shutil.copytree(shared, folder, symlinks=True, dirs_exist_ok=True)
        nearest(folder)
        run(folder, *SNAKEMAKE)

    return once("changed", fill)


# --- either tool, in any order, anywhere ------------------------------------------------------------------------------


def test_after_dvc_repro_neither_tool_has_anything_to_do_and_git_is_clean(study):
    assert has_nothing_to_do(study)
    assert "didn't change, skipping" in run(study, "dvc", "repro")
    assert run(study, "git", "status", "--short") == ""
    assert "0 older code, 0 missing, 0 weights not here, 0 foreign, 0 damaged, 0 unreadable" in entia(
        study, "check", "--raw"
    )


def test_after_snakemake_dvc_repro_runs_no_job_and_an_older_commit_comes_back_whole(shared, changed, tmp_path):
    study = Path(shutil.copytree(changed, tmp_path / "study", symlinks=True))
    text = run(study, "dvc", "repro")
    assert "Nothing to be done" in text and "rule" not in text
    assert has_nothing_to_do(study)
    commit(study)
    run(study, "git", "checkout", "-q", "HEAD~1")
    run(study, "dvc", "checkout", "--force")
    assert artefacts(study) == artefacts(shared)
    assert has_nothing_to_do(study)


def test_a_clone_pulls_everything_and_has_nothing_to_do_whatever_the_times_of_its_files(shared, tmp_path):
    run(tmp_path, "git", "clone", "-q", str(shared), "clone")
    clone = tmp_path / "clone"
    run(clone, "dvc", "pull")
    assert artefacts(clone) == artefacts(shared)
    scramble(clone)
    assert has_nothing_to_do(clone)
    nearest(clone)
    assert jobs(clone)["readout"] == CELLS and "pretrain" not in jobs(clone)


@pytest.mark.long
def test_a_clone_pulls_from_an_s3_compatible_server(study, tmp_path, monkeypatch):
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    try:
        address = "http://{}:{}".format(*server.get_host_and_port())
        for name, value in keys.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3", endpoint_url=address).create_bucket(Bucket="studies")
        run(study, "dvc", "remote", "add", "--force", "-d", "folder", "s3://studies/small")
        run(study, "dvc", "remote", "modify", "folder", "endpointurl", address)
        commit(study)
        run(study, "dvc", "push", env={**HERE, **keys})
        run(tmp_path, "git", "clone", "-q", str(study), "clone")
        run(tmp_path / "clone", "dvc", "pull", env={**HERE, **keys})
    finally:
        server.stop()
    assert artefacts(tmp_path / "clone") == artefacts(study)
    assert has_nothing_to_do(tmp_path / "clone")


# --- the same bytes by every way ---------------------------------------------------------------------------------------


def by_their_config(folder: Path) -> dict[str, bytes]:
    """Artefacts that the plan names; what an earlier plan left stays beside them."""
    left = {
        str(path.relative_to(folder)) for path in check.unplanned([plan.load(folder / "params.yaml")], folder / "data")
    }
    return {name: content for name, content in artefacts(folder).items() if name not in left}


@pytest.mark.long
def test_a_fresh_run_in_conda_environments_ends_with_the_bytes_of_an_incremental_one_without(changed, tmp_path):
    folder = make_repository(tmp_path)
    nearest(folder)
    log = tmp_path.parent / f"{tmp_path.name}.conda"
    run(folder, "dvc", "repro", env={**CONDA, "WF_ARGS": "--use-conda", "CONDA_LOG": str(log)})
    assert "env create" in log.read_text()
    made, wanted = by_their_config(folder), by_their_config(changed)
    assert made.pop("reports/metrics.json") and wanted.pop(
        "reports/metrics.json"
    )  # DVC's alone: `changed` has not run it
    assert made == wanted
    assert has_nothing_to_do(folder)
    assert "Nothing to be done" in run(folder, *SNAKEMAKE, "--use-conda", "-n", env=CONDA)


@pytest.mark.long
def test_an_experiment_in_a_temporary_folder_leaves_this_one_alone_and_its_result_can_be_taken_over(study, changed):
    before = artefacts(study)
    run(
        study,
        "dvc",
        "exp",
        "run",
        "--temp",
        "-n",
        "near",
        "-S",
        "defaults.probe.name=neighbours",
        "-S",
        "+defaults.probe.k=5",
    )
    assert artefacts(study) == before and run(study, "git", "status", "--short") == ""
    assert "MV-T1.vicreg fixed" in run(study, "dvc", "metrics", "diff", "HEAD", "near")
    assert re.search(r"defaults.probe.name +ridge +neighbours", run(study, "dvc", "params", "diff", "HEAD", "near"))
    assert "index.html" in run(study, "dvc", "plots", "diff", "HEAD", "near")
    assert "near_reports_figures_MV-F2a.svg" in {path.name for path in (study / ".dvc/tmp/plots/static").iterdir()}
    run(study, "dvc", "exp", "apply", "near")
    made, wanted = by_their_config(study), by_their_config(changed)
    assert made.pop("reports/metrics.json") != wanted.pop("reports/metrics.json")
    assert made == wanted
    assert has_nothing_to_do(study)


@pytest.mark.long
def test_queued_experiments_run_and_a_new_artefact_of_theirs_is_taken_over_whole(study):
    new = "+reports.MV-F2b={title: Again, figure: width_curve, experiments: [twins]}"
    run(study, "dvc", "exp", "run", "--queue", "-n", "more", "-S", new)
    run(study, "dvc", "exp", "run", "--run-all")
    run(study, "dvc", "exp", "apply", "more")
    assert has_nothing_to_do(study)
    assert (study / "reports/figures/MV-F2b.png").exists()


def test_dvc_can_set_a_parameter_of_params_yaml_and_what_is_like_what_stays_as_it_was(tmp_path):
    from dvc.utils.hydra import apply_overrides

    copy = Path(shutil.copy(ROOT / "params.yaml", tmp_path))
    apply_overrides(str(copy), ["scales.laptop.defaults.epochs=3"])
    before, after = (yaml.safe_load((folder / "params.yaml").read_text()) for folder in (ROOT, tmp_path))
    before["scales"]["laptop"]["defaults"]["epochs"] = 3
    assert after == before
    before, after = ((folder / "params.yaml").read_text() for folder in (ROOT, tmp_path))
    assert after.count("like:") == before.count("like:") > 100
    assert {cell.epochs for cell in plan.load(copy, "laptop").pretrains.values()} >= {3}


# --- two at once, kills --------------------------------------------------------------------------------------------------


def start(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    with (folder.parent / f"{folder.name}.said").open("w") as said:
        return subprocess.Popen(
            command, cwd=folder, env=HERE, stdout=said, stderr=said, start_new_session=True,
            preexec_fn=interruptible,
        )  # fmt: skip


def kill(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """Signals the whole group, and waits for all of it."""
    os.killpg(process.pid, how)
    process.wait(timeout=120)
    while group(process.pid):
        time.sleep(0.05)


def group(leader: int) -> list[int]:
    """Processes of a session that still run."""
    found: list[int] = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = status.read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(session) == leader and state != "Z":
            found.append(int(status.parent.name))
    return found


def wait_for(folder: Path, pattern: str) -> None:
    deadline = time.monotonic() + 120
    while not any(folder.glob(pattern)):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


@pytest.mark.long
@pytest.mark.parametrize("first", [SNAKEMAKE, ("dvc", "repro"), ("dvc", "exp", "run")], ids=["snakemake", "dvc", "exp"])
def test_two_runs_at_once_the_second_says_so_and_exits(first, study):
    before = artefacts(study)
    change(study, lambda raw: raw["scales"]["laptop"]["defaults"].update({"epochs": 400}))
    process = start(study, *first)
    try:
        wait_for(study, "data/checkpoints/*.part/state.safetensors")
        os.killpg(process.pid, signal.SIGSTOP)  # at work, however long the others take, and in nobody's way
        assert "cannot be locked" in run(study, *SNAKEMAKE, check=False)
        assert re.search("cannot be locked|is busy", run(study, "dvc", "repro", check=False))
        assert re.search("cannot be locked|is busy|lock", run(study, "dvc", "exp", "run", check=False))
        assert process.poll() is None
    finally:
        os.killpg(process.pid, signal.SIGCONT)
        kill(process, signal.SIGINT)
    assert before.items() <= artefacts(study).items()


@pytest.mark.long
def test_runs_killed_at_random_moments_end_with_the_same_bytes(shared, tmp_path):
    folder = make_repository(tmp_path)
    generator = random.Random(KILLS)
    ways = itertools.cycle([signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
    kills = 0
    while kills < KILLS:
        process = start(folder, *generator.choice([SNAKEMAKE, ("dvc", "repro")]))
        try:
            process.wait(generator.uniform(1, 8))
        except subprocess.TimeoutExpired:
            kill(process, next(ways))
            kills += 1
        else:  # finished: begin anew, but for the subset
            assert process.returncode == 0, (folder.parent / f"{folder.name}.said").read_text()[-3000:]
            for part in ("checkpoints", "embeddings", "readouts"):
                shutil.rmtree(folder / "data" / part)
    run(folder, "dvc", "repro")
    assert artefacts(folder) == artefacts(shared)
    assert has_nothing_to_do(folder)


# --- damage ---------------------------------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    """Flips one bit, and leaves the file's times as they were."""
    times, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def first_of(folder: Path, kind: str, ending: str) -> Path:
    return sorted((folder / "data" / kind).glob(f"*{ending}"))[0]


KINDS = [
    ("subset", ".h5"),
    ("checkpoints", ".safetensors"),
    ("checkpoints", ".csv"),
    ("embeddings", ".h5"),
    ("readouts", ".json"),
]


def test_a_flipped_bit_in_every_kind_of_artefact_is_found_never_recorded_and_mended_when_the_user_says_so(
    study, shared
):
    lock = (study / "dvc.lock").read_bytes()
    files = [first_of(study, *kind) for kind in KINDS]
    for file in files:
        flip(file)
    spoilt = artefacts(study)
    text = entia(study, "check", "--quiet", check=False)
    assert [line.split()[1] for line in text.splitlines() if line.startswith("damaged")] == [
        str(f.relative_to(study)) for f in files
    ]
    assert "delete it and run again to rebuild it" in text
    run(study, "dvc", "repro", check=False)
    assert (study / "dvc.lock").read_bytes() == lock and artefacts(study) == spoilt
    for file in files:
        file.unlink()
    run(study, "dvc", "repro")
    assert artefacts(study) == artefacts(shared)


@pytest.mark.long
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind[1] != ".csv"], ids=lambda kind: kind[0])
def test_flipped_bits_are_found_wherever_they_are(kind, shared, tmp_path):
    import warnings

    source = first_of(shared, *kind)
    target = tmp_path / source.name
    content, generator, missed = source.read_bytes(), random.Random(0), 0
    read = {".h5": check.store.read_hdf5, ".safetensors": check.store.read_tensors, ".json": check.store.read_json}[
        kind[1]
    ]
    whole = repr(read(source))
    for _ in range(40):
        spoilt = bytearray(content)
        spoilt[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        target.write_bytes(spoilt)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert repr(read(target)) == whole  # in a gap that holds nothing: what is read is what was written
                missed += 1
            except check.Problem as problem:
                assert "damaged" in str(problem)
    assert missed < 20


def test_another_cells_artefact_under_a_cells_name_is_foreign_and_never_used(study):
    ours, other = sorted((study / "data/embeddings").glob("*.h5"))[:2]
    shutil.copy(other, ours)
    assert f"foreign     data/embeddings/{ours.name}" in entia(study, "check", check=False)
    (key,) = (
        path.stem
        for path in (study / "data/readouts").glob("*.json")
        if check.naming.name(plan.load(study / "params.yaml").readouts[path.stem].embed) == ours.stem
    )
    (study / f"data/readouts/{key}.json").unlink()
    assert f"entia: data/embeddings/{ours.name}: foreign" in run(study, *SNAKEMAKE, check=False)


def test_results_of_older_code_and_of_other_raw_data_are_told_apart(study):
    edit(study, "readout")
    assert f"{1 + 3 * CELLS} current, {CELLS} older code, 0 missing, 0 weights not here, 0 foreign" in entia(
        study, "check"
    )
    file = first_of(study, "checkpoints", ".safetensors")
    tensors, head = check.store.read_tensors(file)
    check.store.write_tensors(file, tensors, {**head, "raw_sha256": "0" * 64})
    assert re.search(
        rf"foreign +{file.relative_to(study)} +\(made from other raw data", entia(study, "check", check=False)
    )


# --- pruning ----------------------------------------------------------------------------------------------------------------


def test_prune_removes_what_no_scale_names_and_a_remote_holds_and_never_raw_data(study, changed):
    raw = study / "data/raw/mine.png"
    raw.write_text("mine")
    old = sorted(path.name for path in (study / "data/readouts").iterdir())
    nearest(study)
    for path in (changed / "data/readouts").iterdir():
        shutil.copy(path, study / "data/readouts")
    unsaved = study / "data/readouts/of-nobody-0123456789.json"
    unsaved.write_text("{}")
    text = entia(study, "prune")
    assert f"{CELLS + 1} files are not named at scale laptop, paper; {CELLS} may go" in text
    assert re.search(rf"UNSAVED +{unsaved.relative_to(study)}", text) and "removed" not in text
    assert f"{CELLS} files removed" in entia(study, "prune", "--yes")
    left = {path.name for path in (study / "data/readouts").iterdir()}
    assert unsaved.exists() and raw.exists() and not left & set(old) and len(left) == CELLS + 1
    assert not {"subset", "pretrain", "embed"} & jobs(study).keys()
    assert "1 files removed" in entia(study, "prune", "--yes", "--even-unsaved")
    assert not unsaved.exists() and raw.exists()


def test_prune_keeps_what_another_scale_names_unless_told(study):
    raw = yaml.safe_load((study / "params.yaml").read_text())
    raw["scales"]["paper"] = raw["scales"]["laptop"]
    raw["scales"]["laptop"] = {"defaults": raw["scales"]["laptop"]["defaults"], "experiments": {}}
    (study / "params.yaml").write_text(yaml.safe_dump(raw))
    assert entia(study, "prune").startswith("0 files are not named")
    files = 1 + 4 * CELLS  # a log beside each cell's weights
    assert f"{files} files are not named at scale laptop; {files} may go" in entia(study, "prune", "--other-scales")


def test_without_a_remote_nothing_counts_as_stored(study):
    run(study, "dvc", "remote", "remove", "folder")
    nearest(study)
    text = entia(study, "prune", "--yes")
    assert f"{CELLS} files are not named" in text and "0 may go" in text and "removed" not in text


def test_metrics_hold_every_artefacts_mean_accuracies(shared):
    (found,) = json.loads((shared / "reports/metrics.json").read_text()).values()
    assert set(found) == {"MV-T1", "MV-F2a"}
    assert set(found["MV-T1"]) == {"twins fixed", "twins tuned", "vicreg fixed", "vicreg tuned"}
    assert all(0 < value <= 1 for part in found.values() for value in part.values())
