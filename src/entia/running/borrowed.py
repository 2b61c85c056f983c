"""A study on a borrowed machine, in one command and without Snakemake: it ends in time and packs what it has.

A few processes each make many stages, so that PyTorch, CUDA and compiled graphs are paid for once. Some train; on a GPU
these embed too, since the GPU is theirs; the others read out, and without a GPU embed, on the other cores. This process
hands them one stage at a time: of those that can be made now, the latest stage of the most valuable cell. One that
fails ends its process; another takes its place, and the rest goes on. What is half done when the time is up, or when
somebody presses Ctrl-C or kills it, is left as `stages` leaves it: nothing, or an epoch to go on from.
"""

import functools
import math
import signal
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import wait
from pathlib import Path
from typing import NamedTuple

import psutil

from entia import fields, naming
from entia.artefacts import adopted, archive, store
from entia.config import KINDS, Pretrain, Readout, Stage, Subset, cell_of
from entia.forecast import overview
from entia.plan import Plan
from entia.planning import baselines
from entia.running import crew
from entia.running.crew import Job, Worker
from entia.running.pace import Pace
from entia.system import machines, streams

GRACE = 10.0
"""Seconds before the end in which a cell that is still training may end and save its epoch; a tenth of a short run."""
SILENCE = 15.0
"""Seconds between two lines on how far it is, at the most."""


class Wanted(NamedTuple):
    """What the user asks for."""

    seconds: float
    workers: int | None
    archive: Path
    weights: bool


# --- what is to be made, in which order ---------------------------------------------------------------------------


def by_value(plan: Plan) -> list[Pretrain]:
    """The cells, most valuable first: reports in params.yaml's order; in each, all arms of one seed before the next.

    The baselines of a cell come right before it, since nothing is drawn of it without them.
    """
    found: dict[str, None] = {}
    beside = _baselines(plan)
    for report_id in plan.reports:
        cells = [(name, plan.pretrains[name]) for name in plan.cells(report_id)]
        seeds = list(dict.fromkeys(cell.seed for _, cell in cells))
        for name, _ in sorted(cells, key=lambda item: seeds.index(item[1].seed)):
            found |= {**beside[name], name: None}
    found |= dict.fromkeys(plan.pretrains)  # of cells that were adopted without their baselines
    return [plan.pretrains[name] for name in found]


def _baselines(plan: Plan) -> dict[str, dict[str, None]]:
    """By cell, those of its baselines that are the plan's."""
    found: dict[str, dict[str, None]] = {}
    for row in (row for rows in plan.rows.values() for row in rows):
        readout = plan.readouts[row.readout]
        names = (naming.name(of.embed.pretrain) for _, of in baselines.of(readout))
        found.setdefault(naming.name(readout.embed.pretrain), {}).update(
            dict.fromkeys(name for name in names if name in plan.pretrains)
        )
    return found


def jobs(plan: Plan, is_current: Callable[[Stage], bool]) -> dict[str, Job]:
    """What is left to make, by name: whatever is not current, or follows from what is not; cells in order of value."""
    value = {cell: position for position, cell in enumerate(by_value(plan))}
    left: dict[str, Job] = {}
    for step in KINDS:
        for name, stage in plan.of(step).items():
            needs = tuple(naming.name(parent) for parent in stage.parents)
            if any(need in left for need in needs) or not is_current(stage):
                left[name] = Job(step, stage, name, needs)
    subsets = _first_use(plan, value)

    def order(job: Job) -> int:
        cell = cell_of(job.stage)
        return value[cell] if isinstance(cell, Pretrain) else subsets.get(job.stage, 0)

    return {job.name: job for job in sorted(left.values(), key=order)}


def _first_use(plan: Plan, value: dict[Pretrain, int]) -> dict[Stage, int]:
    """The place of the most valuable cell that needs each subset."""
    found: dict[Stage, int] = {}
    for embed in plan.embeds.values():
        for subset in (embed.pretrain.subset, embed.on):
            found[subset] = min(found.get(subset, len(value)), value[embed.pretrain])
    return found


# --- making it ----------------------------------------------------------------------------------------------------


class Study:
    """What is left, what is being made and what has failed, at every moment of a run."""

    def __init__(self, plan: Plan, data: Path, wanted: Wanted) -> None:
        self.plan, self.data = plan, data
        self.left = jobs(adopted.to_make(plan, data), functools.partial(overview.is_current, data))
        self.failed: dict[str, str] = {}
        self.pace = Pace()
        self.begin = psutil.Process().create_time()
        weights = sum(file.stat().st_size for file in (data / Pretrain.folder).glob("*.safetensors")) * wanted.weights
        packing = 2 + len(plan.readouts) / 500 + weights / 20e6
        self.end = self.begin + wanted.seconds - packing
        self.asked = self.end - min(GRACE, wanted.seconds / 10)
        self.told = 0.0

    def made_at_last(self, jobs: Iterable[Job | None]) -> None:
        """Takes off the list what a worker had made when it was dismissed, and had no time to say."""
        for job in jobs:
            if job and job.name in self.left and overview.is_current(self.data, job.stage):
                del self.left[job.name]

    def choose(self, steps: Iterable[str], busy: set[str]) -> Job | None:
        """The next job for a worker that does such steps: the latest step first, then the most valuable cell."""
        now = time.time()
        ready = [job for job in self.left.values() if job.step in steps and self.is_ready(job, busy)]
        for job in sorted(ready, key=lambda job: -KINDS.index(job.step)):
            if now < self.end and (not isinstance(job.stage, Pretrain) or self.fits(job.stage, now)):
                return job
        return None

    def is_ready(self, job: Job, busy: set[str]) -> bool:
        """Whether nothing that a job reads is still to be made, and nobody makes it or could not."""
        waits = any(need in self.left for need in job.needs)
        return not waits and job.name not in busy and job.name not in self.failed

    def fits(self, cell: Pretrain, now: float) -> bool:
        """Whether a cell would be trained and read out in time; what no cell has told yet is tried."""
        return now + self.pace.needed(cell) <= self.asked

    def made(self, job: Job, seconds: float) -> None:
        """Takes a job off the list, and learns from it."""
        del self.left[job.name]
        cell = cell_of(job.stage)
        if isinstance(job.stage, Pretrain):
            rows = store.read_log(store.log_path(self.data, job.stage))
            self.pace.trained(job.stage, seconds, rows)
        if isinstance(cell, Pretrain) and self.is_done(cell):
            self.pace.read_out(cell)
            self.tell(f"{naming.label(cell)}: done")

    def is_done(self, cell: Pretrain) -> bool:
        """Whether nothing of a cell is left."""
        return not any(cell_of(job.stage) == cell for job in self.left.values())

    def is_finished(self, readout: Readout) -> bool:
        """Whether a readout, and all that it comes from, is made."""
        return naming.name(readout) not in self.left

    def cells(self) -> tuple[int, int]:
        """How many cells are done, of how many."""
        unfinished = {cell_of(job.stage) for job in self.left.values() if not isinstance(job.stage, Subset)}
        return len(self.plan.pretrains) - len(unfinished), len(self.plan.pretrains)

    def tell(self, what: str = "", training: int = 0) -> None:
        """A line for people: cells done and left, rate, time left."""
        self.told = time.time()
        done, of = self.cells()
        parts = [f"{done} of {of} cells done", *([what] if what else []), *self.pace.told()]
        if training:
            parts.append(f"{training} training")
        if math.isfinite(self.end):
            parts.append(f"{overview.duration(max(0, self.end - self.told))} left")
        streams.say(f"[{overview.duration(self.told - self.begin):>6}] " + "; ".join(parts))


def run(plan: Plan, data: Path, wanted: Wanted) -> int:
    """Makes what the time allows, packs it, says what to do with it; the exit code."""
    if wanted.archive.is_dir():
        raise fields.Problem(f"{wanted.archive}: --archive: a folder is there; name the file to pack into")
    for folder in (data, wanted.archive.parent):
        folder.mkdir(parents=True, exist_ok=True)
    machines.check_writable([data, *data.iterdir(), wanted.archive.parent])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a notebook's way to say Ctrl-C
    study = Study(plan, data, wanted)
    study.tell()
    workers = crew.assemble(study.left.values(), wanted.workers)
    interrupted = False
    try:
        while _hand_out(study, workers):
            _heed(study, workers)
    except KeyboardInterrupt:
        interrupted = True
        streams.say("Saving half-trained runs, then packing. Ctrl-C once more ends without that.")
    finally:
        crew.dismiss(workers, max(0.0, min(GRACE, study.end - time.time())), data)
    study.made_at_last(worker.job for worker in workers)
    count = archive.pack(plan, data, wanted.archive, study.is_finished, wanted.weights)
    _conclude(study, wanted, count)
    return 130 if interrupted else int(bool(study.failed))


def _hand_out(study: Study, workers: list[Worker]) -> bool:
    """Gives idle workers what there is for them; whether anything is being made, or may yet be."""
    busy = {worker.job.name for worker in workers if worker.job}
    for worker in workers:
        if worker.is_idle and (job := study.choose(worker.steps, busy)):
            worker.begin(job)
            busy.add(job.name)
    starting = {step for worker in workers if not worker.is_ready for step in worker.steps}
    return time.time() < study.end and bool(busy or study.choose(starting, busy))


def _heed(study: Study, workers: list[Worker]) -> None:
    """Waits until a worker has something to say, or ends, or the time is up."""
    now = time.time()
    limit = study.asked if now < study.asked else study.end
    said = wait([worker.connection for worker in workers], max(0.0, min(limit - now, study.told + SILENCE - now)))
    for worker in [worker for worker in workers if worker.connection in said]:
        try:
            done = worker.hear()
        except EOFError:
            _replace(study, workers, worker)
        else:
            if done:
                study.made(*done)
    if time.time() >= study.asked:
        for worker in workers:
            worker.ask_to_stop()
    if time.time() >= study.told + SILENCE:
        study.tell(training=sum(worker.is_training for worker in workers))


def _replace(study: Study, workers: list[Worker], ended: Worker) -> None:
    """Puts another in the place of a worker that has ended, unless it was asked to; what it was at has failed."""
    workers.remove(ended)
    if ended.is_asked:
        return
    why = f"{ended.last_words()} ({ended.log})"
    if ended.job is None:
        raise fields.Problem(f"a process could not start: {why}")
    study.failed[ended.job.name] = why
    study.tell(f"{naming.label(ended.job.stage)}: its {ended.job.step} FAILED: {why}")
    workers.append(Worker(ended.name, ended.steps))


def _conclude(study: Study, wanted: Wanted, count: int) -> None:
    """Says what is done, what is not and why, and last what to do now."""
    done, of = study.cells()
    lines = [f"{study.plan.scale} scale: {done} of {of} cells done in {overview.duration(time.time() - study.begin)}"]
    lines += [f"failed: {name}: {why}" for name, why in study.failed.items()]
    if done < of:
        lines.append(f"{of - done} cells are left; the same command goes on with them")
    size = wanted.archive.stat().st_size / 2**20
    lines.append(
        f"{wanted.archive}: {count} readouts with their logs, {size:.1f} MiB. Carry it home, and in your own checkout: "
        f"entia adopt {wanted.archive.name}"
        if count
        else f"{wanted.archive}: no readout is made yet, so there is nothing to carry home; the same command goes on"
    )
    streams.say("\n".join(lines))
