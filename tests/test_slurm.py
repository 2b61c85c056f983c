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

import pytest
from conftest import ROOT
from test_workflow import ENVIRONMENT, artefacts, change, make_study

from entia import machines, plan

MISSING = [tool for tool in ("slurmctld", "slurmd", "munged", "sbatch") if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(bool(MISSING), reason=f"SLURM is not installed (no {', '.join(MISSING)}); .ci/run installs it"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a private SLURM is started by root alone"),
]
SNAKEMAKE = (
    "snakemake", "--cores", "2", "--workflow-profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "1",
    "--latency-wait", "5", "--config", "max_minutes=60",
)  # fmt: skip
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


def ask(cluster: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=cluster, check=True, capture_output=True, text=True).stdout


def jobs(cluster: dict[str, str], folder: Path, rule: str = "rule_") -> list[str]:
    """Running jobs of a study, as SLURM lists them."""
    lines = ask(cluster, "squeue", "--noheader", "--states=R", "--format=%i|%Z|%k").splitlines()
    found = [line.split("|", 2) for line in lines]
    return [job for job, where, comment in found if where == str(folder) and comment.startswith(rule)]


def until(what: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.2)


def start(cluster: dict[str, str], folder: Path, *more: str) -> subprocess.Popen[str]:
    def interruptible() -> None:  # a process started in the background would ignore Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)

    command = [*SNAKEMAKE, *more]
    with (folder / "controller.txt").open("w") as log:
        return subprocess.Popen(
            command, cwd=folder, env=cluster, stdout=log, stderr=log, start_new_session=True, preexec_fn=interruptible
        )


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
            held = [gpu for gpu in map(self.gpu_of, Path("/proc").glob("[0-9]*")) if gpu is not None]
            self.gpus |= set(held)
            if len(held) != len(set(held)):
                self.clashes.append(held)
            time.sleep(0.3)

    def gpu_of(self, process: Path) -> str | None:
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            if b"entia.job" not in command or b"pretrain" not in command or (process / "cwd").readlink() != self.folder:
                return None
            variables = (process / "environ").read_bytes().split(b"\0")
        except OSError:  # it just ended
            return None
        return next((v.split(b"=")[1].decode() for v in variables if v.startswith(b"CUDA_VISIBLE_DEVICES=")), "none")


def long_study(folder: Path) -> Path:
    make_study(folder)
    change(folder, lambda raw: raw["scales"]["laptop"]["defaults"].update({"epochs": 120, "checkpoint_every": 40}))
    return folder


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> dict[str, bytes]:
    """What the study makes on this machine, without SLURM."""
    folder = long_study(tmp_path_factory.mktemp("local"))
    command = ["snakemake", "--cores", "2", "--quiet", "all"]
    subprocess.run(command, cwd=folder, env=ENVIRONMENT, check=True, capture_output=True)
    return artefacts(folder)


def training(folder: Path) -> list[Path]:
    return list((folder / "data/checkpoints").glob("*.part/state.safetensors"))


def finished(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (folder / "data/checkpoints").glob("*.safetensors")}


def test_a_study_ends_with_the_bytes_of_a_local_one_whatever_happens_to_jobs_and_controllers(cluster, local, tmp_path):
    folder = long_study(tmp_path)
    watch = Watch(cluster, folder)
    watch.start()
    # over memory at its first attempt, with more at its second, which a terminated controller waits for
    ended = start(cluster, folder, "--set-resources", "subset:mem_mb=60 if attempt == 1 else 4000")
    until(lambda: "Trying to restart job" in said(folder) and jobs(cluster, folder))
    ended.send_signal(signal.SIGTERM)
    assert ended.wait(120) != 0 and not jobs(cluster, folder)
    assert list((folder / "data/subset").glob("*.h5")) and not training(folder)

    interrupted = start(cluster, folder)
    until(lambda: training(folder))
    interrupted.send_signal(signal.SIGINT)
    assert interrupted.wait(120) != 0
    until(lambda: not jobs(cluster, folder))

    killed = start(cluster, folder)
    until(lambda: len(jobs(cluster, folder, "rule_pretrain")) == 2)
    killed.kill()
    killed.wait()
    assert jobs(cluster, folder), "a killed controller leaves its jobs at work"
    before = finished(folder)

    last = start(cluster, folder, "--use-conda")
    until(lambda: "jobs of an earlier, killed run cancelled" in said(folder))
    assert "The last run here was killed" in said(folder)
    until(lambda: len(jobs(cluster, folder, "rule_pretrain")) == 2 and len(training(folder)) >= 2)
    stopped, cancelled = jobs(cluster, folder, "rule_pretrain")
    ask(cluster, "scancel", "--signal=USR1", stopped)
    ask(cluster, "scancel", cancelled)
    restart_slurmd(cluster)
    assert last.wait(400) == 0, said(folder)[-5000:]
    watch.over = True
    watch.join()

    made = {name: content for name, content in artefacts(folder).items()}
    assert made == local
    assert watch.most == 2 and watch.gpus == {"0", "1"} and not watch.clashes
    assert before.items() <= finished(folder).items()
    assert not jobs(cluster, folder) and not list((folder / "data/checkpoints").glob("*.part"))
    assert "Group job readouts" in said(folder) and "Group job drawings" in said(folder)
    again = subprocess.run([*SNAKEMAKE, "-n"], cwd=folder, env=cluster, capture_output=True, text=True, check=True)
    assert "Nothing to be done" in again.stdout + again.stderr


def restart_slurmd(cluster: dict[str, str]) -> None:
    folder = Path(cluster["FOLDER"])
    os.kill(int((folder / "run/slurmd.pid").read_text()), signal.SIGTERM)
    time.sleep(1)
    subprocess.run(["slurmd", "-f", folder / "slurm.conf"], env=cluster, check=True)


def test_a_cell_cut_into_five_jobs_by_slurms_signal_gives_the_bytes_of_an_uncut_one(cluster, local, tmp_path):
    folder = long_study(tmp_path)
    found = plan.load(folder / "params.yaml")
    name = next(iter(found.pretrains))
    target = folder / f"data/checkpoints/{name}.safetensors"
    (folder / "data/subset").mkdir()
    for path, content in local.items():
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
    assert target.read_bytes() == local[str(target.relative_to(folder))]
