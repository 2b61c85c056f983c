"""`entia run` on a borrowed machine and `entia adopt` at home: real processes, real kills, real archives."""

import contextlib
import functools
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from test_workflow import ENVIRONMENT, change, interruptible, jobs, make_study, refused, run

from entia import config, naming, plan, stages
from entia.artefacts import adopted, archive, check
from entia.fields import Problem
from entia.planning import baselines
from entia.reports import files
from entia.running import borrowed, crew, pace

SCALE = "gpu_minutes"
RUN = ("entia", "run", "--scale", SCALE)
PACKED = f"entia-{SCALE}.tar.gz"
SIDES = 2
"""Raw pixels of these images are read out at 8 and at 16 a side, which no seed changes."""
CELLS = 3 * 2 + 2 + SIDES
"""Of a study of two seeds, with an untrained encoder each."""


def make_borrowed(folder: Path, seeds: int = 2, epochs: int = 3) -> Path:
    """A repository with a commit, whose small study is another scale's than params.yaml's."""
    folder.mkdir(exist_ok=True)
    make_study(folder)

    def edit(raw) -> None:
        small = raw["scales"][SCALE] = raw["scales"]["laptop"]
        raw["scales"]["laptop"] = {"defaults": {}, "experiments": {}}
        small["defaults"]["epochs"] = epochs
        for block in [block for blocks in small["experiments"].values() for block in blocks]:
            block["seed"] = list(range(seeds))

    change(folder, edit)
    shutil.copy(ROOT / ".gitignore", folder)
    for command in ("init -q", "add -A", "-c user.name=a -c user.email=a@b commit -q -m study"):
        run(folder, "git", *command.split())
    return folder


def clone(folder: Path, target: Path) -> Path:
    run(folder, "git", "clone", "-q", ".", str(target))
    return target


def commit_of(folder: Path) -> str:
    return run(folder, "git", "rev-parse", "HEAD").stdout.strip()


def readouts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "data/readouts").glob("[!.]*")}


def names(packed: Path) -> list[str]:
    with tarfile.open(packed) as tar:
        return tar.getnames()


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*RUN, *options], cwd=folder, env=ENVIRONMENT, text=True, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=interruptible,
    )  # fmt: skip


@pytest.fixture(scope="session")
def made(once) -> Path:
    """The study, made by one uninterrupted run, and left as it is."""
    return once("borrowed", lambda folder: run(make_borrowed(folder), *RUN))


@pytest.fixture
def home(made, tmp_path) -> Path:
    """A clone, in which nothing has been made."""
    return clone(made, tmp_path / "home")


# --- a run --------------------------------------------------------------------------------------------------------


@pytest.mark.workflow
def test_a_run_ends_in_time_packs_and_is_drawn_in_a_fresh_clone(tmp_path):
    folder = make_borrowed(tmp_path / "borrowed", seeds=200)
    before = time.monotonic()
    said = run(folder, *RUN, "--seconds", "60").stderr
    assert time.monotonic() - before < 60
    done = len(list((folder / "data/readouts").glob("*.json")))
    cells = 3 * 200 + 200 + SIDES  # and each seed's untrained encoder
    assert SIDES < done < cells and f"{done} of {cells} cells done" in said and "left; the same command goes on" in said
    assert f"entia adopt {PACKED}" in said.splitlines()[-1]
    home = clone(folder, tmp_path / "home")
    told = run(home, "entia", "adopt", str(folder / PACKED)).stdout
    assert readouts(home) == readouts(folder)
    page = (home / f"reports/{SCALE}/index.html").read_text()
    assert commit_of(folder) in page and "weights not here" in page and f"{done} cells taken up" in told
    assert (home / f"reports/{SCALE}/figures/MV-F2a.png").read_bytes().startswith(b"\x89PNG")
    assert f"{SCALE} scale" in (home / f"reports/{SCALE}/tables/MV-T1.md").read_text()
    run(home, "entia", "record", "--scale", SCALE)
    origin = (home / f"recorded/{SCALE}/README.md").read_text()
    assert f"{done} of {cells} pretraining runs at {SCALE} scale" in origin and commit_of(folder) in origin
    assert (home / f"recorded/{SCALE}/figures/MV-F2a.png").exists()


def test_a_run_makes_what_snakemake_makes(made, tmp_path):
    folder = clone(made, tmp_path / "snakemake")
    change(folder, lambda raw: raw.update(scale=SCALE))
    cell = next(name for name in readouts(made) if name.startswith("vicreg"))
    run(folder, "snakemake", "--cores", "2", "--quiet", "all", "--", f"data/readouts/{cell}")
    assert readouts(folder)[cell] == readouts(made)[cell]


@pytest.mark.long
@pytest.mark.workflow
def test_a_run_killed_at_random_moments_ends_with_the_same_readouts(made, home):
    generator = random.Random(2)
    for _ in range(5):
        before = progress(home)
        process = start(home)
        # it must get on before it is killed, or a slow machine would never end
        while process.poll() is None and progress(home) == before:
            time.sleep(0.02)
        time.sleep(generator.uniform(0, 1.0))
        assert process.poll() is None, "it ended before it could be killed"
        whom = os.kill if generator.random() < 0.5 else os.killpg  # alone, or with all that it began
        whom(process.pid, signal.SIGKILL)
        process.communicate()
    assert len(readouts(home)) < len(readouts(made))
    run(home, *RUN)
    assert readouts(home) == readouts(made) and sorted(names(home / PACKED)) == sorted(names(made / PACKED))
    assert not list((home / "data").rglob("*.part"))


def cells_of(folder: Path, method: str) -> list[str]:
    return [name for name in plan.load(folder / "params.yaml", SCALE).pretrains if name.startswith(method)]


def progress(folder: Path) -> set[tuple[str, int]]:
    """All that lies in data/, with times of the states of unfinished cells."""
    found = (path for path in (folder / "data").rglob("*") if not path.name.startswith("."))
    return {(str(path), path.stat().st_mtime_ns) for path in found if path.suffix in (".h5", ".json", ".safetensors")}


@pytest.mark.workflow
def test_ctrl_c_saves_packs_and_leaves_no_process(tmp_path):
    folder = make_borrowed(tmp_path / "borrowed", seeds=50)
    process = start(folder, "--archive", "some/where.tar.gz")
    while ": done" not in process.stderr.readline():
        pass
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 130 and "Traceback" not in said
    assert "entia adopt where.tar.gz" in said.splitlines()[-1]
    assert len(names(folder / "some/where.tar.gz")) >= 3 and not list((folder / "data").rglob(".*.tmp"))
    deadline = time.monotonic() + 30
    while left := group(process.pid):  # what Python itself began ends a moment later
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def group(leader: int) -> list[int]:
    """Processes of a group that still run."""
    found: list[int] = []
    for each in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getpgid(each.pid) == leader and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each.pid)
    return found


@pytest.mark.workflow
def test_a_cell_that_fails_is_named_and_the_others_are_made(made, tmp_path):
    folder = clone(made, tmp_path / "failing")
    for cell in cells_of(folder, "vicreg"):
        state = folder / f"data/checkpoints/{cell}.part/state.safetensors"
        state.parent.mkdir(parents=True)
        state.write_bytes(b"of no run")
    found = run(folder, *RUN, check=False)
    assert found.returncode == 1 and "Traceback" not in found.stderr
    assert found.stderr.count("failed: vicreg") == 2 and "state.safetensors: damaged" in found.stderr
    assert len(readouts(folder)) == CELLS - 2 and len(names(folder / PACKED)) == 1 + 2 * (CELLS - 2)


@pytest.mark.workflow
def test_a_cell_that_diverges_is_carried_home_and_drawn_as_that(made, tmp_path):
    folder = clone(made, tmp_path / "diverging")
    blocks = ["scales", SCALE, "experiments", "vicreg"]
    change(
        folder, lambda raw: [block.update({"optimizer.lr": 1e30}) for block in functools.reduce(dict.get, blocks, raw)]
    )
    assert f"{CELLS} of {CELLS} cells done" in run(folder, *RUN).stderr
    home = clone(folder, tmp_path / "home")
    shutil.copy(folder / "params.yaml", home)
    run(home, "entia", "adopt", str(folder / PACKED))
    assert readouts(home) == readouts(folder)
    assert "2 runs diverged" in (home / f"reports/{SCALE}/tables/MV-T1.md").read_text()


def test_what_a_read_only_archive_folder_forbids_is_said_before_anything_runs(home, monkeypatch):
    monkeypatch.chdir(home)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "closed")
    (home / "closed").mkdir()
    found = plan.load("params.yaml", SCALE)
    with pytest.raises(Problem, match="closed: cannot be written"):
        borrowed.run(found, Path("data"), borrowed.Wanted(60, 1, Path("closed/a.tar.gz"), False))
    assert not list((home / "data").glob("subset"))


def test_a_folder_in_the_archives_place_is_said_before_anything_runs(home, monkeypatch):
    monkeypatch.chdir(home)
    (home / "packed").mkdir()
    with pytest.raises(Problem, match="packed: --archive: a folder is there; name the file to pack into"):
        borrowed.run(plan.load("params.yaml", SCALE), Path("data"), borrowed.Wanted(60, 1, Path("packed"), False))
    assert not list((home / "data").glob("subset"))


# --- what is made first, and what no more -------------------------------------------------------------------------


def test_reports_come_in_their_order_and_in_each_all_arms_of_a_seed_before_the_next():
    found = plan.load(ROOT / "params.yaml", SCALE)
    order = [naming.name(cell) for cell in borrowed.by_value(found)]
    assert sorted(order) == sorted(found.pretrains)
    trained = [name for name in order if not baselines.is_one(found.pretrains[name])]
    assert len(trained) == 28
    first = next(iter(found.reports))
    assert set(trained[: len(found.cells(first))]) == set(found.cells(first))
    seeds = [found.pretrains[name].seed for name in trained[: len(found.cells(first))]]
    assert seeds == sorted(seeds) and len(set(seeds)) > 1


def test_what_a_cell_is_held_against_is_made_before_it():
    found = plan.load(ROOT / "params.yaml", SCALE)
    order = borrowed.by_value(found)
    for rows in found.rows.values():
        for readout in (found.readouts[row.readout] for row in rows):
            beside = [order.index(of.embed.pretrain) for _, of in baselines.of(readout)]
            assert len(beside) == 4 and max(beside) < order.index(readout.embed.pretrain)


def trained_of(found: plan.Plan) -> list[config.Pretrain]:
    """The cells in order, without the baselines."""
    return [cell for cell in borrowed.by_value(found) if not baselines.is_one(cell)]


def study_of(home: Path, seconds: float) -> borrowed.Study:
    return borrowed.Study(
        plan.load(home / "params.yaml", SCALE), home / "data", borrowed.Wanted(seconds, 1, home / PACKED, False)
    )


def rows_of(cell: config.Pretrain, seconds: float) -> list[dict[str, str]]:
    return [{"seconds": str(seconds / cell.epochs), "warmup_seconds": "0", "view_images": "600"}] * cell.epochs


@settings(max_examples=20, deadline=None)
@given(took=st.floats(0.1, 200), left=st.floats(1, 400))
def test_no_cell_is_begun_that_would_not_fit_but_the_first_is(made, took, left):
    study = study_of(made, 1e6)
    study.asked = time.time() + left
    untrained = next(filter(baselines.is_one, study.plan.pretrains.values()))
    study.pace.trained(untrained, took, rows_of(untrained, took))
    one, two, *_ = trained_of(study.plan)
    assert study.fits(one, time.time()), "nothing is known yet"
    study.pace.trained(one, took, rows_of(one, took))
    assert study.fits(two, time.time()) == (took * pace.MARGIN <= study.asked - time.time())


@pytest.mark.workflow
def test_what_was_made_at_the_last_moment_counts_as_done(made, home):
    study = study_of(home, 1e6)
    all_left = dict(study.left)
    study.made_at_last([*all_left.values(), None])
    assert study.left == all_left, "nothing is made there"
    study.data = made / "data"
    study.made_at_last([job for job in all_left.values() if job.step != "readout"])
    assert {job.step for job in study.left.values()} == {"readout"}


def test_a_shorter_cell_is_begun_where_the_next_in_value_does_not_fit():
    found = plan.load(ROOT / "params.yaml", SCALE)
    cells = trained_of(found)
    going = pace.Pace()
    going.trained(cells[0], 10.0, rows_of(cells[0], 10.0))
    assert len({round(going.needed(cell), 3) for cell in cells}) > 1
    resumed = pace.Pace()
    resumed.trained(cells[0], 1.0, rows_of(cells[0], 10.0))  # nine tenths of it were trained in an earlier run
    assert resumed.needed(cells[1]) == going.needed(cells[1])


def test_a_process_that_makes_many_cells_counts_once_on_its_gpu(monkeypatch):
    taken: list[str] = []
    stages._device.cache_clear()
    monkeypatch.setattr(stages.machines, "gpus", lambda: ["0", "1"])
    monkeypatch.setattr(stages.machines, "take_gpu", lambda found: taken.append(found[0]) or found[0])
    monkeypatch.setattr(os, "environ", dict(os.environ))  # the chosen GPU is written there
    for _ in range(3):
        stages.take_device(1)
    stages._device.cache_clear()
    assert taken == ["0"]


@pytest.mark.parametrize(
    ("gpus", "cores", "each", "wanted"),
    [(0, 2, None, (2, 1)), (0, 8, 3, (3, 5)), (1, 16, None, (1, 12)), (1, 16, 3, (3, 12)), (4, 16, 2, (8, 8))],
)
def test_each_gpu_has_its_trainers_and_the_other_cores_read_out(gpus, cores, each, wanted, monkeypatch):
    hired: list[tuple[str, tuple[str, ...]]] = []
    monkeypatch.setattr(crew, "Worker", lambda name, steps: hired.append((name, steps)))
    monkeypatch.setattr(crew.machines, "cores", lambda: cores)
    monkeypatch.setattr(crew.machines, "gpus", lambda: [str(gpu) for gpu in range(gpus)])
    monkeypatch.setattr(os, "environ", dict(os.environ))
    jobs = borrowed.jobs(plan.load(ROOT / "params.yaml", SCALE), lambda _: False)
    crew.assemble(jobs.values(), each)
    trainers = [steps for _, steps in hired if "pretrain" in steps]
    assert (len(trainers), len(hired) - len(trainers)) == wanted
    assert all(("embed" in steps) == bool(gpus) for steps in trainers)


# --- adopting -----------------------------------------------------------------------------------------------------


@pytest.mark.workflow
def test_what_was_adopted_is_not_trained_again_unasked(made, home):
    run(home, "entia", "adopt", str(made / PACKED))
    states = run(home, "entia", "check", "--scale", SCALE).stdout
    assert states.count("weights not here  data/checkpoints") == CELLS and "0 missing" in states
    assert commit_of(made) in states
    change(home, lambda raw: raw.update(scale=SCALE))
    assert jobs(home) == {}
    assert f"{CELLS} of {CELLS} cells done" in run(home, *RUN).stderr and names(home / PACKED) == names(made / PACKED)
    left = run(home, "entia", "plan", "--commands").stdout.splitlines()[1:]
    assert {line.split()[1] for line in left} == {"report", "claims", "index"}
    # one cell is asked for again, by deleting its readout: that one alone is trained
    next((home / "data/readouts").glob("vicreg*")).unlink()
    asked = jobs(home)
    assert [asked.get(rule) for rule in ("subset", "pretrain", "embed", "readout")] == [1, 1, 1, 1]
    run(home, "snakemake", "--cores", "2", "--quiet", "all")
    assert readouts(home) == readouts(made) and jobs(home) == {}
    assert f"{CELLS - 1} of {CELLS} cells: weights not here" in (home / f"reports/{SCALE}/index.html").read_text()
    run(home, "entia", "adopt")  # Snakemake's own records of what was made here are as before
    assert jobs(home) == {}


def test_cells_that_were_trained_here_stay(made, tmp_path, monkeypatch):
    here = tmp_path / "here"
    shutil.copytree(made, here, symlinks=True)
    kept = {path: path.stat().st_mtime_ns for path in (here / "data").rglob("*.*")}
    monkeypatch.chdir(here)
    _, taken, ours = archive.take_up(here / PACKED, functools.partial(plan.load, "params.yaml"), Path("data"))
    assert taken == [] and len(ours) == CELLS
    assert {path: path.stat().st_mtime_ns for path in (here / "data").rglob("*.*")} == kept


@pytest.fixture(scope="module")
def packed(made) -> Path:
    return made / PACKED


def take(packed: Path, made: Path, target: Path) -> dict[str, bytes]:
    """What an archive leaves in an empty folder; Problem, and nothing left, if it is refused."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    (target / "params.yaml").symlink_to(made / "params.yaml")
    before = Path.cwd()
    os.chdir(target)
    try:
        archive.take_up(packed, functools.partial(plan.load, "params.yaml"), Path("data"))
    except Problem as problem:
        assert "\n" not in str(problem) and str(packed) in str(problem)
        assert [path for path in target.rglob("*") if path.is_file() and path.name != "params.yaml"] == []
        raise
    finally:
        os.chdir(before)
    return {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("data/*/*")}


@pytest.fixture(scope="module")
def whole(packed, made, tmp_path_factory) -> dict[str, bytes]:
    return take(packed, made, tmp_path_factory.mktemp("whole"))


@settings(max_examples=40, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255), length=st.none() | st.floats(0, 0.999))
def test_a_damaged_archive_is_refused_in_one_line_or_gives_the_same(
    packed, made, whole, tmp_path_factory, place, bits, length
):
    content = bytearray(packed.read_bytes())
    if length is None:
        content[int(place * len(content))] ^= bits
    else:
        del content[int(length * len(content)) :]
    damaged = tmp_path_factory.mktemp("damaged") / "a.tar.gz"
    damaged.write_bytes(content)
    try:
        assert take(damaged, made, damaged.parent / "home") == whole  # the day in gzip's header, its name
    except Problem:
        pass


def rewritten(packed: Path, target: Path, edit) -> Path:
    """A copy whose members `edit` has had its way with."""
    with tarfile.open(packed) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]
    with tarfile.open(target, "w:gz") as tar:
        for member, content in edit(members):
            member.size = len(content) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(content))
    return target


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    return found


def renamed(members, to: str):
    members[1][0].name = to
    return members


def swapped(members):
    (first, a), (second, b) = members[1], members[2]
    return [members[0], (first, b), (second, a), *members[3:]]


def linked(members, kind: bytes, link: str):
    return [*members[:-1], (member(members[-1][0].name, kind, link), b"")]


def with_manifest(members, old: bytes, new: bytes):
    assert old in members[0][1]
    return [(members[0][0], members[0][1].replace(old, new)), *members[1:]]


HOSTILE = {
    "an absolute path": lambda m: renamed(m, "/etc/entia-was-here"),
    "a path above": lambda m: renamed(m, "../../was-here"),
    "a path above, hidden": lambda m: renamed(m, f"readouts/../{m[1][0].name}"),
    "no planned name": lambda m: renamed(m, "readouts/of-nobody-0123456789.json"),
    "a symbolic link": lambda m: linked(m, tarfile.SYMTYPE, "/etc/passwd"),
    "a hard link": lambda m: linked(m, tarfile.LNKTYPE, m[1][0].name),
    "a device": lambda m: linked(m, tarfile.CHRTYPE, ""),
    "a pipe": lambda m: linked(m, tarfile.FIFOTYPE, ""),
    "a folder": lambda m: [*m, (member("readouts", tarfile.DIRTYPE), b"")],
    "a file twice": lambda m: [*m, m[1]],
    "a readout under another's name": swapped,
    "no manifest": lambda m: m[1:],
    "an unknown scale": lambda m: with_manifest(m, SCALE.encode(), b"../.."),
    "a commit that is none": lambda m: with_manifest(m, b'"commit": "', b'"commit": "<script>'),
    "a manifest that is no JSON": lambda m: with_manifest(m, b"{", b"["),
    "a log that is missing": lambda m: m[:-1],
    "nothing": lambda m: m[:1],
    "a file of 17 MiB": lambda m: [m[0], (m[1][0], b" " * (17 << 20)), *m[2:]],
    "depth without end": lambda m: [m[0], (m[1][0], b"[" * 100_000), *m[2:]],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused_in_one_line_and_nothing_is_changed(case, packed, made, tmp_path):
    hostile = rewritten(packed, tmp_path / "a.tar.gz", HOSTILE[case])
    with pytest.raises(Problem, match="nothing was taken up"):
        take(hostile, made, tmp_path / "home")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "home"]


def test_a_tar_whose_header_claims_gigabytes_is_refused_before_they_are_read(made, tmp_path):
    claim = tarfile.TarInfo("manifest.json")
    claim.type, claim.size = tarfile.XHDTYPE, 1 << 33
    import gzip

    with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
        file.write(claim.tobuf(format=tarfile.GNU_FORMAT) + b"0" * 1024)
    with pytest.raises(Problem, match="larger than any that it may hold"):
        take(tmp_path / "a.tar.gz", made, tmp_path / "home")


def test_a_readout_rewritten_with_a_right_checksum_but_no_sense_is_refused(made, packed, tmp_path):
    name = next(iter(readouts(made)))
    body = check.store.read_json(made / "data/readouts" / name)
    for nonsense in ({"metrics": {"99": {"accuracy": 1.0}}}, {"metrics": {"3": {"accuracy": "all"}}}, {"metrics": {}}):
        text = check.store._json({**body, **nonsense}).encode()
        edit = lambda members: [(m, text if m.name.endswith(name) else c) for m, c in members]  # noqa: B023, E731
        with pytest.raises(Problem, match=name):
            take(rewritten(packed, tmp_path / "a.tar.gz", edit), made, tmp_path / "home")


@pytest.mark.parametrize("what", ["", "a text", "\x1f\x8b"])
def test_what_is_no_archive_is_one_message_to_the_user(what, home):
    (home / "a.tar.gz").write_text(what)
    for name in ("a.tar.gz", "missing.tar.gz"):
        text = refused(home, "entia", "adopt", name)
        assert text.startswith(f"entia: {name}: ") and len(text.splitlines()) == 1


def test_a_cell_adopted_from_older_code_is_told_by_check(made, home, monkeypatch):
    monkeypatch.chdir(home)
    found, taken, _ = archive.take_up(made / PACKED, functools.partial(plan.load, "params.yaml"), Path("data"))
    of = adopted.origins(found)
    older = {name: msgspec.structs.replace(origin, code="0" * 12) for name, origin in of.items()}
    adopted.record(found).write_text(adopted.encode(older))
    whys = [finding.why for finding in check.check(found, Path("data")) if finding.file.suffix == ".safetensors"]
    assert len(taken) == len(whys) == CELLS and all("by older code" in why for why in whys)


# --- a stage's command, and the packages that PYTHONPATH brings ---------------------------------------------------


def test_the_commands_of_another_scale_than_params_yamls_run(made, home):
    commands = run(home, "entia", "plan", "--scale", SCALE, "--commands").stdout.splitlines()[1:]
    for command in commands[:4]:
        run(home, *command.split())
    assert len(readouts(home)) == 1 and readouts(home).items() <= readouts(made).items()
    for command in commands:
        assert command.endswith(f"--scale {SCALE}")
    assert "at laptop scale" in refused(home, *commands[0].split()[:3])


@pytest.mark.long
def test_the_benchmark_of_a_gpu_is_rehearsed_without_one(tmp_path):
    written = ROOT / "reports/benchmarks/gpu.csv"
    before = written.exists() and written.read_bytes()
    command = [sys.executable, "benchmarks/gpu.py", "--seconds", "600", "--parts", "agreement,resume"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT / "src")}
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert found.returncode == 0 and "failed" not in found.stdout, found.stdout + found.stderr
    assert found.stdout.count("good\tyes") == 16 and found.stdout.count("same bytes\tyes") == 2
    assert (written.exists() and written.read_bytes()) == before


@pytest.fixture
def benchmarks(monkeypatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield


def test_a_benchmark_of_one_data_set_reads_no_other(benchmarks, monkeypatch):
    import cells

    read: list[str] = []
    monkeypatch.setattr(cells, "RAW", Path("nowhere"))
    monkeypatch.setattr(cells.datasets, "read", lambda dataset, raw: read.append(dataset))
    assert list(cells.cells(10, 1, of=("cifar10",))) == [] and read == []


@pytest.mark.long
@pytest.mark.parametrize("count", [1, 2, 5, 11, 20, 27, 35])
def test_whatever_part_of_the_cells_came_home_is_drawn(count, tmp_path, monkeypatch):
    found = plan.load(ROOT / "params.yaml", SCALE)
    cells = borrowed.by_value(found)[:count]
    for readout in found.readouts.values():
        if (cell := readout.embed.pretrain) in cells:
            metrics = {"accuracy": 0.5 + 0.01 * cell.seed, "validation": 0.5, "train": 0.6, "top5": 0.9, "rankme": 9.0}
            epochs = [cell.epochs] if readout.embed.epochs == "last" else [cell.checkpoint_every, cell.epochs]
            content = {"metrics": {str(epoch): metrics for epoch in epochs}, "classes": 10, "chance": 0.1}
            head = stages.header("readout", readout, raw_sha256="0" * 64)
            check.store.write_json(check.store.path(tmp_path / "data", readout), content, head)
            row = {"loss": 1.0, "probe_loss": 1.0, "probe_accuracy": 0.5, "seconds": 1.0, "warmup_seconds": 0.0}
            row |= {"images": 9, "view_images": 9, "peak_mib": 9, "machine": "one"}
            rows = [{"epoch": epoch, **row} for epoch in range(1, cell.epochs + 1)]
            check.store.write_log(check.store.log_path(tmp_path / "data", cell), rows)
    shutil.copytree(ROOT / "data/reported", tmp_path / "data/reported")
    monkeypatch.chdir(tmp_path)
    there = adopted.drawable(found, Path("data"))
    assert sum(name in there.rows for name in there.reports) == len(there.reports)
    for artefact, report in there.reports.items():
        if report.experiments:  # the others draw nothing that was trained
            files.write(there, artefact)
    files.judge(there)
    assert (tmp_path / f"reports/{SCALE}/claims.md").exists()
    assert {naming.name(cell) for cell in cells if not baselines.is_one(cell)} == {
        cell for artefact in there.reports for cell in there.cells(artefact)
    }
