"""One process at a time, with the kernel's locks and on file systems that have none."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_workflow import ENVIRONMENT, change, make_study

from entia import plan
from entia.system import locks

KERNELS, NONE, ANY = None, (errno.ENOSYS, errno.ENOLCK), (None, errno.ENOSYS, errno.ENOLCK)
SOURCE = "#include <errno.h>\nint flock(int file, int how) {{ errno = {number}; return -1; }}\n"


@pytest.fixture(scope="session")
def refusing(tmp_path_factory):
    """An environment in which flock is answered with an error, as by a file system without locks; None: as it is."""

    def make(number: int | None) -> dict[str, str]:
        if number is None:
            return ENVIRONMENT
        if shutil.which("gcc") is None:
            pytest.skip("no gcc to make a library that stands in for a file system without locks")
        folder = tmp_path_factory.mktemp("flock")
        (folder / "flock.c").write_text(SOURCE.format(number=number))
        library = folder / "flock.so"
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, folder / "flock.c"], check=True)
        return {**ENVIRONMENT, "LD_PRELOAD": str(library)}

    return make


def called(number: int | None) -> str:
    return "locks" if number is None else f"no locks: {errno.errorcode[number]}"


ALONE = """
import sys; from pathlib import Path; from entia.system import locks
with locks.alone(Path(sys.argv[1]), lambda: print("busy", flush=True)) as waited:
    print("in, waited" if waited else "in", flush=True)
    sys.stdin.read()
"""


def start(code: str, mark: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    environment = {**environment, "PYTHONPATH": str(Path(locks.__file__).parents[2])}
    command = [sys.executable, "-c", code, str(mark)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize("number", ANY, ids=called)
def test_processes_are_let_in_one_at_a_time_and_nothing_stays_behind(number, refusing, tmp_path):
    mark = tmp_path / "new/.mark.tmp"
    first = start(ALONE, mark, refusing(number))
    assert first.stdout.readline() == "in\n"
    second = start(ALONE, mark, refusing(number))
    assert second.stdout.readline() == "busy\n" and second.poll() is None
    said = first.communicate("")[1]
    assert second.stdout.readline() == "in, waited\n"
    second.communicate("")
    assert not list(mark.parent.iterdir()) and first.returncode == second.returncode == 0
    assert said.count("the file system has no locks") == (0 if number is None else 1)


@pytest.mark.parametrize("number", ANY, ids=called)
def test_what_a_killed_process_held_is_free_at_once(number, refusing, tmp_path):
    mark = tmp_path / ".mark.tmp"
    killed = start(ALONE, mark, refusing(number))
    assert killed.stdout.readline() == "in\n"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert mark.exists()
    after = start(ALONE, mark, refusing(number))
    assert after.stdout.readline() == "in\n"
    after.communicate("")
    assert not mark.exists()


TAKE = """
import sys; from pathlib import Path; from entia.system import locks
print(locks.take(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("number", ANY, ids=called)
def test_what_is_taken_is_held_until_its_process_ends_however_it_ends(number, refusing, tmp_path):
    mark = tmp_path / "mark"
    for end in (signal.SIGTERM, signal.SIGKILL):
        holder, other = start(TAKE, mark, refusing(number)), None
        assert holder.stdout.readline() == "True\n"
        other = start(TAKE, mark, refusing(number))
        assert other.communicate("")[0] == "False\n"
        holder.send_signal(end)
        holder.communicate()
        assert start(TAKE, mark, refusing(number)).communicate("")[0] == "True\n"


def test_one_that_another_machine_left_behind_is_waited_for_no_longer_than_its_lease(monkeypatch, tmp_path):
    monkeypatch.setattr(locks, "LEASE", 0.5)
    monkeypatch.setattr(locks, "_has_locks", lambda folder: False)
    mark = tmp_path / "mark"
    with locks.alone(mark):
        written = mark.read_text()  # in the library's own words, but of another machine
    mark.write_text(written.replace(os.uname().nodename, "elsewhere", 1))
    assert "elsewhere" in mark.read_text()
    with locks.alone(mark) as waited:
        assert waited


def test_a_folder_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    def refused(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(locks, "_has_locks", refused)
    with pytest.raises(locks.faults.Problem, match=f"{tmp_path}: cannot be written"), locks.alone(tmp_path / "mark"):
        pass


def tiny(folder: Path) -> Path:
    """A study of one cell and one table."""
    make_study(folder)

    def edit(raw) -> None:
        raw["scales"]["laptop"]["experiments"] = {"twins": {"arm": "fixed", "method.weight": 0.0004}}
        raw["scales"]["laptop"]["defaults"]["epochs"] = 1
        raw["reports"] = {"MV-T1": {"title": "Widths", "table": "width_table", "experiments": ["twins"]}}

    change(folder, edit)
    return folder


def run(folder: Path, environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    found = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert found.returncode == 0 and "Traceback" not in found.stderr, found.stdout[-3000:] + found.stderr[-3000:]
    return found


@pytest.mark.workflow
@pytest.mark.parametrize("number", NONE, ids=called)
def test_a_study_runs_where_the_file_system_has_no_locks_and_says_so_once(number, refusing, tmp_path):
    folder, environment = tiny(tmp_path), refusing(number)
    text = run(folder, environment, "snakemake", "--cores", "2", "--quiet", "reason").stderr
    assert text.count("the file system has no locks") == 1
    assert (folder / "reports/index.html").exists() and not list(folder.rglob("*.lock.tmp"))
    assert not (folder / ".snakemake/runs.lock").exists()


@pytest.mark.workflow
@pytest.mark.parametrize("number", NONE, ids=called)
def test_stages_by_hand_make_the_same_bytes_where_the_file_system_has_no_locks(number, refusing, tmp_path):
    made = []
    for kind in (None, number):
        folder = tmp_path / str(kind)
        folder.mkdir()
        found = plan.load(tiny(folder) / "params.yaml")
        for stage in ("subset", "pretrain", "embed", "readout"):
            run(folder, refusing(kind), "entia", stage, next(iter(found.of(stage))))
        files = [file for file in sorted((folder / "data").rglob("*")) if file.suffix in (".h5", ".json")]
        made.append([file.read_bytes() for file in files])
    assert made[0] == made[1] and len(made[0]) == 3
