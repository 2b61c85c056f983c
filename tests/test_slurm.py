"""The small study on a real one-node SLURM with two fake GPUs, which this file starts and stops."""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from conftest import ROOT
from test_dvc import WHO, make_repository
from test_workflow import ENVIRONMENT, artefacts, change, interruptible, make_study

from entia import plan
from entia.system import machines

MISSING = [tool for tool in ("slurmctld", "slurmd", "munged", "sbatch") if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(bool(MISSING), reason=f"SLURM is not installed (no {', '.join(MISSING)}); .ci/run installs it"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a private SLURM is started by root alone"),
]
OPTIONS = ("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "5", "--config", "max_minutes=60")
SNAKEMAKE = ("snakemake", "--cores", "2", "--workflow-profile", "profiles/slurm", *OPTIONS)
REPRO = {"WF_PROFILE": "profiles/slurm", "WF_ARGS": " ".join(("--use-conda", *OPTIONS))}
SCRIPTS = ROOT / "tests/slurm"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment in which commands talk to a SLURM of our own: 8 nominal CPUs, 2 GPUs, two partitions."""
    folder = tmp_path_factory.mktemp("slurm")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    size = {"MEM_MB": "64000", "CPUS": "8", "GPUS": "2", "SLURM_PORT": str(port)}
    try:
        up = subprocess.run(
            ["bash", SCRIPTS / "slurm_up.sh", folder], env=os.environ | size, capture_output=True, text=True
        )
        assert up.returncode == 0, up.stdout + up.stderr
        conda = ROOT / "tests/conda/bin"
        path = f"{conda}:{folder / 'bin'}:{ENVIRONMENT['PATH']}"
        yield {**ENVIRONMENT, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": path, "FOLDER": str(folder)}
    finally:
        subprocess.run(["bash", SCRIPTS / "slurm_down.sh", folder], check=True)
        for process in psutil.process_iter(["environ"]):  # without cgroups, SLURM misses some of a job's processes
            if (process.info["environ"] or {}).get("SLURM_CONF") == str(folder / "slurm.conf"):
                process.kill()


def ask(cluster: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=cluster, check=True, capture_output=True, text=True).stdout


def jobs(cluster: dict[str, str], folder: Path, rule: str = "rule_", states: str = "R") -> list[str]:
    """Running jobs of a study, as SLURM lists them."""
    lines = ask(cluster, "squeue", "--noheader", f"--states={states}", "--format=%i|%Z|%k").splitlines()
    found = [line.split("|", 2) for line in lines]
    return [job for job, where, comment in found if where == str(folder) and comment.startswith(rule)]


def trainers(folder: Path) -> list[psutil.Process]:
    """The processes that train in a study now."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter(["cmdline", "cwd", "environ", "ppid"]):
        told = process.info
        if told["cwd"] == str(folder) and told["environ"] and {"entia.job", "pretrain"} <= set(told["cmdline"]):
            found[process.pid] = process
    # what one of them forks, to start another command, looks like itself at first
    return [each for each in found.values() if each.info["ppid"] not in found]


def until(what: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.2)


def said(folder: Path) -> str:
    return (folder / "controller.txt").read_text()


class Watch(threading.Thread):
    """What trained at the same time in a study: how many SLURM jobs, and processes on which GPUs."""

    def __init__(self, cluster: dict[str, str], folder: Path) -> None:
        super().__init__()
        self.cluster, self.folder, self.over = cluster, folder, False
        self.most, self.gpus, self.clashes = 0, set[str](), list[list[str]]()

    def run(self) -> None:
        while not self.over:
            self.most = max(self.most, len(jobs(self.cluster, self.folder, "rule_pretrain")))
            held = [each.info["environ"].get("CUDA_VISIBLE_DEVICES", "none") for each in trainers(self.folder)]
            self.gpus |= set(held)
            if len(held) != len(set(held)):
                self.clashes.append(held)
            time.sleep(1)


def lengthen(folder: Path) -> Path:
    """Three cells, for two GPUs, long enough for all that happens to them."""
    change(folder, lambda raw: raw["scales"]["laptop"]["defaults"].update({"epochs": 360, "checkpoint_every": 180}))
    return folder


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Iterator[Callable[[], dict[str, bytes]]]:
    """What the study makes on this machine, without SLURM: begun here, and waited for where it is asked for."""
    folder = lengthen(make_study(tmp_path_factory.mktemp("local")))
    command = ["snakemake", "--cores", "2", "--quiet", "all"]
    with (folder / "said.txt").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=log, stderr=log, start_new_session=True)

    def made() -> dict[str, bytes]:
        assert process.wait(900) == 0, (folder / "said.txt").read_text()[-3000:]
        return artefacts(folder)

    yield made
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def training(folder: Path) -> list[Path]:
    return list((folder / "data/checkpoints").glob("*.part/state.safetensors"))


def finished(folder: Path) -> dict[Path, int]:
    """Weights by their inodes: written again they are another file; one that is found current is merely touched."""
    return {path: path.stat().st_ino for path in (folder / "data/checkpoints").glob("*.safetensors")}


def is_at_work(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def let_two_get_on(folder: Path, after: int) -> None:
    """Waits until two cells have saved an epoch after a time, in nanoseconds; the first is held still for the second."""
    held: dict[str, psutil.Process] = {}

    def both() -> bool:
        saved = {state.parent.stem for state in training(folder) if state.stat().st_mtime_ns > after}
        for process in trainers(folder):
            cell = process.info["cmdline"][-1]
            if cell in saved - held.keys():
                process.suspend()
                held[cell] = process
        for cell in [cell for cell, process in held.items() if not is_at_work(process)]:
            del held[cell]  # it had just ended
        return len(held) == 2

    until(both)
    for process in held.values():
        process.resume()


def time_out_and_signal(cluster: dict[str, str], at_work: list[str]) -> None:
    """Both jobs hang until SLURM, which looks twice a minute, finds one over its time; the other is asked to stop."""
    late, stopped = at_work
    ask(cluster, "scontrol", "update", f"JobId={late}", "EndTime=now+1")
    for job in at_work:
        ask(cluster, "scancel", "--signal=STOP", job)
    until(lambda: f"Time limit exhausted for JobId={late}" in log_of(cluster))
    for number in ("CONT", "USR1"):
        ask(cluster, "scancel", f"--signal={number}", stopped)


def cancel_and_preempt(cluster: dict[str, str], at_work: list[str]) -> None:
    """One job is cancelled by a person; the other makes room for somebody else's, which wants both GPUs."""
    ask(cluster, "scancel", at_work[0])
    ask(cluster, "sbatch", "--wait", "--partition=urgent", "--gpus=2", "--mem=100", "--output=/dev/null", "--wrap=true")


def lose_the_node(cluster: dict[str, str], at_work: list[str]) -> None:
    """SLURM takes the node for lost, ends its jobs and puts them back into the queue; later the node is there again."""
    node = ask(cluster, "sinfo", "--noheader", "--format=%n").split()[0]
    ask(cluster, "scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")
    until(lambda: all("Restarts=1" in ask(cluster, "scontrol", "show", "job", job) for job in at_work))
    until(lambda: all(f"[{job}.0] done with job" in log_of(cluster, "slurmd") for job in at_work))
    time.sleep(1)  # a node that has just ended a job does not take it again
    ask(cluster, "scontrol", "update", f"NodeName={node}", "State=RESUME")


def log_of(cluster: dict[str, str], daemon: str = "slurmctld") -> str:
    return Path(cluster["FOLDER"], f"log/{daemon}.log").read_text()


def restart_slurmd(cluster: dict[str, str], _: list[str]) -> None:
    folder = Path(cluster["FOLDER"])
    os.kill(int((folder / "run/slurmd.pid").read_text()), signal.SIGTERM)
    time.sleep(1)
    subprocess.run(["slurmd", "-f", folder / "slurm.conf"], env=cluster, check=True)


@pytest.fixture
def folder(tmp_path) -> Path:
    return lengthen(make_repository(tmp_path))


@pytest.fixture
def watch(cluster, folder) -> Iterator[Watch]:
    found = Watch(cluster, folder)
    found.start()
    yield found
    found.over = True
    found.join()


@pytest.fixture
def start(cluster, folder) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a controller; none outlives its test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*command: str, **more: str) -> subprocess.Popen[str]:
        with (folder / "controller.txt").open("w") as log:
            process = subprocess.Popen(
                command, cwd=folder, env=cluster | more, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=interruptible,
            )  # fmt: skip
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.long
def test_a_study_ends_with_the_bytes_of_a_local_one_whatever_happens_to_jobs_and_controllers(
    cluster, local, folder, watch, start
):
    # over memory at its first attempt, with more at its second, which a terminated controller waits for
    ended = start(*SNAKEMAKE, "--set-resources", "subset:mem_mb=60 if attempt == 1 else 4000")
    until(lambda: "Trying to restart job" in said(folder) and jobs(cluster, folder))
    ended.send_signal(signal.SIGTERM)
    assert ended.wait(120) != 0 and not jobs(cluster, folder)
    assert list((folder / "data/subset").glob("*.h5")) and not training(folder)

    interrupted = start(*SNAKEMAKE)
    until(lambda: training(folder))
    interrupted.send_signal(signal.SIGINT)
    assert interrupted.wait(120) != 0
    until(lambda: not jobs(cluster, folder))

    killed = start(*SNAKEMAKE)
    until(lambda: len(trainers(folder)) == 2)
    for process in trainers(folder):
        process.suspend()  # until the next controller cancels it, or it would be done before all else happens
    killed.kill()
    killed.wait()
    assert len(jobs(cluster, folder, "rule_pretrain")) == 2, "a killed controller leaves its jobs at work"
    before = finished(folder)

    last = start("dvc", "repro", **WHO, **REPRO)
    until(lambda: "jobs of an earlier, killed run cancelled" in said(folder))
    assert "The last run here was killed" in said(folder)
    for happens in (restart_slurmd, time_out_and_signal, cancel_and_preempt, lose_the_node):
        since = time.time_ns()
        let_two_get_on(folder, since)
        watch.over = happens is lose_the_node  # SLURM gives its GPUs away before its jobs have ended there
        at_work = jobs(cluster, folder, "rule_pretrain")
        happens(cluster, at_work)
        if happens is restart_slurmd:
            assert jobs(cluster, folder, "rule_pretrain") == at_work
        else:
            # completing too: what they save at the end is not the next jobs' progress
            until(lambda: not set(at_work) & set(jobs(cluster, folder, states="R,CG")))  # noqa: B023
    assert last.wait(600) == 0, said(folder)[-5000:]

    made = artefacts(folder)
    assert made.pop("reports/metrics.json") and made.pop("data/raw/.gitignore")  # DVC's and git's alone
    assert made == local()
    assert watch.most == 2 and watch.gpus == {"0", "1"} and not watch.clashes
    assert before.items() <= finished(folder).items()
    assert not jobs(cluster, folder) and not list((folder / "data/checkpoints").glob("*.part"))
    assert "Group job readouts" in said(folder) and "Group job drawings" in said(folder)
    again = subprocess.run([*SNAKEMAKE, "-n"], cwd=folder, env=cluster, capture_output=True, text=True, check=True)
    assert "Nothing to be done" in again.stdout + again.stderr


def test_a_cell_cut_into_five_jobs_by_slurms_signal_gives_the_bytes_of_an_uncut_one(cluster, local, tmp_path):
    folder = lengthen(make_study(tmp_path))
    found = plan.load(folder / "params.yaml")
    name = next(iter(found.pretrains))
    target = folder / f"data/checkpoints/{name}.safetensors"
    (folder / "data/subset").mkdir()
    for path, content in local().items():
        if path.startswith("data/subset/"):
            (folder / path).write_bytes(content)
    state, saved = folder / f"data/checkpoints/{name}.part/state.safetensors", []
    for number in range(5):
        before = state.stat().st_mtime_ns if state.exists() else 0
        log = folder / f"{number}.txt"
        command = f"srun python -m entia.cli pretrain {name}"
        job = subprocess.run(
            ["sbatch", "--parsable", "--time=5", "--mem=4000", "--gpus=1", "--output", log, "--wrap", command],
            cwd=folder, env=cluster, check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        until(lambda: state.exists() and state.stat().st_mtime_ns > before)  # noqa: B023
        ask(cluster, "scancel", "--signal=TERM", job)  # what --signal=TERM@120 sends 120 s before the limit
        until(lambda: not ask(cluster, "squeue", "--noheader", "--jobs", job))  # noqa: B023
        assert f"ExitCode={machines.STOPPED}:0" in ask(cluster, "scontrol", "show", "job", job)
        saved.append(int(re.search(r"asked to stop; saved epoch (\d+)", log.read_text())[1]))
    assert saved == sorted(set(saved)) and not target.exists()
    subprocess.run(["entia", "pretrain", name], cwd=folder, env=cluster, check=True, capture_output=True)
    assert target.read_bytes() == local()[str(target.relative_to(folder))]
