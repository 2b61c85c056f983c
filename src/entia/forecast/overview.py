"""What `entia plan` says: each report's cells, time and memory; a cluster's jobs; the commands that are left."""

import math
from collections.abc import Sequence
from pathlib import Path

from entia import config, naming, sizes
from entia.artefacts import adopted, check, current, provenance, store
from entia.config import KINDS, Stage
from entia.forecast import cluster, disk, estimate, origins
from entia.forecast.estimate import Calibration, Estimate
from entia.plan import Plan
from entia.system import faults, machines

HOW = "no times: `entia calibrate` measures this machine in about a minute"


def calibration(file: Path, asked: Path | None) -> tuple[Calibration | None, str]:
    """The calibration asked for, or this machine's, and a line on what it is; None if there is none for it."""
    if asked is None and not faults.is_there(file):
        return None, HOW
    found = estimate.load(asked or file)
    if asked is None and not is_here(found):
        return None, (
            f"no times: {file} is of another machine ({found.machine}), or other cores; `entia calibrate` measures "
            f"this one, `--calibration {file}` takes it as it is"
        )
    if not found.known:
        return None, f"no times: {asked or file} measured no cell's speed; `entia calibrate` measures anew"
    return found, f"times on {found.machine}, {found.places} cells at once, PyTorch {found.torch}"


def is_here(found: Calibration) -> bool:
    """Whether a calibration is this machine's: processor, cores, GPUs."""
    return found.host == provenance.host() and found.gpus == len(machines.gpus())


def of_machine(found: Calibration, plan: Plan, data: Path, copied: bool = False) -> Estimate:
    """Estimates for the calibrated machine: the runs that ended there count before its calibration.

    With `copied`, as Snakemake runs them on its own machine: jobs are copies of a process, which imports once.
    """
    known = (*estimate.finished(plan.pretrains.values(), data, found.machine), *found.known)
    return Estimate(known, dict.fromkeys(found.start, found.start["job"]) if copied else found.start)


def taken_up(plan: Plan, drawn: Plan, data: Path, cells: Sequence[str], ours: Sequence[str]) -> str:
    """What `entia adopt ARCHIVE` did: the cells, what is drawn from them, and what is not."""
    away, made = adopted.cells(plan, data), {cell for report_id in drawn.rows for cell in drawn.cells(report_id)}
    lines = [f"{plan.scale} scale: {len(cells)} cells taken up; " + (adopted.whence(away.values()) if away else "")]
    if ours:
        lines.append(f"{len(ours)} left out, since they were trained here: {', '.join(ours)}")
    lines.append(f"{len(drawn.reports)} tables and figures drawn from {len(made)} of {len(plan.pretrains)} cells: ")
    lines[-1] += str(plan.folder / "index.html")
    if without := plan.reports.keys() - drawn.reports.keys():
        lines.append(f"not drawn, for want of any readout: {', '.join(sorted(without))}")
    lines.append(f"`snakemake` trains none of them again at scale: {plan.scale}; `entia check` names them")
    return "\n".join(lines)


# --- reports ------------------------------------------------------------------------------------------------------


def reports(plan: Plan, data: Path, found: Calibration | None, about: str) -> str:
    """A row a report, then the whole study, each shared cell once."""
    of = of_machine(found, plan, data, copied=True) if found else None
    done = {name for name, cell in plan.pretrains.items() if faults.is_there(store.path(data, cell))}
    lines = [
        f"scale {plan.scale}; rows: readouts that a table or figure shows; cells: the pretraining runs behind them",
        "",
    ]
    takes = f"{'time':>8} {'MiB':>8}" if of else ""
    lines.append(f"{'report':10} {'rows':>5} {'cells':>5} {'done':>5} {takes}  title")
    asked = 0
    for report_id, report in plan.reports.items():
        cells = plan.cells(report_id)
        asked += len(cells)
        more = _takes(plan, report_id, of, found.places) if of and found else ""
        counts = f"{len(plan.rows[report_id]):5} {len(cells):5} {len(done & {*cells}):5}"
        lines.append(f"{report_id:10} {counts} {more}  {report.title}")
    lines += ["", _counts(plan, asked, done), *origins.lines(plan, data / "raw"), disk.line(plan), about]
    return "\n".join([*lines, *(_totals(plan, data, of, found) if of and found else []), *troubled(plan, data)])


def _takes(plan: Plan, report_id: str, of: Estimate, places: int) -> str:
    """A report's time, alone, from nothing, and the most that a cell of it takes of a GPU's or process's memory."""
    embeds = {plan.readouts[row.readout]: plan.readouts[row.readout].embed for row in plan.rows[report_id]}
    read = {stage for embed in embeds.values() for stage in (embed, embed.on, embed.pretrain, embed.pretrain.subset)}
    seconds = estimate.whole([*embeds, *read], of, places) + of.start("report")
    cells = plan.cells(report_id) if of.known else []
    peak = max((of.like(plan.pretrains[cell]).peak_mib for cell in cells), default=0.0)
    return f"{duration(seconds):>8} {peak:8,.0f}"


def _counts(plan: Plan, asked: int, done: set[str]) -> str:
    """How many cells there are; the baselines, which nothing trains, counted apart."""
    own = {cell for report_id in plan.rows for cell in plan.cells(report_id)}
    beside = plan.pretrains.keys() - own
    trained = f"{asked} cells asked for, {len(own)} to train (shared ones once), {len(done & own)} done"
    return f"{trained}; {len(beside)} baselines, {len(done & beside)} done"


def _totals(plan: Plan, data: Path, of: Estimate, found: Calibration) -> list[str]:
    drawing = len(plan.reports) * of.start("report")
    parts = {step: sum(map(of.seconds, plan.of(step).values())) for step in KINDS} | {"drawing": drawing}
    everything = [stage for step in KINDS for stage in plan.of(step).values()]
    whole, left = (
        estimate.whole(s, of, found.places) + drawing / found.places for s in (everything, _left(plan, data))
    )
    return [
        f"the whole study: {duration(whole)}, of which {duration(left)} are left; a core's or a GPU's share: "
        + ", ".join(f"{step} {duration(part)}" for step, part in parts.items()),
        f"from {len(of.known) - len(found.known)} cells trained on this machine and a few steps of {len(found.known)}, "
        f"others by multiply-adds; MiB: {'a GPU' if found.gpus else 'the process'}'s at its peak",
    ]


def _left(plan: Plan, data: Path) -> list[Stage]:
    """The stages whose artefact is not there."""
    every = (stage for step in KINDS for stage in plan.of(step).values())
    return [stage for stage in every if not faults.is_there(store.path(data, stage))]


def troubled(plan: Plan, data: Path, logs: Path = Path("logs")) -> list[str]:
    """A line for each run that diverged and for each stage that failed last time, with the log that says more."""
    lines: list[str] = []
    for cell in plan.pretrains.values():
        if (file := store.log_path(data, cell)).exists() and (how := _diverged(file)):
            lines.append(f"diverged: {naming.label(cell)}: {how}  {file}")
    for step in KINDS:
        for name, stage in plan.of(step).items():
            log = logs / step / f"{name}.log"
            if not store.path(data, stage).exists() and log.exists() and (how := _failure(log)):
                lines.append(f"failed: {step} {naming.label(stage)}: {how}  {log}")
    return lines


def _diverged(file: Path) -> str:
    """How a run diverged; nothing if it did not, which the first line of its log shows."""
    with file.open(encoding="utf-8") as log:
        if "diverged" not in log.readline():
            return ""
    return str(store.read_log(file)[-1]["diverged"])


def _failure(log: Path) -> str:
    """A failed stage's last words; nothing of one that is running or was stopped."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    if not lines:
        return ""
    said = next((line for line in reversed(lines) if line.startswith("entia: ")), "")
    return said.removeprefix("entia: ") or (lines[-1] if any(line.startswith("Traceback") for line in lines) else "")


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{math.ceil(seconds)} s"


def cells(plan: Plan, report_id: str, data: Path, found: Calibration | None) -> str:
    """A line for each of a report's cells: whether it is done, its name, what it is, how long it takes."""
    of = of_machine(found, plan, data) if found else None
    lines: list[str] = []
    for name in plan.cells(report_id):
        cell = plan.pretrains[name]
        head = estimate.head_bytes(cell, sizes.counted(cell.subset).train or 0) / 2**20
        what = naming.label(cell) + (f"; head and its optimiser {head:,.0f} MiB" if head >= 1 else "")
        time = f"  {duration(of.seconds(cell)):>8}" if of else ""
        lines.append(f"{'done' if faults.is_there(store.path(data, cell)) else 'to do'}{time}  {name}  {what}")
    return "\n".join(lines)


def on_cluster(plan: Plan, data: Path, profile: cluster.Profile, gpus: int | None, found: Calibration | None) -> str:
    """A line a rule, then GPU-hours and the time until all is done."""
    of, left = of_machine(found, plan, data) if found else Estimate(), _left(plan, data)
    limit = "" if math.isinf(profile.max_minutes) else f", {profile.max_minutes:,.0f} min a job"
    text = [
        f"scale {plan.scale}, profile {profile.name}: {profile.jobs or 'any number of'} jobs in the queue{limit}",
        "",
    ]
    text.append(f"{'rule':10} {'made':>7} {'left':>7} {'jobs':>9} {'GPU-hours':>10}")
    for line in cluster.lines(plan, left, profile, of):
        text.append(f"{line.rule:10} {line.made:7,} {line.left:7,} {line.jobs:9,} {line.hours:10,.1f}")
    places = min(gpus or profile.gpus or profile.jobs or 0, profile.jobs or math.inf)
    until = "give --gpus N, the profile does not say how many cells run at once"
    if places:
        whence = "--gpus" if gpus else "the profile's limit"
        time = duration(3600 * cluster.hours(left, int(places), of))
        until = f"{time} on {places} GPUs ({whence}), waiting in queues aside"
    return "\n".join([*text, "", f"until all is done: {until}", _rests_on(found)])


def _rests_on(found: Calibration | None) -> str:
    if found is None:
        return (
            f"rests on multiply-adds at {machines.RATE / 1000:g}·10¹² a second, a slow GPU's: "
            "`entia calibrate --at-once 1` on one of the cluster's GPUs, then --calibration FILE"
        )
    return f"rests on a calibration of {found.machine}, {found.places} cells at once there, PyTorch {found.torch}"


# --- commands -----------------------------------------------------------------------------------------------------


def commands(plan: Plan, data: Path, found: Calibration | None) -> list[str]:
    """A command for each stage that is not current or follows one that is not, then the drawings.

    A cell's embeddings and readouts follow it, so that whatever is interrupted has left finished cells.
    """
    left: dict[Stage, str] = {}
    for step in KINDS:
        for stage in plan.of(step).values():
            if any(parent in left for parent in stage.parents) or not is_current(data, stage):
                left[stage] = step
    position: dict[Stage, int] = {cell: number for number, cell in enumerate(plan.pretrains.values())}

    def order(stage: Stage) -> tuple[int, int, int]:
        return int(left[stage] != "subset"), position.get(config.cell_of(stage), 0), KINDS.index(left[stage])

    calls = [f"{left[stage]} {naming.name(stage)}" for stage in sorted(left, key=order)]
    calls += [*(f"report {report_id}" for report_id in plan.reports), "claims", "index"]
    about = HOW
    if found:
        of = of_machine(found, plan, data)
        seconds = sum(map(of.seconds, left)) + len(plan.reports) * of.start("report")
        about = f"{duration(seconds)} one after the other on {found.machine}"  # a comment, which a shell passes over
    # with the scale: params.yaml's own may be another, or be switched before the last of them has run
    return [f"# {len(left)} stages, {about}", *(f"entia {call} --scale {plan.scale}" for call in calls)]


def is_current(data: Path, stage: Stage) -> bool:
    """Whether an artefact is there and current. Raises `Problem` where it is damaged or foreign."""
    if not faults.is_there(store.path(data, stage)):
        return False
    check.open_head(data, stage)
    return current.is_current(data, stage)
