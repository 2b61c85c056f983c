"""What the system refuses is never called damaged: only a file that was read, and is not what was written."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_config import cell
from test_locks import refusing  # noqa: F401
from test_store import READ, kinds, write

from entia import plan
from entia.artefacts import check, store
from entia.system import faults
from entia.system.faults import Missing, Unreadable

HERE = Path(store.__file__).parents[2]
NUMBERS = sorted(set(errno.errorcode) - {errno.ENOENT, errno.EINTR})


@kinds
@pytest.mark.parametrize("at", ["open", "read"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(number=st.sampled_from(NUMBERS))
def test_whatever_the_system_answers_to_a_reader_is_no_damage(kind, at, number, tmp_path):
    path = tmp_path / f"a.{kind}"
    write(kind, path)

    class Failing(io.FileIO):
        def read(self, *_):
            raise OSError(number, os.strerror(number))

        readall = read

    def opened(self, *_, **__):
        if at == "read":
            return Failing(self)
        raise OSError(number, os.strerror(number))

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Unreadable) as found:
        patch.setattr(Path, "open", opened)
        READ[kind](path)
    assert str(found.value).startswith(f"{path}: cannot be read now ({os.strerror(number)}); ")
    assert "damaged" not in str(found.value) and "delete" not in str(found.value) and "run again" in str(found.value)
    READ[kind](path)


@kinds
def test_a_folder_in_an_artefacts_place_is_named_as_one(kind, tmp_path):
    path = tmp_path / f"a.{kind}"
    path.mkdir()
    with pytest.raises(Unreadable, match=r"Is a directory\); move the folder in its place away and run again"):
        READ[kind](path)


@kinds
def test_a_file_that_is_gone_before_its_library_opens_it_is_missing(kind, tmp_path, monkeypatch):
    path = tmp_path / f"a.{kind}"
    write(kind, path)
    real = store._compare

    def compared(*arguments) -> None:
        real(*arguments)
        path.unlink()

    monkeypatch.setattr(store, "_compare", compared)
    if kind in ("json", "csv"):  # read at once
        READ[kind](path)
    else:
        with pytest.raises(Missing, match="missing; `snakemake"):
            READ[kind](path)


@kinds
def test_an_empty_file_says_that_it_is_empty(kind, tmp_path):
    (tmp_path / f"a.{kind}").touch()
    with pytest.raises(store.Damaged):
        READ[kind](tmp_path / f"a.{kind}")


@pytest.mark.parametrize("text", ['{"name": "mine"}', "[1, 2]", "3", '"sha256"'])
def test_a_json_file_that_is_no_artefact_is_to_be_moved_and_not_deleted(text, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(store.Foreign, match=r"no artefact: it has no checksum\); move it away"):
        store.read_head(path)


def test_an_hdf5_file_of_somebody_elses_is_not_to_be_deleted_for_it(tmp_path):
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file["x"] = range(1000)
    with pytest.raises(store.Damaged, match=r"damaged or not entia's \(no checksum at its end\); if entia made it"):
        store.read_head(tmp_path / "mine.h5")


HOLD = "import h5py, sys; file = h5py.File(sys.argv[1], sys.argv[2]); print('open', flush=True); sys.stdin.read()"
READING = "import sys; from pathlib import Path; from entia.artefacts import store; store.read_hdf5(Path(sys.argv[1]))"


def reader(path: Path, **environment: str) -> str:
    """What a process that reads an HDF5 artefact says: nothing where all is well."""
    command = [sys.executable, "-c", READING, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(HERE), **environment}
    lines = subprocess.run(command, env=environment, capture_output=True, text=True).stderr.splitlines()
    return lines[-1] if lines else ""


@pytest.fixture
def notebook(tmp_path):
    """Opens an HDF5 artefact in another process, in a mode; returns its path."""
    path, processes = tmp_path / "a.h5", []
    write("h5", path)

    def hold(mode: str) -> Path:
        command = [sys.executable, "-c", HOLD, str(path), mode]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert processes[0].stdout.readline() == "open\n"
        return path

    yield hold
    for process in processes:
        process.kill()
        process.communicate()


def test_an_artefact_that_a_notebook_reads_is_read(notebook):
    assert reader(notebook("r")) == ""


def test_an_artefact_that_a_notebook_may_be_writing_is_not_called_damaged(notebook):
    text = reader(notebook("r+"))
    assert "cannot be read now (open for writing elsewhere); another process holds it: close it there" in text


def test_hdf5s_own_locks_are_not_asked_for_where_there_are_none(refusing, tmp_path):  # noqa: F811
    path = tmp_path / "a.h5"
    write("h5", path)
    preload = {"LD_PRELOAD": refusing(errno.ENOLCK)["LD_PRELOAD"]}
    assert reader(path, **preload) == ""
    forced = reader(path, **preload, HDF5_USE_FILE_LOCKING="TRUE")
    assert f"cannot be read now ({os.strerror(errno.ENOLCK)}); set HDF5_USE_FILE_LOCKING=FALSE" in forced


def test_check_calls_unreadable_what_it_cannot_read_and_goes_on(tmp_path, monkeypatch):
    one = cell()
    only = plan.Plan("laptop", {}, {}, {}, {}, subsets={"x": one.subset}, pretrains={"y": one})
    closed = store.path(tmp_path, one.subset)
    closed.mkdir(parents=True)
    states = {finding.file: (finding.state, finding.is_wrong) for finding in check.check(only, tmp_path)}
    assert states[closed] == ("unreadable", True)
    assert states[store.path(tmp_path, one)] == ("missing", False)


def test_whether_a_file_is_there_is_not_guessed_where_the_system_does_not_say(monkeypatch, tmp_path):
    assert not faults.is_there(tmp_path / "nothing") and faults.is_there(tmp_path)

    def stale(*_, **__):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(Path, "stat", stale)
    with pytest.raises(Unreadable, match="Stale file handle"):
        faults.is_there(tmp_path)
