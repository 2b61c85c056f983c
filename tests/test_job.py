"""Jobs done by copies of one process: the same as without, and nothing left over however one of them ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from test_workflow import ENVIRONMENT, change, interruptible, make_study

from entia import job, plan, stages
from entia.system import machines

pytestmark = pytest.mark.workflow
STARTER = f"from entia import job; import os; job.start('src'); print(os.environ['{job.PLACE}'], flush=True); input()"


@pytest.fixture
def folder(tmp_path) -> Path:
    make_study(tmp_path)
    change(tmp_path, lambda raw: raw["scales"]["laptop"]["defaults"].update({"epochs": 2000}))
    return tmp_path


@pytest.fixture
def starter(folder) -> Iterator[subprocess.Popen[str]]:
    """A process in Snakemake's place."""
    process = subprocess.Popen(
        ["python", "-c", STARTER], cwd=folder, env=ENVIRONMENT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        preexec_fn=interruptible,
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def copying(starter) -> dict[str, str]:
    """The environment of the starter's jobs."""
    return {**ENVIRONMENT, job.PLACE: starter.stdout.readline().strip()}


def begin(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["python", "-m", "entia.job", *arguments],
        cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=interruptible,
    )  # fmt: skip


def said(process: subprocess.Popen[str]) -> tuple[str, str, int]:
    return (*process.communicate(timeout=120), process.returncode)


def until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not what():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def copied(starter: subprocess.Popen[str]) -> psutil.Process:
    (found,) = psutil.Process(starter.pid).children()
    return found


def train(folder: Path, environment: dict[str, str]) -> tuple[subprocess.Popen[str], Path]:
    """A job that trains a long cell, and the cell's unfinished state, saved at least once."""
    found = plan.load(folder / "params.yaml")
    (subset,), cell = found.subsets, next(iter(found.pretrains))
    assert said(begin(folder, environment, "subset", subset))[2] == 0
    process = begin(folder, environment, "pretrain", cell)
    state = folder / f"data/checkpoints/{cell}.part/state.safetensors"
    until(state.exists)
    return process, state


def test_a_copy_prints_and_ends_as_a_job_that_imports_for_itself(folder, starter, copying):
    for arguments in ((), ("plan",), ("results", "MV-T9"), ("pretrain", "nobody"), ("--help",), ("unknown",)):
        assert said(begin(folder, copying, *arguments)) == said(begin(folder, ENVIRONMENT, *arguments))
    assert not copied(starter).children()


def test_what_is_copied_has_one_thread_whatever_it_imported(folder, starter, copying):
    for command in stages.IMPORTS:
        assert said(begin(folder, copying, command, "--help"))[2] == 0
    assert any("libtorch" in each.path for each in copied(starter).memory_maps())
    assert copied(starter).num_threads() == 1


def test_a_job_asked_to_stop_has_its_copy_save_and_ends_with_its_code(folder, starter, copying):
    process, state = train(folder, copying)
    saved = state.stat().st_mtime_ns
    process.send_signal(signal.SIGTERM)
    _, text, code = said(process)
    assert code == machines.STOPPED and "asked to stop; saved epoch" in text
    assert state.stat().st_mtime_ns > saved and not copied(starter).children()


def test_the_copy_of_a_killed_job_ends(folder, starter, copying):
    process, _ = train(folder, copying)
    (copy,) = copied(starter).children()
    process.kill()
    process.communicate()
    assert psutil.wait_procs([copy], timeout=60)[1] == []


def test_a_job_whose_copy_is_killed_ends_as_killed(folder, starter, copying):
    process, _ = train(folder, copying)
    copied(starter).children()[0].kill()
    assert said(process)[2] == 128 + signal.SIGKILL


def test_what_is_copied_ends_with_its_starter_and_its_jobs_go_on(folder, starter, copying):
    process, state = train(folder, copying)
    server = copied(starter)
    (copy,) = server.children()
    starter.kill()
    assert psutil.wait_procs([server], timeout=60)[1] == []
    saved = state.stat().st_mtime_ns
    until(lambda: state.stat().st_mtime_ns > saved)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert psutil.wait_procs([copy], timeout=60)[1] == []
    assert said(begin(folder, copying, "plan"))[2] == 0, "with nothing to copy a job imports for itself"


def test_ctrl_c_ends_a_job_whose_copy_is_not_yet_made(folder, starter, copying):
    found = plan.load(folder / "params.yaml")
    (subset,), cell = found.subsets, next(iter(found.pretrains))
    assert said(begin(folder, copying, "subset", subset))[2] == 0
    server = copied(starter)
    server.suspend()
    process = begin(folder, copying, "pretrain", cell)
    until(lambda: ignores_ctrl_c(process.pid))
    for each in (server.pid, process.pid):  # a terminal tells them all
        os.kill(each, signal.SIGINT)
    server.resume()
    assert said(process)[2] != 0
    assert server.is_running() and not server.children()


def ignores_ctrl_c(number: int) -> bool:
    (ignored,) = (each for each in Path(f"/proc/{number}/status").read_text().splitlines() if "SigIgn" in each)
    return bool(int(ignored.split()[1], 16) & 1 << signal.SIGINT - 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can ask as somebody else")
def test_nobody_else_is_served(copying):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        os.seteuid(65534)
        try:
            connection.connect(f"\0{copying[job.PLACE]}")
        finally:
            os.seteuid(0)
        socket.send_fds(connection, [b'["plan"]'], [0, 1, 2])
        assert connection.recv(1) == b""


def test_packages_that_pythonpath_brings_reach_the_copies_and_no_python_need_be_on_path(folder, tmp_path_factory):
    packages = tmp_path_factory.mktemp("packages")
    environment = {**ENVIRONMENT, "PATH": "/nowhere", "PYTHONPATH": f"src{os.pathsep}{packages}"}
    process = subprocess.Popen(
        [sys.executable, "-c", STARTER], cwd=folder, env=environment, text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline().startswith("entia-")
    assert str(packages) in copied(process).environ()["PYTHONPATH"].split(os.pathsep)
    process.kill()
    process.communicate()
