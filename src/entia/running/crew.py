"""The processes of a borrowed machine: each makes one stage after another, as it is told, until it is told no more.

A process writes what it says into `logs/run/`. It ignores Ctrl-C, which is its parent's to heed, and gets SIGTERM when
its parent ends, however that ends: a cell in training then saves its epoch.
"""

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from entia import naming, stages
from entia.config import Pretrain, Stage
from entia.fields import Problem
from entia.system import machines

LOGS = Path("logs/run")
RUN: dict[str, Callable[[Any], None]] = {
    "subset": stages.subset,
    "pretrain": stages.pretrain,
    "embed": stages.embed,
    "readout": stages.readout,
}
MOST_READERS = 12
SHAPES = 64
"""Shapes of cells that one process compiles for; PyTorch's own limit, 8, is fewer than a study has."""


class Job(NamedTuple):
    """A stage to be made."""

    step: str
    stage: Stage
    name: str
    needs: tuple[str, ...]
    """What it reads, by name."""


# --- seen from the process that hands out jobs --------------------------------------------------------------------


class Worker:
    """One of the processes, and what it is at."""

    def __init__(self, name: str, steps: tuple[str, ...]) -> None:
        self.name, self.steps, self.log = name, steps, LOGS / f"{name}.log"
        self.job: Job | None = None
        self.is_ready = self.is_asked = False
        context = get_context("spawn")  # a fork would not survive CUDA
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, steps, self.log), daemon=True)
        with _deaf():
            self.process.start()
        theirs.close()

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a job."""
        return self.is_ready and self.job is None

    @property
    def is_training(self) -> bool:
        """Whether it trains a cell."""
        return self.job is not None and isinstance(self.job.stage, Pretrain)

    def begin(self, job: Job) -> None:
        """Gives it a job."""
        self.job = job
        with contextlib.suppress(BrokenPipeError):  # it has just ended, which is seen when it is listened to
            self.connection.send(job)

    def hear(self) -> tuple[Job, float] | None:
        """The job it has done, and in how many seconds; None when it says that it is ready; EOFError: it ended."""
        seconds = self.connection.recv()
        self.is_ready = True
        job, self.job = self.job, None
        return None if job is None or seconds is None else (job, seconds)

    def ask_to_stop(self) -> None:
        """Has a cell in training save its epoch and end."""
        if self.is_training and not self.is_asked:
            self.is_asked = True
            self.process.terminate()

    def last_words(self) -> str:
        """How it ended: by which signal, or with which last line."""
        self.process.join()
        code = self.process.exitcode or 0
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        lines = self.log.read_text(errors="replace").split("\n") if self.log.exists() else []
        return next((line for line in reversed(lines) if line.strip()), f"it ended with exit code {code}")


def assemble(jobs: Iterable[Job], each: int | None) -> list[Worker]:
    """The processes for these jobs: `each` on every GPU, or on the CPU, that train; others for the rest."""
    jobs = list(jobs)
    gpus, cores = len(machines.gpus()), machines.cores()
    training = ("pretrain", "embed") if gpus else ("pretrain",)
    resting = tuple(step for step in RUN if step not in training)
    counts = {steps: sum(job.step in steps for job in jobs) for steps in (training, resting)}
    threads = max((job.stage.threads for job in jobs if isinstance(job.stage, Pretrain)), default=1)
    trainers = min(counts[training], (each or (1 if gpus else max(1, cores // threads))) * max(1, gpus))
    readers = min(counts[resting], max(1, cores - trainers), MOST_READERS)
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # PyTorch's are each cell's own to say
    for log in LOGS.glob("*.log"):
        log.unlink()
    wanted = [("trainer", trainers, training), ("reader", readers, resting)]
    return [Worker(f"{name}-{number + 1}", steps) for name, count, steps in wanted for number in range(count)]


def dismiss(workers: Iterable[Worker], patience: float, data: Path) -> None:
    """Ends all of them: those that train may save their epoch first, in so many seconds."""
    end = time.monotonic() + patience
    for worker in workers:
        worker.ask_to_stop() if worker.is_training else worker.process.kill()
    for worker in workers:
        worker.process.join(max(0.0, end - time.monotonic()))
        worker.process.kill()
        worker.process.join()
        for half in data.glob(f"*/.*.{worker.process.pid}.tmp"):  # of what it was writing
            half.unlink()


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Within it this process, and for good those begun in it, ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# --- in each of them ----------------------------------------------------------------------------------------------


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit("entia: asked to stop")


def work(connection: Connection, steps: tuple[str, ...], log: Path) -> None:
    """Makes what it is told; ends with its parent, or with the first stage that fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGTERM, _end)  # a lock that it holds goes with it
    if "pretrain" in steps:  # while images are packed; the others import what they meet, and keep out of the way
        for module in stages.IMPORTS["pretrain"]:
            import_module(module)
        _expect_many_shapes()
    connection.send(None)
    while True:
        try:
            job: Job = connection.recv()
        except EOFError:
            return
        start = time.perf_counter()
        try:
            RUN[job.step](job.stage)
        except Problem as problem:
            sys.exit(f"entia: {naming.label(job.stage)}: {problem}")
        _give_back_gpu_memory()
        connection.send(time.perf_counter() - start)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _expect_many_shapes() -> None:
    """On a GPU, where cells are compiled, has PyTorch keep the graphs of all of a study's shapes."""
    if machines.gpus():
        import torch._dynamo

        torch._dynamo.config.recompile_limit = SHAPES


def _give_back_gpu_memory() -> None:
    """What one cell no longer needs is free for the next one's images, and for other processes."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()
